"""The end of the old source: the state of each track, read from the last seconds that were sent.

Nothing is recorded while a stream runs. All of this is computed when another source must continue, in some
milliseconds. A large tail is read in several calls.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import pairwise

import attrs

from ..mpegts.access_index import AccessIndex
from ..mpegts.audio_frames import find_frames
from ..mpegts.packets import NULL_PID, PACKET_SIZE, PAT_PID
from ..mpegts.pes import PesIndex, clock_packets
from ..mpegts.psi import Codec, ElementaryStream
from ..mpegts.psi_tables import PsiTables, tables_in_force
from ..mpegts.timestamps import WRAP, ahead, latest, read_pcr
from .allowance import BYTES_PER_COST, SCAN_BYTES, Allowance, scan_cost
from .track_mapping import codec_name

#: Units with timestamps that are read for the highest PTS and for the usual step.
_RECENT_UNITS = 48
#: Last units of a track among which these are searched.
_SEARCHED_UNITS = 4096
#: Bytes of audio that may follow the last timestamp.
_LONGEST_SPAN = 1 << 18
#: Bytes in which counters are searched in one step.
_PART = 1024 * PACKET_SIZE
_HIGH_BITS = bytes(byte & 0x1F for byte in range(256))


@attrs.frozen
class TrackEnd:
    """The end of a sent track, in ticks of 90 kHz.

    :ivar dts: DTS of the last unit.
    :ivar pts: highest PTS.
    :ivar step: distance of pictures; for audio, distance of units.
    :ivar due: time of the next picture or audio frame.
    """

    dts: int
    pts: int
    step: int
    due: int


class SpliceOut:
    """The last seconds that were sent. They must be read before anything else is asked: :meth:`read`.

    :ivar program: number of the program that players follow; None if unknown.
    :ivar pes: units of these seconds.
    :ivar tables: PAT and PMT; None if these seconds hold none, so that no source can continue them.
    :ivar counters: last continuity counter of each PID of the program.
    :ivar pcr: last value of the program's clock.
    :ivar readable: True if a source can continue: there are tables, and a track with timestamps (scrambled ones have
        none).
    """

    def __init__(self, tail: bytes, program: int | None = None) -> None:
        """Prepare to read.

        :param tail: packets of these seconds.
        :param program: number of the program that players follow; None if unknown.
        """
        self.program = program
        self._index = AccessIndex(program, is_certain=True)
        self.pes = PesIndex()
        self.pes.data = tail
        self.tables: PsiTables | None = None
        self.counters: dict[int, int] = {}
        self.pcr: int | None = None
        self.readable = False
        self._ends: dict[int, TrackEnd | None] = {}
        self._steps = self._read_steps(tail)

    def read(self, allowance: Allowance | None = None) -> bool:
        """Continue reading. Return True if all is read.

        :param allowance: None to read everything now.
        """
        # What was read before may have used up the allowance. Then nothing is read in this call.
        if allowance is not None and allowance.left <= 0:
            return False
        return all(allowance is None or allowance.spend(cost) for cost in self._steps)

    def end_of(self, stream: ElementaryStream) -> TrackEnd | None:
        """Return the end of a track; None if it has no timestamps.

        Unreadable (scrambled) units at the end were sent too. The track continues behind them, by its usual step.
        """
        return self._ends.get(stream.pid)

    def _read_steps(self, tail: bytes) -> Iterator[int]:
        """Read the packets. Yield the cost of each step."""
        index = self._index
        for begin in range(0, len(tail), SCAN_BYTES):
            part = tail[begin : begin + SCAN_BYTES]
            index.scan(part)
            self.pes.add_starts(part, begin)
            yield scan_cost(index, part)
        self.tables = tables_in_force(index)
        if self.tables is None:
            return
        yield from self._read_counters(tail, self.tables)
        for stream in self.tables.program.streams:
            self._ends[stream.pid] = self._read_end(stream)
            yield 3 * min(self.pes.count(stream.pid), _SEARCHED_UNITS)
        self.readable = any(end is not None for end in self._ends.values())

    def _read_counters(self, tail: bytes, tables: PsiTables) -> Iterator[int]:
        """Go back through the packets until a counter of each PID and the clock are known."""
        clock = tables.program.pcr_pid
        wanted = {PAT_PID, tables.pmt_pid, clock, *(stream.pid for stream in tables.program.streams)} - {NULL_PID}
        for end in range(len(tail), 0, -_PART):
            begin = max(end - _PART, 0)
            for pid, control in _last_controls(tail[begin:end]).items():
                if pid in wanted:
                    self.counters[pid] = control & 0x0F
                    wanted.discard(pid)
            if self.pcr is None:
                values = clock_packets(tail, clock, begin, end)
                self.pcr = read_pcr(tail, values[-1]) if values else None
            if not wanted and self.pcr is not None:
                return
            yield (end - begin) // BYTES_PER_COST * 2

    def _read_end(self, stream: ElementaryStream) -> TrackEnd | None:
        timestamps: list[tuple[int, int]] = []
        last = unreadable = 0
        count = self.pes.count(stream.pid)
        for number in range(count - 1, max(count - _SEARCHED_UNITS, 0) - 1, -1):
            header = self.pes.header(stream.pid, number)
            if header is None and not timestamps:
                unreadable += 1
            elif header is not None and header.pts is not None and header.dts is not None:
                last = last if timestamps else number
                timestamps.append((header.pts, header.dts))
            if len(timestamps) == _RECENT_UNITS:
                break
        if not timestamps:
            return None
        timestamps.reverse()
        pts, dts = latest([each[0] for each in timestamps]), timestamps[-1][1]
        step = _median_step([each[0] for each in timestamps])
        due = self._audio_due(stream, timestamps, last) if stream.codec is Codec.AUDIO else pts + step
        skipped = unreadable * step
        return TrackEnd((dts + skipped) % WRAP, (pts + skipped) % WRAP, step, (due + skipped) % WRAP)

    def _audio_due(self, stream: ElementaryStream, timestamps: list[tuple[int, int]], number: int) -> int:
        """Return the time of the next audio frame.

        It is the last timestamp plus the duration of the frames behind it. If the codec is unknown, the duration of the
        unit before it is used.
        """
        pts = timestamps[-1][0]
        content = b""
        for unit in range(number, self.pes.count(stream.pid)):
            content += self.pes.content(stream.pid, unit, _LONGEST_SPAN)
            if len(content) >= _LONGEST_SPAN:
                break
        frames = find_frames(content, codec_name(stream)) if len(content) < _LONGEST_SPAN else None
        if frames is not None:
            return round(pts + len(frames.offsets) * frames.duration)
        return pts + (ahead(pts, timestamps[-2][0]) if len(timestamps) > 1 else 0)


def _last_controls(packets: bytes) -> dict[int, int]:
    """Return the last fourth byte of each PID."""
    highs = packets[1::PACKET_SIZE].translate(_HIGH_BITS)
    pids = zip(highs, packets[2::PACKET_SIZE], strict=True)
    last = dict(zip(pids, packets[3::PACKET_SIZE], strict=True))
    return {high << 8 | low: control for (high, low), control in last.items()}


def _median_step(pts: list[int]) -> int:
    """Return the usual distance of timestamps in presentation order; 0 if there is only one."""
    order = sorted(ahead(each, pts[0]) for each in pts)
    steps = [later - earlier for earlier, later in pairwise(order) if later > earlier]
    return round(statistics.median(steps)) if steps else 0
