"""The real thing on loopback: the misbehaving provider, the whole proxy, players on sockets of their own."""

from loopback_rig import rig

__all__ = ["rig"]
