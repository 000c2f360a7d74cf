"""The TLS transport of a player's connection, which tells the protocol above when the player has ended TLS.

A player ends TLS by a close_notify, or by bytes that are no TLS. Twisted's transport then asks TCP to close when all
is sent. If the buffer is full, that never comes: the producer is paused, nobody reads the socket any more, and what the
producer writes is dropped. So the protocol above is told, and decides how the connection ends.

A close_notify could be half a close (RFC 8446 section 6.1). As with plain TCP, a player that sends no more is gone.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.protocols.tls import BufferingTLSTransport
from twisted.python.failure import Failure
from zope.interface import Interface


class ITlsEndListener(Interface):
    """A protocol that is told when its peer has ended TLS."""

    def tls_ended() -> None:
        """
        Note that the peer has ended TLS. Nothing that is written from now on is sent.

        The call may come from within a write. The transport closes when all is sent that was written before. It may
        have closed already.
        """


class TlsTransport(BufferingTLSTransport):
    """TLS on TCP, for a protocol that implements :class:`ITlsEndListener`."""

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        """End TLS. Twisted calls this once, whatever the end is."""
        super()._tlsShutdownFinished(reason)
        listener = ITlsEndListener(self.wrappedProtocol, None)
        if listener is not None:
            listener.tls_ended()

    def abortConnection(self) -> None:
        """Close at once. Safe after the connection was lost, unlike Twisted's method."""
        if self.connected:
            super().abortConnection()
