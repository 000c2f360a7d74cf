"""Two ways to a player's socket: straight, or through the transport.

``transport.write`` for each block and viewer costs two ``epoll_ctl`` and a reactor turn, three to five times what
the ``send`` itself costs. So once a response is under way its blocks go straight to the socket, and only a socket
that did not take all of a block is watched for writability.

That watch needs no descriptor of its own. The transport calls ``resumeProducing`` on its producer (which is the
HTTP channel, which passes it on to ours) when its write buffer is empty and it had paused the producer. So to be
called when the socket can be written again, we say just that: paused, and please look at the socket. The write
buffer is empty all the time, or was filled by the head that went first, in which case the call comes when the head
has left: the order of bytes on the wire is safe by construction. ``tests/downstream/test_socket_writer.py`` holds the
real transports to this.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet.interfaces import ITransport


class SocketWriter(Protocol):
    """Where a viewer's bytes go."""

    def send(self, data: bytes | memoryview) -> int:
        """Take some or all of ``data`` now; how many bytes. Raises BlockingIOError for none, OSError if gone."""

    def start(self, data: bytes) -> bool:
        """Take all of ``data``, before anything else. True if ``resumeProducing`` will tell when to go on."""

    def wait(self) -> None:
        """Have ``resumeProducing`` called when more can be taken."""

    def paused(self) -> None:
        """The transport called ``pauseProducing``."""

    def resumed(self) -> None:
        """The transport called ``resumeProducing``."""


class DirectWriter:
    """Straight to the socket. For plain TCP."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.send = transport.getHandle().send

    def start(self, data: bytes) -> bool:
        """Let the transport send the head, and tell when it has left."""
        self._transport.write(data)
        self.wait()
        return True

    def wait(self) -> None:
        """Watch the socket for writability, in the guise of a paused producer."""
        self._transport.producerPaused = True
        self._transport.startWriting()

    def paused(self) -> None:
        """Nothing to note: ``send`` finds out by itself."""

    def resumed(self) -> None:
        """Nothing to note."""


class BufferedWriter:
    """Through the transport's own buffer. For TLS, where the socket belongs to OpenSSL."""

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport
        self._full = False

    def send(self, data: bytes | memoryview) -> int:
        """Give ``data`` to the transport unless it said that it has enough."""
        if self._full:
            raise BlockingIOError
        self._transport.write(bytes(data))
        return len(data)

    def start(self, data: bytes) -> bool:
        """As any other data."""
        self._transport.write(data)
        return self._full

    def wait(self) -> None:
        """The transport tells by itself."""

    def paused(self) -> None:
        """The transport's buffer is over its limit."""
        self._full = True

    def resumed(self) -> None:
        """The transport's buffer is empty."""
        self._full = False


def writer_for(transport: Any, direct: bool, send_buffer: int) -> SocketWriter:
    """The fastest outlet that a transport allows.

    :param send_buffer: see :func:`bound_send_buffer`.
    """
    if bound_send_buffer(transport, send_buffer) and direct:
        return DirectWriter(transport)
    return BufferedWriter(transport)


def bound_send_buffer(transport: Any, send_buffer: int) -> bool:
    """
    Bound what the kernel queues for a player: else it is 4 MB, 40 s of stale video, for each that stalls.

    :param send_buffer: bytes for SO_SNDBUF.
    :return: whether the transport is a plain socket, and so was bounded.
    """
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, socket.socket):
        return False
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    return True
