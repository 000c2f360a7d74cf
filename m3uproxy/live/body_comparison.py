"""The comparison of a body with the body before it, between the connections of a session and its sink.

A source that is dialled again may send a programme from its beginning. Players must not see it twice. So while the
first bytes of a body are equal to those of the body before (:mod:`m3uproxy.core.programme`), they are held back. The
first byte that differs shows that the source is live: then all bytes are passed on, and the splice joins them. This is
decided within the first packets of a live stream.
"""

from __future__ import annotations

from typing import Protocol

import attrs
from zope.interface import implementer

from ..core.ingest.detect import DetectingParser
from ..core.ingest.media_progress import MediaProgress
from ..core.ingest.ts_parser import PacketObserver
from ..core.programme import LONG_DELIVERY, LONG_MEDIA, BodyNature, BodyStart, Similarity, compare
from ..errors import Reason, SourceError
from ..interfaces import IStreamSink


@attrs.frozen
class EndedBody:
    """
    A body that has ended.

    :ivar url: URL of its source.
    :ivar start: its first bytes.
    :ivar error: its end.
    :ivar ran: seconds for which it had delivered.
    :ivar media: seconds of media; 0 if unknown.
    :ivar repeats: whether it began like the body before it, and was passed on.
    """

    url: str
    start: BodyStart
    error: SourceError
    ran: float
    media: float
    repeats: bool = False

    @property
    def seconds(self) -> float:
        """Seconds of media, or of delivery if that is unknown."""
        return self.media or self.ran

    @property
    def may_repeat(self) -> bool:
        """
        True if the next body of the source may begin with the same bytes.

        A live source that broke off may send its last seconds again, and the splice leaves them out. It does not do so
        twice.
        """
        short = self.ran < LONG_DELIVERY and self.media < LONG_MEDIA
        return short and self.error.reason is not Reason.ENDED and not self.repeats


class ComparisonOwner(Protocol):
    """The session whose bodies are compared."""

    def programme_repeated(self, before: EndedBody) -> None:
        """Close the body: it begins with the bytes of the body before, which are not passed on again."""


@implementer(IStreamSink)
class BodyComparison:
    """A sink that passes all bodies on to the sink of the stream, except the repeated beginning of a programme."""

    def __init__(self, sink: IStreamSink, owner: ComparisonOwner) -> None:
        self._sink = sink
        self._owner = owner
        self._url: str | None = None
        self._start: BodyStart | None = None
        self._compares = False
        self._before: EndedBody | None = None
        self._held: list[bytes] | None = None
        self._held_media = DetectingParser()
        self._nature = BodyNature.LIVE
        self._observer: PacketObserver | None = None
        self._repeats = False

    def reset(self) -> None:
        """Forget all bodies: the next one is the first."""
        self._url = self._start = self._before = self._held = None
        self._repeats = self._compares = False

    def expect(self, url: str) -> None:
        """Note that the next body comes from a URL. Only bodies of one source in a row are compared."""
        if self._before is not None and self._before.url != url:
            self._before = None
        self._url, self._start, self._held = url, None, None
        self._compares = False

    def body_ended(self, error: SourceError, ran: float) -> bool:
        """
        Note that the body has ended, or is left.

        :param ran: seconds for which it had delivered.
        :return: True if it was all of the body before, and ``programme_repeated`` was called.
        """
        before, start, held = self._before, self._start, self._held
        self._start = self._held = None
        self._compares = False
        repeats, self._repeats = self._repeats, False
        if held is not None and before is not None and start is not None:
            if error.reason is not Reason.ENDED or compare(before.start, start, ended=True) is not Similarity.SAME:
                return False
            self._owner.programme_repeated(before)
            return True
        if self._url is not None and start is not None:
            self._before = EndedBody(self._url, start, error.detached(), ran, self._sink.media, repeats)
        return False

    # IStreamSink

    @property
    def waiting(self) -> bool:
        """True if a player waits for its first block."""
        return self._sink.waiting

    @property
    def is_full(self) -> bool:
        """True if the source must not be read now."""
        return self._held is None and self._sink.is_full

    @property
    def media(self) -> float:
        """Seconds of media in the last body that was passed on."""
        return self._sink.media

    def source_changed(self, nature: BodyNature = BodyNature.LIVE) -> None:
        """Begin another body, or another part of a joined one. Hold it back if it may repeat the one before."""
        if nature is BodyNature.JOINED or self._start is not None:
            self._sink.source_changed(nature)
            return
        self._start, self._nature, before = BodyStart(), nature, self._before
        self._compares = True
        if before is not None and before.start.data:
            self._held, self._held_media = [], DetectingParser()
        else:
            self._sink.source_changed(nature)

    def bytes_received(self, data: bytes) -> None:
        """Pass bytes on, or hold them back while they are the same as those of the body before."""
        if self._compares and self._start is not None:
            self._start.feed(data)
            self._compares = self._held is not None or not self._start.is_complete
        if self._held is None:
            self._sink.bytes_received(data)
            return
        self._held.append(data)
        self._held_media.feed(data, 0.0)
        assert self._start is not None
        assert self._before is not None
        similarity = compare(self._before.start, self._start)
        if similarity is Similarity.OTHER:
            self._release(self._held)
        elif similarity is Similarity.SAME and self._before.may_repeat:
            self._repeats = True
            self._release(self._held)
        elif similarity is Similarity.SAME:
            self._held = []
            self._owner.programme_repeated(self._before)

    def _release(self, held: list[bytes]) -> None:
        self._held, self._held_media = None, DetectingParser()
        self._sink.source_changed(self._nature)
        self._sink.bytes_received(b"".join(held))
        if self._observer is not None:
            self._sink.flush()
            self._sink.observe(self._observer)

    @property
    def progress(self) -> MediaProgress:
        """The media of the current body, also while it is held back."""
        return self._sink.progress if self._held is None else self._held_media.media

    def flush(self) -> None:
        """Flush the sink. A body that is held back stays so."""
        if self._held is None:
            self._sink.flush()
        else:
            self._held_media.flush(0.0)

    def observe(self, observer: PacketObserver | None) -> None:
        """Show the packets of the body, from the time on at which they are passed on."""
        self._observer = observer
        self._sink.observe(observer)

    def programme_ended(self, error: SourceError) -> None:
        """Pass on that the players are to be ended cleanly."""
        self._sink.programme_ended(error)

    def sources_exhausted(self, error: SourceError) -> None:
        """Pass on that no source delivers."""
        self._sink.sources_exhausted(error)
