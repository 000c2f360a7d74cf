"""The receive window of a socket: the bytes that a source can send while its body is paused.

Linux grows the receive buffer of a socket only if much is read within a round trip. A live source that is read on the
tick never is, so its window stays at 64 KiB, and 8 Mbit/s need 30 reads a second. A low-water mark makes the kernel
enlarge the buffer for it (tcp(7), ``SO_RCVLOWAT``; since Linux 4.18). Unlike ``SO_RCVBUF``, the mark lets the buffer
grow further. The mark is reset at once, because otherwise the socket would be readable only with so many bytes.

On other systems, and if the window cannot be read, a window of 64 KiB is assumed, which every system has.
"""

from __future__ import annotations

import socket
import sys
from struct import Struct

#: Bytes of the window that is asked for: a quarter of a second at 8 Mbit/s, and the size of one read.
WIDE_WINDOW = 262_144
#: Bytes that a paused socket receives by default.
DEFAULT_WINDOW = 65_536

# Offset of ``tcpi_rcv_ssthresh`` in struct tcp_info (linux/tcp.h): the size up to which the window may open at present.
_OFFSET = 64
_UINT32 = Struct("=I")
_LINUX = sys.platform == "linux"


def widen_window(connection: socket.socket) -> None:
    """Have the kernel make room for :data:`WIDE_WINDOW` bytes, if the system can."""
    if not _LINUX:
        return
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, WIDE_WINDOW)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    except OSError:
        pass


def window_size(connection: socket.socket) -> int:
    """Return the bytes that a source can send while the socket is not read, as far as known.

    :return: :data:`DEFAULT_WINDOW` to :data:`WIDE_WINDOW`.
    """
    if not _LINUX:
        return DEFAULT_WINDOW
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSET + _UINT32.size)
        window: int = _UINT32.unpack_from(info, _OFFSET)[0]
        buffer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    except OSError:
        return DEFAULT_WINDOW
    return max(DEFAULT_WINDOW, min(window, buffer // 2, WIDE_WINDOW))
