"""Two ways to write to a player's socket: directly, or through the transport.

``transport.write`` for each block and player costs two ``epoll_ctl`` and a reactor turn, three to five times the cost
of the ``send`` itself. So when the head is sent, blocks are written directly to the socket. Only a socket that did not
take a whole block is watched for writability.

The watch needs no descriptor of its own. If the transport has paused its producer and its write buffer is empty, it
calls ``resumeProducing``. The producer of the transport is the HTTP channel, which passes the call on. So to be called
when the socket is writable again, the writer sets just this state: the producer is paused, and the socket is watched.

The order of bytes is safe by construction. The write buffer is always empty, except while it holds the head, which
goes first. Then the call comes when the head has been sent. ``tests/downstream/test_socket_writer.py`` checks this with
the real transports.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet.interfaces import ITransport
from twisted.protocols.policies import ProtocolWrapper


class SocketWriter(Protocol):
    """The way of a player's bytes to its socket."""

    def send(self, data: bytes | memoryview) -> int:
        """
        Write some or all of ``data`` now.

        :return: bytes written, at least one.
        :raises BlockingIOError: if the socket takes nothing now.
        :raises OSError: if the connection is lost.
        """

    def start(self, data: bytes) -> bool:
        """
        Write all of ``data``, before anything else.

        :return: True if more must wait for ``resumeProducing``.
        """

    def wait(self) -> None:
        """Have ``resumeProducing`` called when the socket is writable."""

    def paused(self) -> None:
        """Note that the transport has called ``pauseProducing``."""

    def resumed(self) -> None:
        """Note that the transport has called ``resumeProducing``."""


class DirectWriter:
    """The writer for plain TCP: directly to the socket."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.send = transport.getHandle().send

    def start(self, data: bytes) -> bool:
        """Have the transport send the head, and call ``resumeProducing`` when it has been sent."""
        self._transport.write(data)
        self.wait()
        return True

    def wait(self) -> None:
        """Watch the socket for writability, as if the transport had paused its producer."""
        self._transport.producerPaused = True
        self._transport.startWriting()

    def paused(self) -> None:
        """Do nothing: ``send`` raises if the socket is full."""

    def resumed(self) -> None:
        """Do nothing; see :meth:`paused`."""


class BufferedWriter:
    """The writer for TLS, whose socket belongs to OpenSSL: through the buffer of the transport."""

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport
        self._full = False

    def send(self, data: bytes | memoryview) -> int:
        """Write ``data`` to the transport, unless its buffer is full."""
        if self._full:
            raise BlockingIOError
        self._transport.write(bytes(data))
        return len(data)

    def start(self, data: bytes) -> bool:
        """Write ``data`` to the transport."""
        self._transport.write(data)
        return self._full

    def wait(self) -> None:
        """Do nothing: the transport calls ``resumeProducing`` by itself."""

    def paused(self) -> None:
        """Note that the buffer of the transport is over its limit."""
        self._full = True

    def resumed(self) -> None:
        """Note that the buffer of the transport is empty."""
        self._full = False


def writer_for(transport: Any, direct: bool, send_buffer: int) -> SocketWriter:
    """
    Return the fastest writer that a transport allows.

    :param direct: ``Settings.direct_write``; False for a :class:`BufferedWriter` in any case.
    :param send_buffer: see :func:`bound_send_buffer`.
    """
    if bound_send_buffer(transport, send_buffer) and direct:
        return DirectWriter(transport)
    return BufferedWriter(transport)


def bound_send_buffer(transport: Any, send_buffer: int) -> bool:
    """
    Limit the bytes that the kernel queues for a player. The default is 4 MB, 40 s of old video for a stalled player.

    :param send_buffer: bytes for SO_SNDBUF.
    :return: True if the transport is a plain socket. False for TLS, where the socket below is limited, too.
    """
    below = transport
    while isinstance(below, ProtocolWrapper):
        below = below.transport
    handle = below.getHandle() if hasattr(below, "getHandle") else None
    if not isinstance(handle, socket.socket):
        return False
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    return below is transport
