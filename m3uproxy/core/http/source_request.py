"""A request to a provider: the URL, the headers, the account, and the seconds allowed."""

from __future__ import annotations

import attrs

from ..slots.accounts import Account, ProviderSlot, account_queue, implicit_account
from ..stream_kind import StreamKind
from .redirects import Headers, RequestHop


def _stream_of(slot: ProviderSlot | None) -> str | None:
    return None if slot is None else slot.stream


@attrs.frozen
class SourceRequest:
    """
    The request for one URL. The stream's ``headers`` replace the default ones of the same name, whatever their case.

    :ivar verify_tls: whether the certificate of the source's host is verified, on any port.
    :ivar account: the account that its connections count for; None if they are not counted.
    :ivar slot: the slot that pooled connections are opened on; None if they are not counted. Two requests are equal
        only if their slots belong to the same stream, so responses are never shared between streams.
    :ivar patience: for the playlists of an HLS source that has not delivered: seconds for which they are awaited beyond
        ``FIRST_BYTE_TIMEOUT``; 0 while another source is left to try. None for a source that delivers.
    :ivar method: GET, or HEAD for a response without a body.
    :ivar verify_tls_elsewhere: whether the certificates of other hosts are verified, which redirects lead to.
    :ivar expected: the kind of stream that the answer must have, so that another kind ends the session of the stream;
        None for any kind that can be played as a transport stream.
    :ivar segmented: whether only players of HLS wait. A file that is a transport stream is then expected, too, because
        it can be cut into segments.
    """

    url: str = attrs.field(repr=False)
    user_agent: str
    headers: Headers = attrs.field(repr=False)
    verify_tls: bool
    account: Account | None = None
    method: str = "GET"
    slot: ProviderSlot | None = attrs.field(default=None, eq=_stream_of, repr=False)
    verify_tls_elsewhere: bool = True
    patience: float | None = attrs.field(default=None, eq=False)
    expected: StreamKind | None = attrs.field(default=None, eq=False)
    segmented: bool = attrs.field(default=False, eq=False)

    def as_hls(self) -> SourceRequest:
        """Return the request with an intermittent slot: HLS sends short requests, whatever the URL looks like."""
        account = self.account
        return self if account is None else attrs.evolve(self, account=attrs.evolve(account, intermittent=True))

    def verifies(self, hop: RequestHop) -> bool:
        """Return whether the certificate of the host of a hop is verified."""
        return self.verify_tls if hop.is_on_own_host else self.verify_tls_elsewhere

    @property
    def account_key(self) -> str:
        """The account that the provider counts its connections for, configured or not. It may hold secrets."""
        return implicit_account(self.url) if self.account is None else self.account.name

    @property
    def queue_key(self) -> str:
        """The queue in which requests wait while the account is full; see :func:`.accounts.account_queue`."""
        return account_queue(self.url) if self.account is None else self.account.name


@attrs.frozen
class DialTimeouts:
    """
    The seconds allowed for a dial.

    :ivar connect: from the start of a hop, including the look-up of the name, until TCP is connected.
    :ivar first_byte: from the TCP connection, including the TLS handshake, until the response head is complete.
    :ivar total: for all hops together.
    :ivar patient: for an account with too many connections: True to wait until it may be asked, False to fail at once,
        None to ask at any time; see :mod:`m3uproxy.upstream.account_turns`.
    """

    connect: float
    first_byte: float
    total: float
    patient: bool | None = None

    def patience(self, first_byte: float) -> float | None:
        """
        Return the seconds for which a source is awaited beyond a timeout; see :attr:`SourceRequest.patience`.

        :param first_byte: that timeout, in seconds.
        """
        return max(0.1, self.first_byte - first_byte) if self.patient else None if self.patient is None else 0.0
