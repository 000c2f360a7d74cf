"""The real thing on loopback: the misbehaving provider, the whole proxy, players on sockets of their own."""

from loopback_rig import rig
from on_air import air

__all__ = ["air", "rig"]
