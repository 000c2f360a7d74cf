"""The interfaces of the data path.

Read them from top to bottom to follow a byte of a live stream. An :class:`IDialler` opens a source and returns an
:class:`IResponseBody`. A session delivers the body to an :class:`IBodyConsumer`, which passes the bytes on to an
:class:`IStreamSink`. The broadcaster is the sink: it puts the bytes into blocks and sends each block to every
:class:`IPump`, and to the :class:`IBlockConsumer` that makes HLS segments of them.
"""

# mypy reads the annotations. At run time this module imports no other module of the package.
from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from .core.failover.resolver import ResolverAnswer, ResolverQuestion
    from .core.http.source_request import DialTimeouts, SourceRequest
    from .core.ingest.media_progress import MediaProgress
    from .core.ingest.ts_parser import PacketObserver
    from .core.programme import BodyNature
    from .core.ring import Block
    from .core.slots.accounts import ProviderSlot
    from .errors import SourceError


class IDialler(Interface):
    """Opens the bodies of sources."""

    def dial(
        request: SourceRequest, timeouts: DialTimeouts, slot: ProviderSlot | None = None
    ) -> Deferred[IResponseBody]:
        """
        Request a URL from a provider and follow redirects.

        :param timeouts: the seconds allowed for the dial.
        :param slot: the slot that the sockets of the dial count for; None if they are not counted.
        :return: a Deferred that fails only with :class:`m3uproxy.errors.SourceError`. Cancelling it closes the socket
            that is open.
        """


class IResponseBody(Interface):
    """A response with status 200 or 206 whose body is not delivered yet. It must be delivered or closed."""

    status: int = Attribute("Status of the final response: 200 or 206.")
    content_type: str = Attribute("Content-Type of the final response in lower case, without parameters; '' if absent.")
    joined: bool = Attribute("True if the body is joined from several parts, such as HLS segments.")
    expected_pause: float = Attribute("Seconds for which the body may bring nothing although its source works.")
    length: int | None = Attribute("Content-Length in bytes; None if the head states no length.")
    encoded: bool = Attribute("True if the body was sent compressed: a length or range then counts compressed bytes.")
    final_url: str = Attribute("URL of the final response. Redact it before logging; never dial it again.")
    public: bool = Attribute("True if a public host was on the way. URIs in the body then lead to public hosts only.")

    def header(name: str) -> str:
        """Return the first header of this name in the final response, '' if there is none."""

    def deliver(consumer: IBodyConsumer) -> None:
        """Deliver the body to a consumer, from now on. Must be called once, and once more after :meth:`withdraw`."""

    def withdraw(start: bytes) -> None:
        """
        Take the body back from its consumer, and pause it until it is delivered again.

        :param start: the bytes delivered so far. They are delivered again, before all others.
        """

    def pause() -> None:
        """Stop reading. Data may still arrive in this reactor turn. Safe on a body that has ended."""

    def resume() -> None:
        """Read again. Safe on a body that has ended."""

    def read(deliver: bool) -> int:
        """
        Read once from the socket, also while the body is paused, and deliver the data before returning.

        The read scheduler reads paused bodies this way on each tick: it costs no reactor turn and no ``epoll_ctl``.
        If the read meets the end of the body, ``body_ended`` is called in a later reactor turn.

        :param deliver: False to keep the data until the next read or the end. The way through TLS and HTTP costs more
            than the read.
        :return: bytes read from the socket.
        """

    def receive_window() -> int:
        """
        Return the bytes that the source can send while the body is paused.

        From the first call on the kernel is asked for a larger window, as for a body that is read on the tick.
        """

    def close() -> Deferred[None]:
        """
        Close the connection now. Safe to call twice.

        :return: a Deferred that fires with None when the socket has closed.
        """


class IUrlChecker(Interface):
    """Checks if a URL answers, for operators."""

    def status(url: str, timeout: float) -> Deferred[int]:
        """
        GET a URL once, without following redirects, and drop the body.

        :param timeout: seconds for the whole request.
        :return: a Deferred of the HTTP status. It fails with :class:`m3uproxy.errors.SourceError`.
        """


class IResolver(Interface):
    """Asks an application for the next source of a stream."""

    def ask(url: str, question: ResolverQuestion) -> Deferred[ResolverAnswer]:
        """
        POST a question once, without following redirects.

        :param url: URL of the resolver.
        :return: a Deferred that fires within 10 seconds, also if the resolver did not answer. It fails only if it is
            cancelled, which closes the socket that is open.
        """


class IBodyConsumer(Interface):
    """Takes the body of one response."""

    def body_received(data: bytes) -> None:
        """Take data, at least one byte. It may come while the body is paused. An exception closes the body."""

    def body_ended(error: SourceError) -> None:
        """
        Note that the body has ended. No data follows.

        Called once, also after ``close()``.

        :param error: the cause; ``ENDED`` for a complete body.
        """


class IDiscontinuityConsumer(IBodyConsumer):
    """Takes a body that is joined from several parts, such as HLS segments."""

    def discontinuity() -> None:
        """Note that the data that follows does not continue the last packet. Its clocks may differ."""


class IStreamSink(Interface):
    """Takes the bytes of a stream from its session, from one source after another."""

    waiting: bool = Attribute("True if a player waits for its first block. Data is then read and sent without delay.")
    progress: MediaProgress = Attribute("The pictures and the sound that the current body has brought so far.")

    is_full: bool = Attribute("True if a programme must not be read now, because its players have enough to send.")
    media: float = Attribute("Seconds of media in the present body; 0 while unknown.")

    def source_changed(nature: BodyNature = ...) -> None:
        """
        Note that a new body begins. Its first byte does not continue the last packet of the body before.

        :param nature: the nature of the body; a live stream by default.
        """

    def bytes_received(data: bytes) -> None:
        """Take bytes of the body. They may wait for more bytes before they are sent."""

    def flush() -> None:
        """Send the bytes that wait, except for an incomplete last unit."""

    def observe(observer: PacketObserver | None) -> None:
        """
        Show the packets of the body to an observer, until the next call or until another body begins.

        See :attr:`m3uproxy.core.ingest.ts_parser.TsParser.observer`.

        :param observer: None to show packets no longer.
        """

    def programme_ended(error: SourceError) -> None:
        """
        Send all that waits, and end the players cleanly, each when it has all bytes: the programme has ended.

        :param error: the end of the source, for players that got no byte.
        """

    def sources_exhausted(error: SourceError) -> None:
        """
        Note that no source delivers and the failover budget is spent.

        :param error: the last failure.
        """


class IPump(Interface):
    """
    The sender to one player, as the broadcaster uses it.

    A pump also provides ``IPushProducer`` to its transport.
    """

    def try_to_start() -> None:
        """
        Send the head and the first block, if the player waits for them and the ring has a block to start at.

        Called when the player is added, and when a block is added to the ring.
        """

    def fell_behind(block: Block, number: int, taken: int) -> None:
        """
        Leave the live edge, because the socket did not take a whole block.

        :param number: the number of the block in the ring.
        :param taken: bytes of the block that the socket took.
        """

    def finish(error: SourceError) -> None:
        """
        Send the rest of the stream, at the player's pace, then end the response cleanly: the programme has ended.

        :param error: the cause, for a player that got no byte.
        """

    def close(error: SourceError) -> None:
        """End, because no block follows: send an error response if nothing was sent, else abort the connection."""

    def abort(why: str) -> None:
        """
        Disconnect the player at once.

        :param why: the cause, for the log.
        """


class IBlockConsumer(Interface):
    """Takes each block of a live stream when it is added to the ring, as the muxer of HLS segments does."""

    waiting: bool = Attribute("True until a block arrives that a segment can begin with.")
    is_full: bool = Attribute("True if its clients have enough to fetch, so that a programme must not be read now.")

    def block_received(block: Block) -> None:
        """Take the next block."""

    def programme_ended() -> None:
        """Note that no block follows, because the programme has ended."""

    def stream_ended(error: SourceError) -> None:
        """Note that no block follows, because no source delivers."""
