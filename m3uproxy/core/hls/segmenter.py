"""A live transport stream as HLS: segments cut in front of random access points, and the playlist that lists them.

Nothing is copied and nothing is changed: a segment is a row of the stream's own blocks, behind the PAT and PMT in force
there (RFC 8216 section 3.2). What a segment lasts is told by the DTS of the pictures (of a stream without pictures:
of the sound) that it and the next one begin with. The target duration must never change and never be exceeded
(section 4.3.3.1), so a group of pictures that lasts longer is cut in the middle, in front of a picture.
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
from ..ring import Block

#: Seconds that no segment exceeds.
TARGET_DURATION = 6
#: Seconds from which on a segment ends at the next random access point.
MIN_DURATION = 2.0
#: The same for the first one, which somebody waits for.
MIN_FIRST_DURATION = 0.5
#: Seconds of segments that are listed: a player begins three target durations before the end (section 6.3.3).
LISTED_DURATION = 4.0 * TARGET_DURATION
#: Seconds for which segments are kept: for a while behind their listing (section 6.2.2).
KEPT_DURATION = 6.0 * TARGET_DURATION


@attrs.frozen(eq=False)
class LiveSegment:
    """Blocks in a row.

    :ivar number: its media sequence number.
    :ivar psi: PAT and PMT to be sent first.
    :ivar duration: seconds.
    :ivar started_at: when its first picture came, monotonic seconds; counted on from the first segment of a run.
    :ivar discontinuity: it does not go on from the one before.
    :ivar discontinuity_sequence: how many segments up to this one did not.
    """

    number: int
    psi: bytes
    blocks: tuple[Block, ...]
    duration: float
    started_at: float
    discontinuity: bool
    discontinuity_sequence: int

    @property
    def buffers(self) -> tuple[bytes, ...]:
        """All of it."""
        return (self.psi, *(block.data for block in self.blocks))

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.buffers))


@attrs.frozen
class _UnitStart:
    """Where a unit of the main track begins, counted in the stream's bytes, and its DTS."""

    position: int
    dts: int


class Segmenter:
    """Cuts one stream, for as long as it runs and beyond: numbers are never used twice."""

    def __init__(self, max_bytes: int) -> None:
        """
        Begin with nothing.

        :param max_bytes: of segments that are kept; the newest one is in any case. What does not end for as many bytes
            is no segment.
        """
        self._max_bytes = max_bytes
        self._kept: deque[LiveSegment] = deque()
        self._size = 0
        self._seconds = 0.0
        self._next = self._discontinuities = 0
        self._discontinuity = False
        self._pid: int | None = None
        self._blocks: list[Block] = []
        self._first_unit = self._last_unit = _UnitStart(0, 0)
        self._unit_ticks = 0
        self._started_at = 0.0

    @property
    def has_segments(self) -> bool:
        """Whether there is a segment to begin with."""
        return bool(self._kept)

    def segment(self, number: int) -> LiveSegment | None:
        """The segment of that number, if it is kept."""
        place = number - self._kept[0].number if self._kept else -1
        return self._kept[place] if 0 <= place < len(self._kept) else None

    def feed(self, block: Block) -> None:
        """Take the next block. What comes before a random access point to begin at is no part of any segment."""
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

    def discontinue(self) -> None:
        """What comes now does not go on from what was there."""
        if self._blocks:
            end = _UnitStart(
                self._blocks[-1].position + len(self._blocks[-1].data), self._last_unit.dts + self._unit_ticks
            )
            self._end_segment(end)
        self._blocks = []
        self._discontinuity = self._next > 0

    def reset(self) -> None:
        """Forget all there is. What may come later does not go on from it."""
        self._blocks = []
        self._kept.clear()
        self._size, self._seconds = 0, 0.0
        self._discontinuity = self._next > 0

    def playlist(self, uri: Callable[[int], str], wall_clock: Callable[[float], datetime]) -> str:
        """
        The media playlist (RFC 8216 section 4.3).

        :param uri: of the segment of a number.
        :param wall_clock: the time of day for monotonic seconds.
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
        return "\n".join(lines) + "\n"

    # inside

    def _listed(self) -> list[LiveSegment]:
        """The newest ones; what is left out lasts less than there is."""
        listed: list[LiveSegment] = []
        seconds = 0.0
        for segment in reversed(self._kept):
            listed.append(segment)
            seconds += segment.duration
            if seconds >= LISTED_DURATION:
                break
        return listed[::-1]

    def _select_track(self, pid: int) -> None:
        """The track that can be begun with: another one is another stream."""
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
        """Whether a segment can begin with this block."""
        if not block.access or not units or units[0].position != block.position or _has_time_jump(units):
            return False
        self._first_unit = self._last_unit = units[0]
        self._unit_ticks, self._started_at = 0, block.time
        return True

    def _pass_unit(self, unit: _UnitStart, access: bool) -> None:
        """A unit is reached: end the segment in front of it, or in front of the one before, if it is time."""
        self._unit_ticks = ahead(unit.dts, self._last_unit.dts) or self._unit_ticks
        if self._duration_until(unit) > TARGET_DURATION:
            self._end_segment(self._last_unit)
        if access and self._duration_until(unit) >= (MIN_DURATION if self._kept else MIN_FIRST_DURATION):
            self._end_segment(unit)
        self._last_unit = unit

    def _duration_until(self, end: _UnitStart) -> float:
        return ahead(end.dts, self._first_unit.dts) / TICKS

    def _end_segment(self, end: _UnitStart) -> None:
        """End the segment in front of ``end``, where the next one begins."""
        blocks, self._blocks = _split_blocks(self._blocks, end.position)
        duration = min(self._duration_until(end), float(TARGET_DURATION))
        self._discontinuities += self._discontinuity
        segment = LiveSegment(
            self._next,
            blocks[0].psi,
            tuple(blocks),
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
        """What is kept is bounded, in seconds and in bytes."""
        while len(self._kept) > 1:
            oldest = self._kept[0]
            if self._size <= self._max_bytes and self._seconds - oldest.duration < KEPT_DURATION:
                return
            self._kept.popleft()
            self._size, self._seconds = self._size - oldest.size, self._seconds - oldest.duration


def _has_time_jump(units: Sequence[_UnitStart]) -> bool:
    """Whether time goes back somewhere, or on by more than a segment may last."""
    return any(not 0 <= ahead(later.dts, earlier.dts) <= TARGET_DURATION * TICKS for earlier, later in pairwise(units))


def _split_blocks(blocks: Sequence[Block], position: int) -> tuple[list[Block], list[Block]]:
    """What lies before and behind a byte of the stream; a block in which it lies is cut in two."""
    before: list[Block] = []
    after: list[Block] = []
    for block in blocks:
        cut = position - block.position
        if cut >= len(block.data):
            before.append(block)
        elif cut <= 0:
            after.append(block)
        else:
            before.append(attrs.evolve(block, data=block.data[:cut]))
            after.append(attrs.evolve(block, data=block.data[cut:], access=False, position=position))
    return before, after
