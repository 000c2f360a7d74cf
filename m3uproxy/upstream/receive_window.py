"""How much of a body the kernel takes in while nobody reads: what a source may send in an interval of the tick.

Linux grows a socket's receive buffer only if much is read within a round trip. A live source that is read on the tick
never is, so its window stays at 64 KiB, and 8 Mbit/s need 30 reads a second. A low-water mark has the kernel make room
for it (tcp(7), ``SO_RCVLOWAT``; since 4.18), and unlike ``SO_RCVBUF`` it leaves the buffer free to grow by itself; the
mark is taken back at once, for nobody wants to wait for so much.

Where this cannot be had, or cannot be seen, a window of 64 KiB is what every system has.
"""

from __future__ import annotations

import socket
import sys
from struct import Struct

#: Bytes that are asked for: a quarter of a second at 8 Mbit/s, and as much as one read takes.
WIDE = 262_144
#: Bytes that a paused receiver has with the defaults.
NARROW = 65_536

# Offset of ``tcpi_rcv_ssthresh`` in struct tcp_info (linux/tcp.h): how far the window may open at present.
_OFFSET = 64
_UINT32 = Struct("=I")
_LINUX = sys.platform == "linux"


def widen(connection: socket.socket) -> None:
    """Make room for :data:`WIDE` bytes, if the system can."""
    if not _LINUX:
        return
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, WIDE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    except OSError:
        pass


def room(connection: socket.socket) -> int:
    """Bytes that a source can send while we do not read, as far as is known: :data:`NARROW` to :data:`WIDE`."""
    if not _LINUX:
        return NARROW
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _UINT32.size)
        window: int = _UINT32.unpack_from(info, _OFFSET)[0]
        buffer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    except OSError:
        return NARROW
    return max(NARROW, min(window, buffer // 2, WIDE))
