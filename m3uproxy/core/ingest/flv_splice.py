"""The splice of FLV sources: one timeline out of the tags of several bodies.

The first body passes unchanged, but not before its first picture or sound. A later body begins at a key frame (at an
audio tag, if no video was sent before), one usual step behind the last tag that was sent. Decoder configuration is
repeated only if it differs from the last one.
"""

from __future__ import annotations

import attrs

from ..splice.plan import SpliceKind
from ..splice.splicer import SpliceReport
from .flv_tags import AUDIO, SCRIPT, VIDEO, FlvTag, FlvTagUse

#: Seconds and bytes to wait for a key frame. After that the body begins with its next tag.
MAX_WAIT_SECONDS = 2.0
MAX_DROPPED_BYTES = 16 << 20
#: Largest step between two tags of a track, milliseconds. A larger one is a gap.
_MAX_STEP = 1000
_TIME_WRAP = 1 << 32
_NAMES = {AUDIO: "audio", VIDEO: "video"}


def _ahead(later: int, earlier: int) -> int:
    """Return the milliseconds from ``earlier`` to ``later``, the short way round 32 bits."""
    return (later - earlier + _TIME_WRAP // 2) % _TIME_WRAP - _TIME_WRAP // 2


@attrs.define
class FlvTrack:
    """The video or audio track as it was sent.

    :ivar codec: codec of the last tag.
    :ivar time: time of the last tag, milliseconds.
    :ivar last_shown: latest presentation time so far, milliseconds.
    :ivar step: milliseconds between the last two tags.
    """

    codec: int | bytes | None = None
    time: int | None = None
    last_shown: int = 0
    step: int = 1

    def tag_sent(self, time: int, delay: int) -> None:
        """Record a tag that is sent at ``time`` and shown ``delay`` milliseconds later."""
        step = _MAX_STEP if self.time is None else _ahead(time, self.time)
        is_continuous = 0 <= step < _MAX_STEP
        if step and is_continuous:
            self.step = step
        if not is_continuous or _ahead(time + delay, self.last_shown) > 0:
            self.last_shown = time + delay
        self.time = time

    def due(self, last: int, delay: int) -> int:
        """Return the time for the next tag: not before ``last``, and presented behind all other tags."""
        if self.time is None:
            return last
        wanted = (self.time, self.last_shown - delay)
        return (last + max(0, *(_ahead(time + self.step, last) for time in wanted))) % _TIME_WRAP


class FlvSplicer:
    """The timeline that players get, and the tags that are added to it.

    :ivar header_tags: tags of the current body that a decoder must see first, by tag kind.
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
        """True if video was sent."""
        return self._tracks[VIDEO].time is not None

    def join_tags(self) -> bytes:
        """Return the header tags for a player that starts with the last tag sent.

        Metadata keeps its own time, usually 0: libavformat makes a text track of metadata with another time.
        """
        last = self._last_time or 0
        return b"".join(
            [head.data if head.kind == SCRIPT else head.with_time(last) for head in self.header_tags.values()]
        )

    def next_source(self) -> None:
        """Start the next body."""
        self.header_tags = {}
        self._splice_pending = True
        self._waiting_since: float | None = None
        self._dropped = 0

    def splice(self, tag: FlvTag, now: float) -> tuple[list[bytes], SpliceReport | None]:
        """Return the bytes to send for this tag, and a report if the tag begins its body or changes the codec."""
        if tag.use in (FlvTagUse.METADATA, FlvTagUse.CONFIGURATION):
            self.header_tags[tag.kind] = tag
        if tag.use in (FlvTagUse.METADATA, FlvTagUse.END) or (self._waiting_since is None and not tag.is_media):
            return [], None
        since = self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if not self._splice_pending:
            changed = (_NAMES[tag.kind],) if self._is_other_codec(tag) else ()
            report = SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=changed) if changed else None
            return [self._send(tag)], report
        if self._last_time is None:
            self._splice_pending = False
            first = [*self._configuration(), tag]
            return [self._send(each) for each in first], SpliceReport(SpliceKind.PLAIN, 0.0)
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
        """Place the first tag one step behind the last one of its track, but not before the last tag sent."""
        due = self._tracks[tag.kind].due(last, tag.delay)
        changed = self._changed_tracks(tag)
        self._offset = (due - tag.time) % _TIME_WRAP
        self._splice_pending = False
        kind = SpliceKind.CODEC_CHANGE if changed else SpliceKind.SHIFTED
        report = SpliceReport(kind, waited, _ahead(due, tag.time) / 1000, dropped=self._dropped, changed=changed)
        new_headers = [
            head for head in self._configuration() if not head.has_same_content(self._sent_headers.get(head.kind))
        ]
        return [*(self._send(head, last) for head in new_headers), self._send(tag)], report

    def _configuration(self) -> list[FlvTag]:
        return [head for head in self.header_tags.values() if head.use is FlvTagUse.CONFIGURATION]

    def _changed_tracks(self, tag: FlvTag) -> tuple[str, ...]:
        """Return the names of the tracks that have another codec now, or are gone."""
        first = {**self.header_tags, tag.kind: tag}
        changed = [_NAMES[each.kind] for each in first.values() if self._is_other_codec(each)]
        return (*changed, "no video") if self.has_video and VIDEO not in first else tuple(changed)

    def _is_other_codec(self, tag: FlvTag) -> bool:
        track = self._tracks.get(tag.kind)
        return track is not None and None not in (track.codec, tag.codec) and track.codec != tag.codec

    def _send(self, tag: FlvTag, time: int | None = None) -> bytes:
        """Return the tag as sent, and record it."""
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
