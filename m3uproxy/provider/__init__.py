"""A provider that misbehaves on command: for the demo, for tests, and to reproduce what a real one does.

It is a program of its own (``python -m m3uproxy.provider``) and uses nothing else of this package, so that tests can
hold the proxy against it. ``docs/provider.md`` has the table of faults.
"""

from m3uproxy.provider.site import Provider

__all__ = ["Provider"]
