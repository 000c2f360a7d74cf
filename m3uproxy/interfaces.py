"""The roles of the data path, as zope interfaces.

Read it from top to bottom to follow a byte: a dialler opens a body, a session keeps one body flowing into a
sink, the broadcaster is that sink and hands blocks to its viewers.
"""

# mypy reads the annotations; at run time this module imports nothing of ours.
from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from .core.failover.resolver import ResolverAnswer, ResolverQuestion
    from .core.http.source_request import DialTimeouts, SourceRequest
    from .core.ingest.ts_parser import PacketObserver
    from .core.ring import Block
    from .core.slots.accounts import ProviderSlot
    from .errors import SourceError


class IDialler(Interface):
    """Opens the bodies of sources."""

    def dial(request: SourceRequest, limits: DialTimeouts, slot: ProviderSlot | None = None) -> Deferred[IResponseBody]:
        """Ask a provider for a stream, following its redirects.

        :param slot: what its sockets count for, if they do.
        :return: a Deferred that fails with a :class:`m3uproxy.errors.SourceError` and nothing else; cancelling it
            closes whatever socket it had open.
        """


class IResponseBody(Interface):
    """A response with status 200 (or 206) whose body nobody has taken yet. It must be delivered or closed."""

    status: int = Attribute("Of the final response: 200 or 206.")
    content_type: str = Attribute("Content-Type of the final response, lower case, no parameters; '' if none.")
    length: int | None = Attribute("Content-Length, None if the body has no announced end.")
    encoded: bool = Attribute("Whether it comes compressed: then lengths and ranges are of what nobody sees.")
    final_url: str = Attribute("Where the redirects led. For logs only after redaction; never redialled.")

    def header(name: str) -> str:
        """The first header of that name in the final response, '' if there is none."""

    def deliver(consumer: IBodyConsumer) -> None:
        """Hand the body on, from this call on. To be called once."""

    def pause() -> None:
        """Stop reading. Data may still arrive in this reactor turn. Harmless on a body that has ended."""

    def resume() -> None:
        """Read on. Harmless on a body that has ended."""

    def read(hand_on: bool) -> int:
        """Read once what the socket holds, paused or not, and hand on what was read before returning.

        This is what a paused body is read with on the tick: no reactor turn, no ``epoll_ctl``. An end that is met is
        not told from within but in a later turn.

        :param hand_on: False to let it wait for the next read, or the end: the way through TLS and HTTP costs more
            than the read.
        :return: bytes read from the socket.
        """

    def room() -> int:
        """How many bytes the source can send while nobody reads. A body that is read on the tick gets more room."""

    def close() -> Deferred[None]:
        """Drop the connection now. Safe to call twice.

        :return: a Deferred that fires with None when the socket is gone.
        """


class IUrlChecker(Interface):
    """Asks whether a URL answers."""

    def status(url: str, timeout: float) -> Deferred[int]:
        """GET once, following no redirect, and drop the body.

        :param timeout: seconds for all of it.
        :return: a Deferred of the answer's HTTP status. It fails with :class:`m3uproxy.errors.SourceError`.
        """


class IResolver(Interface):
    """Asks an application which source of a stream is next."""

    def ask(url: str, question: ResolverQuestion) -> Deferred[ResolverAnswer]:
        """POST once, following no redirect.

        :param url: the resolver's.
        :return: a Deferred that fires within 10 seconds, also when nothing was learnt. It fails only if it is
            cancelled, which closes whatever socket it had open.
        """


class IBodyConsumer(Interface):
    """Takes the body of one response."""

    def body_received(data: bytes) -> None:
        """Some bytes, never none. May come while paused. An exception here closes the body and is logged."""

    def body_ended(error: SourceError) -> None:
        """The body is over; nothing follows. Called once, also after ``close()`` and also for a clean end."""


class IDiscontinuityConsumer(IBodyConsumer):
    """Takes a body that was put together of parts."""

    def body_changed() -> None:
        """What follows does not continue the last packet, and its clocks may be others."""


class IStreamSink(Interface):
    """What a session feeds."""

    waiting: bool = Attribute("A viewer waits for its first block: read without rest, send at once.")

    def source_changed() -> None:
        """A new body begins: its bytes do not continue the last packet of the one before."""

    def bytes_received(data: bytes) -> None:
        """Some bytes of the body; they may wait for more before they are sent."""

    def flush() -> int:
        """Send what is waiting.

        :return: the number of whole transport stream packets recognised so far in this body.
        """

    def watch(look: PacketObserver | None) -> None:
        """Show the packets of the body to ``look`` (:attr:`m3uproxy.core.ingest.ts_parser.TsParser.observer`).

        It is shown them until the next call, or until another body begins.
        """

    def gave_up(error: SourceError) -> None:
        """No source delivers and the budget is spent; ``error`` is the last failure."""


class IViewer(Interface):
    """One player's connection, as the broadcaster sees it. It provides ``IPushProducer`` to its transport."""

    def try_to_start() -> None:
        """A viewer that has not begun may have a place to start at: it arrived, or a block was added to the ring."""

    def fell_behind(block: Block, number: int, taken: int) -> None:
        """At the live edge, the socket took only ``taken`` bytes of block ``number``."""

    def close(error: SourceError) -> None:
        """There will be no more blocks: answer with an error if nothing was sent, else abort."""

    def abort(why: str) -> None:
        """Disconnect this viewer at once (``why`` goes to the log)."""


class IBlockConsumer(Interface):
    """All who play a stream as HLS: to the broadcaster they are one viewer, who takes every block at once."""

    waiting: bool = Attribute("It has had no block that it could begin with.")

    def block_received(block: Block) -> None:
        """The next block."""

    def stream_ended(error: SourceError) -> None:
        """There will be no more blocks."""
