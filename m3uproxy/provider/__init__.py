"""An IPTV provider that simulates faults on command: for the demo, for tests and to reproduce a real provider.

The provider is a program of its own (``python -m m3uproxy.provider``). It uses no other module of this package, so that
tests check the proxy against independent code. ``docs/provider.md`` has the table of faults.
"""

from m3uproxy.provider.site import Provider

__all__ = ["Provider"]
