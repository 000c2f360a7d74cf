"""Segmenter: cuts a live transport stream into HLS segments, and writes the media playlist.

Segments start at random access points. Data is neither copied nor changed: a segment is a sequence of the stream's
blocks, preceded by the PAT and PMT that apply there (RFC 8216 section 3.2). The first and the last block may belong to
it in part. Blocks that the ring holds as well take no memory of their own. The duration is the difference between the
first DTS of a segment and that of the next one, taken from video, or from audio if there is no video. The target
duration must never change and no segment may exceed it (section 4.3.3.1). Therefore a longer group of pictures is cut
in front of a picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import attrs

from ..mpegts.packets import pid as pid_of
from ..mpegts.packets import scrambled, transport_error, unit_starts
from ..mpegts.pes import payload_of, read_pes_header
from ..mpegts.timestamps import TICKS, ahead
from ..ring import NO_LIMIT, Block

#: EXT-X-TARGETDURATION in seconds, the longest segment.
TARGET_DURATION = 6
#: Minimum duration in seconds; after it a segment ends at the next random access point.
MIN_DURATION = 2.0
#: Minimum duration in seconds of the first segment, for which a player waits.
MIN_FIRST_DURATION = 0.5
#: Seconds of segments in the playlist: a player begins three target durations before the end (section 6.3.3).
LISTED_DURATION = 4.0 * TARGET_DURATION
#: Seconds of segments that are kept: for a while after they left the playlist (section 6.2.2).
KEPT_DURATION = 6.0 * TARGET_DURATION


@attrs.frozen(eq=False)
class LiveSegment:
    """
    A segment: consecutive blocks of the stream.

    :ivar number: media sequence number.
    :ivar psi: PAT and PMT, sent first.
    :ivar blocks: the blocks that contain the segment.
    :ivar start: bytes of the stream before the segment.
    :ivar end: bytes of the stream up to the end of the segment.
    :ivar duration: seconds.
    :ivar started_at: arrival of its first picture, monotonic seconds; within a continuous sequence, the arrival of the
        sequence's first segment plus the durations since.
    :ivar discontinuity: True if the segment does not continue the previous one.
    :ivar discontinuity_sequence: number of discontinuities up to and including this segment.
    """

    number: int
    psi: bytes
    blocks: tuple[Block, ...]
    start: int
    end: int
    duration: float
    started_at: float
    discontinuity: bool
    discontinuity_sequence: int

    @property
    def buffers(self) -> tuple[bytes, ...]:
        """The complete segment: PSI, then the data of each block, as far as it belongs to the segment."""
        data = [block.data for block in self.blocks]
        data[-1] = data[-1][: self.end - self.blocks[-1].position]
        data[0] = data[0][self.start - self.blocks[0].position :]
        return (self.psi, *data)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(map(len, self.buffers))


@attrs.frozen
class _UnitStart:
    """The start of an access unit of the main track: byte position in the stream, and DTS in ticks."""

    position: int
    dts: int


class Segmenter:
    """The segmenter of one stream. It outlives sources; media sequence numbers are never reused."""

    def __init__(self, max_bytes: int) -> None:
        """
        Initialise without segments.

        :ivar is_over: True if no segment follows: the playlist ends with EXT-X-ENDLIST.

        :param max_bytes: limit of all kept segments, except that the newest is always kept. A segment that does not end
            within this size is discarded.
        """
        self._max_bytes = max_bytes
        self._share = NO_LIMIT
        self._kept: deque[LiveSegment] = deque()
        self._size = 0
        self._seconds = 0.0
        self._next = self._discontinuities = 0
        self._discontinuity = False
        self.is_over = False
        self._pid: int | None = None
        self._blocks: list[Block] = []
        self._first_unit = self._last_unit = _UnitStart(0, 0)
        self._unit_ticks = 0
        self._started_at = 0.0

    @property
    def has_segments(self) -> bool:
        """True if the playlist has at least one segment."""
        return bool(self._kept)

    def segment(self, number: int) -> LiveSegment | None:
        """Return the segment with this media sequence number, or None if it is not kept."""
        place = number - self._kept[0].number if self._kept else -1
        return self._kept[place] if 0 <= place < len(self._kept) else None

    def seconds_after(self, number: int) -> float:
        """Return the seconds of kept segments behind the one with a media sequence number."""
        return sum(segment.duration for segment in self._kept if segment.number > number)

    def size_before(self, position: int) -> int:
        """Return the bytes held of the stream before a position. Padding that is only in the ring counts, too."""
        held = end = 0
        for blocks in (*(segment.blocks for segment in self._kept), self._blocks):
            if not blocks or blocks[0].position >= position:
                continue
            start = max(blocks[0].position, end)  # two segments may share a block
            end = blocks[-1].position + len(blocks[-1].data)
            held += max(0, min(end, position) - start)
        return held

    def set_share(self, share: int) -> None:
        """
        Limit the kept segments together with the blocks of the next one. The newest segment is always kept.

        :param share: bytes.
        """
        self._share = share
        self._drop_oldest()

    def feed(self, block: Block) -> None:
        """Add the next block. Blocks before the first random access point are ignored."""
        if block.access:
            self._select_track(pid_of(block.data, 0))
        units = list(self._unit_starts(block))
        if self._blocks and _has_time_jump([self._last_unit, *units]):
            self.discontinue()
        if not self._blocks and not self._start_segment(block, units):
            return
        self._blocks.append(block)
        if block.position - self._first_unit.position > self._max_bytes:
            self._blocks, self._discontinuity = [], self._next > 0
            return
        for unit in units:
            self._pass_unit(unit, block.access and unit.position == block.position)
        if self._size_of_kept() + self._size_of_next() > self._share:
            self._drop_oldest()

    def discontinue(self) -> None:
        """End the current segment. The next segment, unless the first ever, gets EXT-X-DISCONTINUITY."""
        if self._blocks:
            end = _UnitStart(
                self._blocks[-1].position + len(self._blocks[-1].data), self._last_unit.dts + self._unit_ticks
            )
            self._end_segment(end)
        self._blocks = []
        self._discontinuity = self._next > 0

    def finish(self) -> None:
        """End the last segment, and the playlist: the programme has ended."""
        self.discontinue()
        self.is_over = True

    def reset(self) -> None:
        """Remove all segments. The next segment, unless the first ever, gets EXT-X-DISCONTINUITY."""
        self.is_over = False
        self._blocks = []
        self._kept.clear()
        self._size, self._seconds = 0, 0.0
        self._discontinuity = self._next > 0

    def playlist(self, uri: Callable[[int], str], wall_clock: Callable[[float], datetime]) -> str:
        """
        Return the media playlist (RFC 8216 section 4.3).

        :param uri: returns the URI of a segment by its media sequence number.
        :param wall_clock: converts monotonic seconds to time of day.
        """
        listed = self._listed()
        first = listed[0]
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{TARGET_DURATION}"]
        removed = first.discontinuity_sequence - first.discontinuity
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{first.number}", f"#EXT-X-DISCONTINUITY-SEQUENCE:{removed}"]
        for segment in listed:
            lines += ["#EXT-X-DISCONTINUITY"] if segment.discontinuity else []
            lines.append(
                f"#EXT-X-PROGRAM-DATE-TIME:{wall_clock(segment.started_at).isoformat(timespec='milliseconds')}"
            )
            lines += [f"#EXTINF:{segment.duration:.6f},", uri(segment.number)]
        lines += ["#EXT-X-ENDLIST"] if self.is_over else []
        return "\n".join(lines) + "\n"

    def _listed(self) -> list[LiveSegment]:
        """Return the newest segments that together have at least the listed duration."""
        listed: list[LiveSegment] = []
        seconds = 0.0
        for segment in reversed(self._kept):
            listed.append(segment)
            seconds += segment.duration
            if seconds >= LISTED_DURATION:
                break
        return listed[::-1]

    def _select_track(self, pid: int) -> None:
        """Use the track of the random access point. Another track starts a discontinuity."""
        if self._blocks and pid != self._pid:
            self.discontinue()
        self._pid = pid

    def _unit_starts(self, block: Block) -> Iterator[_UnitStart]:
        data = block.data
        for at in unit_starts(data) if self._pid is not None else ():
            if pid_of(data, at) != self._pid or scrambled(data, at) or transport_error(data, at):
                continue
            header = read_pes_header(payload_of(data, at))
            if header is not None and header.dts is not None:
                yield _UnitStart(block.position + at, header.dts)

    def _start_segment(self, block: Block, units: Sequence[_UnitStart]) -> bool:
        """Start a segment with this block. Return False if the block is not a usable start."""
        if not block.access or not units or units[0].position != block.position or _has_time_jump(units):
            return False
        self._first_unit = self._last_unit = units[0]
        self._unit_ticks, self._started_at = 0, block.time
        return True

    def _pass_unit(self, unit: _UnitStart, access: bool) -> None:
        """
        Process the start of a unit.

        If the target duration is exceeded, end the segment before the previous unit. If the segment is long enough and
        the unit is a random access point, end the segment before this unit.
        """
        self._unit_ticks = ahead(unit.dts, self._last_unit.dts) or self._unit_ticks
        if self._duration_until(unit) > TARGET_DURATION:
            self._end_segment(self._last_unit)
        if access and self._duration_until(unit) >= (MIN_DURATION if self._kept else MIN_FIRST_DURATION):
            self._end_segment(unit)
        self._last_unit = unit

    def _duration_until(self, end: _UnitStart) -> float:
        return ahead(end.dts, self._first_unit.dts) / TICKS

    def _end_segment(self, end: _UnitStart) -> None:
        """End the segment at ``end``, where the next one starts."""
        blocks = tuple(block for block in self._blocks if block.position < end.position)
        self._blocks = [block for block in self._blocks if block.position + len(block.data) > end.position]
        duration = min(self._duration_until(end), float(TARGET_DURATION))
        self._discontinuities += self._discontinuity
        segment = LiveSegment(
            self._next,
            blocks[0].psi,
            blocks,
            self._first_unit.position,
            end.position,
            duration,
            self._started_at,
            self._discontinuity,
            self._discontinuities,
        )
        self._kept.append(segment)
        self._next, self._discontinuity, self._first_unit = self._next + 1, False, end
        self._size, self._seconds = self._size + segment.size, self._seconds + duration
        self._started_at += duration
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Remove the oldest segments until all limits, in seconds and in bytes, are met."""
        limit = min(self._max_bytes, self._share - self._size_of_next())
        while len(self._kept) > 1:
            oldest = self._kept[0]
            if self._size_of_kept() <= limit and self._seconds - oldest.duration < KEPT_DURATION:
                return
            self._kept.popleft()
            self._size, self._seconds = self._size - oldest.size, self._seconds - oldest.duration

    def _size_of_kept(self) -> int:
        """Return the bytes of the kept segments, with those before the oldest one in its first block."""
        if not self._kept:
            return 0
        oldest = self._kept[0]
        return self._size + oldest.start - oldest.blocks[0].position

    def _size_of_next(self) -> int:
        """Return the bytes of the segment that has not ended."""
        if not self._blocks:
            return 0
        return self._blocks[-1].position + len(self._blocks[-1].data) - self._first_unit.position


def _has_time_jump(units: Sequence[_UnitStart]) -> bool:
    """Return whether DTS decreases, or increases by more than the target duration."""
    return any(not 0 <= ahead(later.dts, earlier.dts) <= TARGET_DURATION * TICKS for earlier, later in pairwise(units))
