"""Dialling a provider: from a stream's URL to an open body, over redirects, within bounded time.

One dial is one coroutine, which goes from hop to hop, and one timer for the step it is at (connecting, waiting for
the head) beside the one over everything. A timer that fires notes *why* and cancels whatever the coroutine waits
for; what that then fails with no longer matters. A redirecting connection is gone before the next one opens, and so is
that of a dial that failed before its Deferred fires: a provider that allows one connection never sees two.
"""

from __future__ import annotations

from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.hop import REDIRECTS, Cookies, Headers, first_hop, next_hop
from ..errors import Reason, SourceError, bad_status
from ..interfaces import IDialler, IOpenBody
from ..log import make_logger
from .agent import SourceAgent, cookie_url
from .causes import explain, timed_out
from .endpoints import ProviderConnection
from .open_body import OpenBody
from .sockets import SocketCount

log = make_logger()

#: Seconds for an aborted socket to go, of which it needs a reactor turn.
_GONE_WITHIN = 1.0


@attrs.frozen
class SourceRequest:
    """What to ask for. The stream's ``headers`` replace our own ones of the same name, whatever their case."""

    url: str = attrs.field(repr=False)
    user_agent: str
    headers: Headers = attrs.field(repr=False)
    verify_tls: bool


@attrs.frozen
class DialLimits:
    """
    Seconds allowed.

    :ivar connect: from the start of a hop, look-up of the name included, until TCP is connected.
    :ivar first_byte: from then, TLS handshake included, until the response head is there.
    :ivar total: all hops together.
    """

    connect: float
    first_byte: float
    total: float


@implementer(IDialler)
@attrs.frozen
class Dialler:
    """Opens sources over real sockets, which ``sockets`` counts."""

    reactor: Any
    sockets: SocketCount

    def dial(self, request: SourceRequest, limits: DialLimits) -> Deferred[IOpenBody]:
        """See :meth:`m3uproxy.interfaces.IDialler.dial`."""
        return _Dial(self.reactor, self.sockets, request, limits).start()


class _Dial:
    """One dial."""

    def __init__(self, reactor: Any, sockets: SocketCount, request: SourceRequest, limits: DialLimits) -> None:
        self._reactor = reactor
        self._sockets = sockets
        self._request = request
        self._limits = limits
        self._agent = SourceAgent(reactor)
        self._client = HTTPClient(self._agent)
        self._connection: ProviderConnection | None = None
        self._step: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._why: SourceError | None = None
        self._running: Deferred[OpenBody] | None = None
        self._result: Deferred[IOpenBody] = Deferred(self._cancelled)

    def start(self) -> Deferred[IOpenBody]:
        self._deadline = self._reactor.callLater(self._limits.total, self._timed_out, self._limits.total, " in all")
        running = self._running = Deferred.fromCoroutine(self._run())
        running.addBoth(self._finished)
        running.addErrback(lambda failure: log.failure("dialling went wrong", failure=failure))
        return self._result

    def _finished(self, outcome: OpenBody | Failure) -> None:
        if self._result.called:  # cancelled
            return
        if isinstance(outcome, Failure):
            self._result.errback(outcome)
        else:
            self._result.callback(outcome)

    def _cancelled(self, result: Deferred[IOpenBody]) -> None:
        result.errback(CancelledError())
        self._give_up(SourceError(Reason.INTERNAL, "cancelled"))

    def _give_up(self, why: SourceError) -> None:
        """Cancel whatever is under way; the coroutine cleans up."""
        if self._why is None:
            self._why = why
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> OpenBody:
        try:
            return await self._follow()
        except Exception as error:
            self._why = self._why or explain(error, self._connection)
            await self._clean_up()
            raise self._why from None
        finally:
            self._rest(None)
            if self._deadline is not None and self._deadline.active():
                self._deadline.cancel()

    async def _follow(self) -> OpenBody:
        """Ask, and ask again where a redirect points, until something else is answered."""
        await self._sockets.closed()
        request = self._request
        hop = first_hop(request.url, request.user_agent, request.headers)
        while True:
            self._agent.hop = hop
            response = await self._ask()
            assert self._connection is not None
            if response.code in {200, 206}:
                return OpenBody(response, self._connection, hop.location.url)
            if response.code not in REDIRECTS:
                raise bad_status(response.code)
            locations = response.headers.getRawHeaders(b"Location", [None])
            hop = next_hop(hop, locations[0], _cookies(response))
            await self._connection.close()

    async def _ask(self) -> Any:
        """The response to the agent's hop, with its body still to come."""
        assert self._agent.hop is not None
        location = self._agent.hop.location
        self._connection = self._agent.connection = ProviderConnection(
            self._reactor, self._sockets, location, self._request.verify_tls, self._connected
        )
        self._rest(self._limits.connect)
        asked = self._client.get(cookie_url(location), unbuffered=True, allow_redirects=False, reactor=self._reactor)
        response = await asked
        self._rest(None)
        return response

    async def _clean_up(self) -> None:
        """Close the connection and wait until it is gone, or for as long as a working system may take at most."""
        if self._connection is None:
            return
        self._rest(_GONE_WITHIN)
        try:
            await self._connection.close()
        except CancelledError:
            pass

    def _connected(self) -> None:
        self._rest(self._limits.first_byte)

    def _rest(self, seconds: float | None) -> None:
        """Time the next step, or none."""
        step, self._step = self._step, None
        if step is not None and step.active():
            step.cancel()
        if seconds is not None:
            self._step = self._reactor.callLater(seconds, self._timed_out, seconds)

    def _timed_out(self, seconds: float, how: str = "") -> None:
        self._give_up(timed_out(self._connection, f"{seconds:g} s{how}"))


def _cookies(response: Any) -> Cookies:
    """All cookies that this dial knows by now."""
    return frozenset((c.domain, c.path, c.name, c.value or "") for c in response.cookies())
