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
TARGET = 6
#: Seconds from which on a segment ends at the next random access point.
GOAL = 2.0
#: The same for the first one, which somebody waits for.
SOON = 0.5
#: Seconds of segments that are listed: a player begins three target durations before the end (section 6.3.3).
LISTED = 4.0 * TARGET
#: Seconds for which segments are kept: for a while behind their listing (section 6.2.2).
KEPT = 6.0 * TARGET


@attrs.frozen(eq=False)
class LiveSegment:
    """Blocks in a row.

    :ivar number: its media sequence number.
    :ivar psi: PAT and PMT to be sent first.
    :ivar duration: seconds.
    :ivar began: when its first picture came, monotonic seconds; counted on from the first segment of a run.
    :ivar anew: it does not go on from the one before.
    :ivar run: how many segments up to this one did not.
    """

    number: int
    psi: bytes
    blocks: tuple[Block, ...]
    duration: float
    began: float
    anew: bool
    run: int

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """All of it."""
        return (self.psi, *(block.data for block in self.blocks))

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.pieces))


@attrs.frozen
class _Mark:
    """Where a unit of the main track begins, counted in the stream's bytes, and its DTS."""

    position: int
    stamp: int


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
        self._next = self._runs = 0
        self._anew = False
        self._pid: int | None = None
        self._blocks: list[Block] = []
        self._start = self._latest = _Mark(0, 0)
        self._step = 0
        self._began = 0.0

    @property
    def started(self) -> bool:
        """Whether there is a segment to begin with."""
        return bool(self._kept)

    def segment(self, number: int) -> LiveSegment | None:
        """The segment of that number, if it is kept."""
        place = number - self._kept[0].number if self._kept else -1
        return self._kept[place] if 0 <= place < len(self._kept) else None

    def feed(self, block: Block) -> None:
        """Take the next block. What comes before a random access point to begin at is no part of any segment."""
        if block.access:
            self._follow(pid_of(block.data, 0))
        marks = list(self._marks(block))
        if self._blocks and _jumps([self._latest, *marks]):
            self.discontinue()
        if not self._blocks and not self._begin(block, marks):
            return
        self._blocks.append(block)
        if block.position - self._start.position > self._max_bytes:
            self._blocks, self._anew = [], self._next > 0
            return
        for mark in marks:
            self._pass(mark, block.access and mark.position == block.position)

    def discontinue(self) -> None:
        """What comes now does not go on from what was there."""
        if self._blocks:
            end = _Mark(self._blocks[-1].position + len(self._blocks[-1].data), self._latest.stamp + self._step)
            self._close(end)
        self._blocks = []
        self._anew = self._next > 0

    def restart(self) -> None:
        """Forget all there is. What may come later does not go on from it."""
        self._blocks = []
        self._kept.clear()
        self._size, self._seconds = 0, 0.0
        self._anew = self._next > 0

    def playlist(self, uri: Callable[[int], str], wall: Callable[[float], datetime]) -> str:
        """
        The media playlist (RFC 8216 section 4.3).

        :param uri: of the segment of a number.
        :param wall: the time of day for monotonic seconds.
        """
        listed = self._listed()
        first = listed[0]
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{TARGET}"]
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{first.number}", f"#EXT-X-DISCONTINUITY-SEQUENCE:{first.run - first.anew}"]
        for segment in listed:
            lines += ["#EXT-X-DISCONTINUITY"] if segment.anew else []
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{wall(segment.began).isoformat(timespec='milliseconds')}")
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
            if seconds >= LISTED:
                break
        return listed[::-1]

    def _follow(self, pid: int) -> None:
        """The track that can be begun with: another one is another stream."""
        if self._blocks and pid != self._pid:
            self.discontinue()
        self._pid = pid

    def _marks(self, block: Block) -> Iterator[_Mark]:
        data = block.data
        for at in unit_starts(data) if self._pid is not None else ():
            if pid_of(data, at) != self._pid or scrambled(data, at) or transport_error(data, at):
                continue
            header = read_pes_header(payload_of(data, at))
            if header is not None and header.dts is not None:
                yield _Mark(block.position + at, header.dts)

    def _begin(self, block: Block, marks: Sequence[_Mark]) -> bool:
        """Whether a segment can begin with this block."""
        if not block.access or not marks or marks[0].position != block.position or _jumps(marks):
            return False
        self._start = self._latest = marks[0]
        self._step, self._began = 0, block.time
        return True

    def _pass(self, mark: _Mark, access: bool) -> None:
        """A unit is reached: end the segment in front of it, or in front of the one before, if it is time."""
        self._step = ahead(mark.stamp, self._latest.stamp) or self._step
        if self._lasts(mark) > TARGET:
            self._close(self._latest)
        if access and self._lasts(mark) >= (GOAL if self._kept else SOON):
            self._close(mark)
        self._latest = mark

    def _lasts(self, end: _Mark) -> float:
        return ahead(end.stamp, self._start.stamp) / TICKS

    def _close(self, end: _Mark) -> None:
        """End the segment in front of ``end``, where the next one begins."""
        blocks, self._blocks = _split(self._blocks, end.position)
        duration = min(self._lasts(end), float(TARGET))
        self._runs += self._anew
        segment = LiveSegment(self._next, blocks[0].psi, tuple(blocks), duration, self._began, self._anew, self._runs)
        self._kept.append(segment)
        self._next, self._anew, self._start = self._next + 1, False, end
        self._size, self._seconds = self._size + segment.size, self._seconds + duration
        self._began += duration
        self._let_go()

    def _let_go(self) -> None:
        """What is kept is bounded, in seconds and in bytes."""
        while len(self._kept) > 1:
            oldest = self._kept[0]
            if self._size <= self._max_bytes and self._seconds - oldest.duration < KEPT:
                return
            self._kept.popleft()
            self._size, self._seconds = self._size - oldest.size, self._seconds - oldest.duration


def _jumps(marks: Sequence[_Mark]) -> bool:
    """Whether time goes back somewhere, or on by more than a segment may last."""
    return any(not 0 <= ahead(later.stamp, sooner.stamp) <= TARGET * TICKS for sooner, later in pairwise(marks))


def _split(blocks: Sequence[Block], position: int) -> tuple[list[Block], list[Block]]:
    """What lies before and behind a byte of the stream; a block in which it lies is cut in two."""
    before: list[Block] = []
    behind: list[Block] = []
    for block in blocks:
        cut = position - block.position
        if cut >= len(block.data):
            before.append(block)
        elif cut <= 0:
            behind.append(block)
        else:
            before.append(attrs.evolve(block, data=block.data[:cut]))
            behind.append(attrs.evolve(block, data=block.data[cut:], access=False, position=position))
    return before, behind
