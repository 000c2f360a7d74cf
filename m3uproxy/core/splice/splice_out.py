"""The end of the old source: the state of each track, read from the last seconds that were sent.

Nothing is recorded while a stream runs. All of this is computed when another source must continue, in some
milliseconds.
"""

from __future__ import annotations

import statistics
from itertools import pairwise

import attrs

from ..mpegts.access_index import AccessIndex
from ..mpegts.audio_frames import find_frames
from ..mpegts.packets import NULL_PID, PACKET_SIZE, PAT_PID
from ..mpegts.packets import pid as pid_of
from ..mpegts.pes import PesIndex
from ..mpegts.psi import Codec, ElementaryStream
from ..mpegts.psi_tables import PsiTables, tables_in_force
from ..mpegts.timestamps import WRAP, ahead, has_pcr, latest, read_pcr
from .track_mapping import codec_name

#: Units with timestamps that are read for the highest PTS and for the usual step.
_RECENT_UNITS = 48


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
    """The last seconds that were sent.

    :ivar pes: units of these seconds.
    :ivar tables: PAT and PMT; None if these seconds hold none, so that no source can continue them.
    :ivar counters: last continuity counter of each PID.
    :ivar pcr: last value of the program's clock.
    :ivar readable: True if a source can continue: there are tables, and a track with timestamps (scrambled ones have
        none).
    """

    def __init__(self, tail: bytes) -> None:
        index = AccessIndex()
        index.scan(tail)
        self.pes = PesIndex(tail)
        self.tables = tables_in_force(index)
        self.counters: dict[int, int] = {}
        self.pcr: int | None = None
        self.readable = False
        if self.tables is not None:
            self._read_counters(tail, self.tables)
            self.readable = any(self.end_of(stream) is not None for stream in self.tables.program.streams)

    def _read_counters(self, tail: bytes, tables: PsiTables) -> None:
        """Go back through the packets until a counter of each PID and the clock are known."""
        clock = tables.program.pcr_pid
        wanted = {PAT_PID, tables.pmt_pid, clock, *(stream.pid for stream in tables.program.streams)} - {NULL_PID}
        for at in range(len(tail) - PACKET_SIZE, -1, -PACKET_SIZE):
            pid = pid_of(tail, at)
            if pid not in self.counters:
                self.counters[pid] = tail[at + 3] & 0x0F
                wanted.discard(pid)
            if pid == clock and self.pcr is None and has_pcr(tail, at):
                self.pcr = read_pcr(tail, at)
            if not wanted and self.pcr is not None:
                return

    def end_of(self, stream: ElementaryStream) -> TrackEnd | None:
        """Return the end of a track; None if it has no timestamps.

        Unreadable (scrambled) units at the end were sent too. The track continues behind them, by its usual step.
        """
        timestamps: list[tuple[int, int]] = []
        last = unreadable = 0
        for number in range(self.pes.count(stream.pid) - 1, -1, -1):
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
        units = range(number, self.pes.count(stream.pid))
        content = b"".join([self.pes.content(stream.pid, unit) for unit in units])
        frames = find_frames(content, codec_name(stream))
        if frames is not None:
            return round(pts + len(frames.offsets) * frames.duration)
        return pts + (ahead(pts, timestamps[-2][0]) if len(timestamps) > 1 else 0)


def _median_step(pts: list[int]) -> int:
    """Return the usual distance of timestamps in presentation order; 0 if there is only one."""
    order = sorted(ahead(each, pts[0]) for each in pts)
    steps = [later - earlier for earlier, later in pairwise(order) if later > earlier]
    return round(statistics.median(steps)) if steps else 0
