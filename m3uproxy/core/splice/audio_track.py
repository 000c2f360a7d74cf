"""A track of audio as a run of bytes with times, read from units once, as they arrive."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from ..mpegts.audio_frames import MAX_FRAME, AudioFrames, find_leading_frames
from ..mpegts.packets import PACKET_SIZE, scrambled
from ..mpegts.pes import MAX_HEADER, PesIndex, packets_of, payload_of, read_pes_header
from ..mpegts.timestamps import ahead
from .allowance import BYTES_PER_COST, Allowance

#: Bytes of a run of packets that are read in one step.
_PART = 4096 * PACKET_SIZE
#: Bytes behind a timestamp in which frames are found. Behind that, times are interpolated.
_MAX_SPAN = 1 << 17
#: Timestamps whose frames are remembered.
_MAX_FRAMES_KNOWN = 8


class AudioTrack:
    """The elementary stream of a track.

    :ivar data: its bytes.
    :ivar starts: positions in ``data`` at which units begin.
    :ivar timestamps: PTS of each unit; None if unknown.
    :ivar first_unit: number of the first unit on its PID.
    :ivar cost: cost of all frames that were found.
    """

    def __init__(self, pes: PesIndex, pid: int, codec: str) -> None:
        self._pes, self._pid, self._codec = pes, pid, codec
        self.data = bytearray()
        self.starts: list[int] = []
        self.timestamps: list[int | None] = []
        self.first_unit = pes.first_kept(pid)
        self._offset = pes.base
        # Bytes of the open unit before its header is complete; None behind the header.
        self._head: bytes | None = None
        # Bytes that the open unit still lacks; None if its length is open.
        self._missing: int | None = 0
        self._scrambled = False
        self._stamped: list[int] = []
        self._stamped_starts: list[int] = []
        # The frames that were found last, by the positions between which they were searched.
        self._frames: dict[tuple[int, int], AudioFrames | None] = {}
        self.cost = 0

    def read(self, allowance: Allowance) -> bool:
        """Read the packets that have arrived since the last call. Return True if all are read."""
        starts = self._pes.starts.get(self._pid, [])
        while allowance.left > 0:
            next_unit = self.first_unit + len(self.starts)
            end = starts[next_unit] if next_unit < len(starts) else self._pes.size
            if self._offset < end:
                self._read_packets(min(end, self._offset + _PART), allowance)
            elif next_unit < len(starts):
                self.starts.append(len(self.data))
                self.timestamps.append(None)
                self._head = b""
                self._scrambled = scrambled(self._pes.data, starts[next_unit] - self._pes.base)
            else:
                return True
        return False

    def _read_packets(self, end: int, allowance: Allowance) -> None:
        """Read packets of the open unit. Packets before the first unit are passed over."""
        base, begin = self._pes.base, self._offset
        self._offset = end
        found = packets_of(self._pes.data, self._pid, begin - base, end - base) if self.starts else []
        if found:
            self._take(b"".join([payload_of(self._pes.data, at) for at in found]))
        allowance.spend(4 + (end - begin) // BYTES_PER_COST // 2 + len(found) // 2)

    def _take(self, payload: bytes) -> None:
        """Take payload of the open unit."""
        if self._head is not None:
            self._head += payload
            header = read_pes_header(self._head)
            if header is None:
                if len(self._head) >= MAX_HEADER:
                    self._head, self._missing = None, 0
                return
            if header.pts is not None and not self._scrambled:
                self._stamp(header.pts)
            self._missing = header.length - header.size if header.length else None
            payload, self._head = self._head[header.size :], None
        self.data += payload[: self._missing]
        if self._missing is not None:
            self._missing = max(self._missing - len(payload), 0)

    def _stamp(self, pts: int) -> None:
        self.timestamps[-1] = pts
        self._stamped.append(len(self.starts) - 1)
        self._stamped_starts.append(self.starts[-1])

    @property
    def is_complete(self) -> bool:
        """True if the last unit has arrived completely, by its length."""
        return self._head is None and self._missing == 0

    def unit_at(self, position: int) -> int:
        """Return the index of the unit that contains a byte."""
        return bisect_right(self.starts, position) - 1

    @property
    def last_timestamp(self) -> int | None:
        """The last PTS; None without one."""
        return self.timestamps[self._stamped[-1]] if self._stamped else None

    def time_at(self, position: int) -> int | None:
        """Return the presentation time of the frame that begins at a byte or behind it; ticks, not wrapped."""
        number = bisect_right(self._stamped_starts, min(position, len(self.data))) - 1
        if number < 0:
            return None
        pts, start = self._stamp_at(number)
        if position == start:
            return pts
        # The timestamp belongs to the first frame that begins in the unit, which may be behind its first byte.
        frames = self._frames_from(number)
        if frames is None or (frames.broken and frames.end < min(position - start + MAX_FRAME, len(self.data) - start)):
            return self._interpolate(number, position)
        if frames.offsets[-1] < position - start and frames.end < position - start:
            return self._interpolate(number, position)
        return pts + round(bisect_left(frames.offsets, position - start) * frames.duration)

    def _frames_from(self, number: int) -> AudioFrames | None:
        """Return the frames from a timestamp up to the next one, found once."""
        start = self._stamped_starts[number]
        later = self._stamped_starts[number + 1] if number + 1 < len(self._stamped_starts) else len(self.data)
        end = min(later + MAX_FRAME, start + _MAX_SPAN, len(self.data))
        if (start, end) not in self._frames:
            if len(self._frames) >= _MAX_FRAMES_KNOWN:
                del self._frames[next(iter(self._frames))]
            frames = find_leading_frames(bytes(self.data[start:end]), self._codec)
            self.cost += 50 if frames is None else len(frames.offsets) // 2
            self._frames[start, end] = frames
        return self._frames[start, end]

    def _interpolate(self, number: int, position: int) -> int:
        """Return the time of a position behind a timestamp, at the rate up to the next timestamp.

        :param number: number of the timestamp.
        """
        pts, start = self._stamp_at(number)
        ticks, size = self._rate(number)
        return pts + round(ticks * (position - start) / size)

    def _rate(self, number: int) -> tuple[int, int]:
        """Return the ticks and the bytes from a timestamp to the next one; for the last one, those before it."""
        number = min(number, max(len(self._stamped) - 2, 0))
        if number + 1 == len(self._stamped):
            return 0, 1
        (pts, start), (later_pts, later) = self._stamp_at(number), self._stamp_at(number + 1)
        return max(ahead(later_pts, pts), 0), max(later - start, 1)

    def _stamp_at(self, number: int) -> tuple[int, int]:
        """Return a timestamp and the position of its unit."""
        return self.timestamps[self._stamped[number]] or 0, self._stamped_starts[number]

    def position_at(self, time: int) -> int | None:
        """Return the position at which the frame of a time begins, or would begin; None without timestamps.

        The timestamps must increase. Without known frames the position is interpolated.
        """
        if not self._stamped:
            return None
        number = max(self._stamps_until(time) - 1, 0)
        pts, start = self._stamp_at(number)
        frames = self._frames_from(number)
        if frames is not None:
            frame = max(round(ahead(time, pts) / frames.duration), 0)
            known = (*frames.offsets, frames.end)
            if frame < len(known):
                return start + known[frame]
        ticks, size = self._rate(number)
        return min(start + round(size * max(ahead(time, pts), 0) / max(ticks, 1)), len(self.data))

    def _stamps_until(self, time: int) -> int:
        """Return the number of timestamps up to a time."""
        return bisect_right(self._stamped, 0, key=lambda unit: ahead(self.timestamps[unit] or 0, time))

    def span_of(self, begin: int, end: int) -> tuple[int, int]:
        """Return the positions between which the frames of two times lie, as far as timestamps show it."""
        low, high = self._stamps_until(begin) - 1, self._stamps_until(end)
        first = max(self._stamped_starts[low] - MAX_FRAME, 0) if low > 0 else 0
        return first, self._stamped_starts[high] if high < len(self._stamped) else len(self.data)

    @property
    def before_first_frame(self) -> int:
        """The number of bytes before the first frame; 0 if the frames are unknown."""
        frames = self._frames_from(0) if self._stamped and self._stamped_starts[0] == 0 else None
        return 0 if frames is None else frames.offsets[0]

    @property
    def missing_at_end(self) -> int:
        """The number of bytes that the last frame still lacks; 0 if the frames are unknown."""
        frames = self._frames_from(len(self._stamped) - 1) if self._stamped else None
        if frames is None or frames.broken:
            return 0
        return max(self._stamped_starts[-1] + frames.end - len(self.data), 0)
