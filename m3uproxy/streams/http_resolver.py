"""The HTTP request to the failover resolver of an application."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from ..core.failover.resolver import MAX_ANSWER_BYTES, TIMEOUT, ResolverAnswer, ResolverQuestion, read_answer
from ..core.http.outbound_policy import DEFAULT_POLICY, OutboundPolicy
from ..core.http.redirects import first_hop
from ..errors import SourceError
from ..interfaces import IResolver
from ..upstream.agent import SourceAgent
from ..upstream.body_collector import read_whole
from ..upstream.connection import ProviderConnection
from ..upstream.response_body import ResponseBody
from ..upstream.tcp_socket import SocketCounter
from ..upstream.timed_request import TimedRequest

_HEADERS = (("Accept", "application/json"), ("Content-Type", "application/json"))


@implementer(IResolver)
@attrs.frozen
class HttpResolver:
    """
    Sends questions over HTTP.

    :ivar sockets: counts the sockets.
    :ivar outbound: the allowed addresses.
    :ivar timeout: seconds for the whole exchange.
    """

    reactor: Any
    sockets: SocketCounter
    outbound: OutboundPolicy = DEFAULT_POLICY
    user_agent: str = "m3uproxy"
    timeout: float = TIMEOUT

    def ask(self, url: str, question: ResolverQuestion) -> Deferred[ResolverAnswer]:
        """See :meth:`m3uproxy.interfaces.IResolver.ask`."""
        return _ResolverRequest(self, url, question).start().addErrback(_problem)


def _problem(failure: Failure) -> ResolverAnswer:
    failure.trap(SourceError)
    return ResolverAnswer(problem=str(failure.value))


class _ResolverRequest(TimedRequest[ResolverAnswer]):
    """The POST of a question. A redirect counts as the answer, because a POST is not repeated elsewhere."""

    def __init__(self, resolver: HttpResolver, url: str, question: ResolverQuestion) -> None:
        super().__init__(resolver.reactor, resolver.timeout)
        self._resolver = resolver
        self._url = url
        self._question = question

    async def _exchange(self) -> ResolverAnswer:
        resolver = self._resolver
        hop = first_hop(self._url, resolver.user_agent, _HEADERS)
        connection = self._connection = ProviderConnection(
            resolver.reactor, resolver.sockets, hop.location, True, lambda: None, resolver.outbound
        )
        agent = SourceAgent(resolver.reactor, hop, connection)
        response = await agent.request(b"POST", b"", None, _JsonBody(self._question.as_json()))
        body = ResponseBody(response, connection, hop.location.url, agent.coding)
        content = await read_whole(body, MAX_ANSWER_BYTES)
        await connection.close()
        return read_answer(response.code, content)


@implementer(IBodyProducer)
class _JsonBody:
    """A request body in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the whole body, which is small."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: the body is written already."""

    def resumeProducing(self) -> None:
        """See :meth:`pauseProducing`."""

    def stopProducing(self) -> None:
        """See :meth:`pauseProducing`."""
