"""One timeline of FLV out of the tags of several bodies: where a new one begins, and what is added to its times.

The first body passes as it comes. A later one begins at a key picture (at a sound, if there were no pictures before),
a usual step behind the last one that was sent; of what tells decoders what to do, only that which is new is told again.
"""

from __future__ import annotations

import attrs

from ..splice.plan import SpliceKind
from ..splice.splicer import SpliceReport
from .flv_tags import AUDIO, SCRIPT, VIDEO, FlvTag, FlvTagUse

#: Seconds and bytes for which a key picture is waited for; then a body begins with what comes.
MAX_WAIT_SECONDS = 2.0
MAX_DROPPED_BYTES = 16 << 20
#: Milliseconds between two pictures or sounds that are taken for a step; more is a hole.
_MAX_STEP = 1000
_TIME_WRAP = 1 << 32
_NAMES = {AUDIO: "sound", VIDEO: "pictures"}


def _ahead(later: int, earlier: int) -> int:
    """Milliseconds between two times, the short way round their 32 bits."""
    return (later - earlier + _TIME_WRAP // 2) % _TIME_WRAP - _TIME_WRAP // 2


@attrs.define
class FlvTrack:
    """Pictures or sound, as they were sent.

    :ivar time: of the last tag.
    :ivar last_shown: when the picture is shown that is shown last.
    :ivar step: from the tag before to the last one, milliseconds.
    """

    codec: int | bytes | None = None
    time: int | None = None
    last_shown: int = 0
    step: int = 1

    def tag_sent(self, time: int, delay: int) -> None:
        """Another tag is sent, to be shown after ``delay``."""
        step = _MAX_STEP if self.time is None else _ahead(time, self.time)
        is_continuous = 0 <= step < _MAX_STEP
        if step and is_continuous:
            self.step = step
        if not is_continuous or _ahead(time + delay, self.last_shown) > 0:
            self.last_shown = time + delay
        self.time = time

    def due(self, last: int, delay: int) -> int:
        """When a tag is due that follows, not before ``last``, and is shown behind all others."""
        if self.time is None:
            return last
        wanted = (self.time, self.last_shown - delay)
        return (last + max(0, *(_ahead(time + self.step, last) for time in wanted))) % _TIME_WRAP


class FlvSplicer:
    """What is sent, and how the next tag follows it.

    :ivar header_tags: by kind, the tags of the present body that a decoder must have seen first.
    """

    def __init__(self) -> None:
        self.header_tags: dict[int, FlvTag] = {}
        self._sent_headers: dict[int, FlvTag] = {}
        self._tracks = {AUDIO: FlvTrack(), VIDEO: FlvTrack()}
        self._last_time: int | None = None
        self._offset = 0
        self.next_source()

    @property
    def has_video(self) -> bool:
        """Whether pictures were sent."""
        return self._tracks[VIDEO].time is not None

    def join_tags(self) -> bytes:
        """What a player must be told that begins with the last tag that was sent.

        Metadata keeps its time, 0 as a rule: libavformat takes such with another one for a track of text.
        """
        last = self._last_time or 0
        return b"".join(
            [head.data if head.kind == SCRIPT else head.with_time(last) for head in self.header_tags.values()]
        )

    def next_source(self) -> None:
        """Another body begins."""
        self.header_tags = {}
        self._splice_pending = True
        self._waiting_since: float | None = None
        self._dropped = 0

    def splice(self, tag: FlvTag, now: float) -> tuple[list[bytes], SpliceReport | None]:
        """What is to be sent now that this tag has come; a report if it begins its body, or has another codec."""
        since = self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if tag.use in (FlvTagUse.METADATA, FlvTagUse.CONFIGURATION):
            self.header_tags[tag.kind] = tag
        if tag.use in (FlvTagUse.METADATA, FlvTagUse.END):
            return [], None
        if not self._splice_pending:
            changed = (_NAMES[tag.kind],) if self._is_other_codec(tag) else ()
            report = SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=changed) if changed else None
            return [self._send(tag)], report
        if self._last_time is None:
            self._splice_pending = False
            return [self._send(tag)], SpliceReport(SpliceKind.PLAIN, 0.0)
        if not self._can_start_with(tag, now - since):
            self._dropped += len(tag.data)
            return [], None
        return self._start_with(tag, self._last_time, now - since)

    def _can_start_with(self, tag: FlvTag, waited: float) -> bool:
        if tag.kind == SCRIPT or tag.use is FlvTagUse.CONFIGURATION:
            return False
        if waited >= MAX_WAIT_SECONDS or self._dropped >= MAX_DROPPED_BYTES:
            return True
        return tag.use is FlvTagUse.KEY if self.has_video else tag.kind == AUDIO

    def _start_with(self, tag: FlvTag, last: int, waited: float) -> tuple[list[bytes], SpliceReport]:
        """Put the first tag a step behind the last one of its kind, but not before what was sent last."""
        due = self._tracks[tag.kind].due(last, tag.delay)
        changed = self._changed_tracks(tag)
        self._offset = (due - tag.time) % _TIME_WRAP
        self._splice_pending = False
        kind = SpliceKind.CODEC_CHANGE if changed else SpliceKind.SHIFTED
        report = SpliceReport(kind, waited, _ahead(due, tag.time) / 1000, dropped=self._dropped, changed=changed)
        header_tags = [head for head in self.header_tags.values() if head.use is FlvTagUse.CONFIGURATION]
        new_headers = [head for head in header_tags if not head.has_same_content(self._sent_headers.get(head.kind))]
        return [*(self._send(head, last) for head in new_headers), self._send(tag)], report

    def _changed_tracks(self, tag: FlvTag) -> tuple[str, ...]:
        """Which tracks are of another codec now, or gone."""
        first = {**self.header_tags, tag.kind: tag}
        changed = [_NAMES[each.kind] for each in first.values() if self._is_other_codec(each)]
        return (*changed, "no pictures") if self.has_video and VIDEO not in first else tuple(changed)

    def _is_other_codec(self, tag: FlvTag) -> bool:
        track = self._tracks.get(tag.kind)
        return track is not None and None not in (track.codec, tag.codec) and track.codec != tag.codec

    def _send(self, tag: FlvTag, time: int | None = None) -> bytes:
        """The tag as it is sent, and remembered to be."""
        moved = (tag.time + self._offset) % _TIME_WRAP if time is None else time
        if tag.use is FlvTagUse.CONFIGURATION:
            self._sent_headers[tag.kind] = tag
        track = self._tracks.get(tag.kind)
        if track is not None:
            track.codec = tag.codec
            if tag.use is not FlvTagUse.CONFIGURATION:
                track.tag_sent(moved, tag.delay)
                self._last_time = moved
        return tag.data if moved == tag.time else tag.with_time(moved)
