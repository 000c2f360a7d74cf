"""An IPTV stream-sharing proxy: one upstream connection per channel, any number of players."""

from ._version import __version__

__all__ = ["__version__"]
