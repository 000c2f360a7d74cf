"""The overlap of audio: the position at which playback continues if a new source repeats audio already sent.

See :mod:`~m3uproxy.core.splice.video_overlap` for pictures. Multiplexers pack audio units in many ways, so the bytes of
the elementary stream are compared. Either the new source begins with bytes that were sent, or it begins before the
known past and contains the last bytes sent. From that position on all bytes must be equal.

A unit may begin within a frame. The sent audio may end within a frame too; then only the rest of that frame can follow.
"""

from __future__ import annotations

import attrs

from ..mpegts.audio_frames import find_frames
from ..mpegts.pes import PesIndex
from ..mpegts.timestamps import TICKS, WRAP, ahead
from .video_overlap import KEY, REACH, OverlapMatch, OverlapSearch

#: Bytes within which the next audio frame begins, for all known codecs.
_FRAME_BYTES = 1 << 13
#: Largest distance of audio from the time that the pictures predict, ticks.
_TOLERANCE = TICKS // 50


@attrs.frozen
class _AudioTrack:
    """The elementary stream of a track.

    :ivar data: its bytes.
    :ivar starts: positions in ``data`` at which units begin.
    :ivar timestamps: PTS of each unit; None if unknown.
    """

    data: bytes
    starts: tuple[int, ...]
    timestamps: tuple[int | None, ...]

    @classmethod
    def read(cls, pes: PesIndex, pid: int) -> _AudioTrack:
        starts, timestamps, pieces, size = [], [], [], 0
        for number in range(pes.count(pid)):
            header = pes.header(pid, number)
            starts.append(size)
            timestamps.append(None if header is None else header.pts)
            pieces.append(pes.content(pid, number))
            size += len(pieces[-1])
        return cls(b"".join(pieces), tuple(starts), tuple(timestamps))

    def unit_at(self, position: int) -> int:
        """Return the number of the unit that contains a byte."""
        return max(n for n, start in enumerate(self.starts) if start <= position)

    def time_at(self, position: int, codec: str) -> int | None:
        """Return the presentation time of the frame that begins at a byte; ticks, not wrapped."""
        unit = self.unit_at(min(position, len(self.data)))
        while unit and self.timestamps[unit] is None:
            unit -= 1
        pts, start = self.timestamps[unit], self.starts[unit]
        if pts is None or position == start:
            return pts
        # The timestamp belongs to the first frame that begins in the unit, which may be behind its first byte.
        frames = find_frames(self.data[start : position + _FRAME_BYTES], codec)
        if frames is not None:
            return pts + round(sum(at < position - start for at in frames.offsets) * frames.duration)
        return self._interpolate(unit, position)

    def _interpolate(self, unit: int, position: int) -> int | None:
        pts = self.timestamps[unit]
        later = self.timestamps[unit + 1] if unit + 1 < len(self.timestamps) else None
        if pts is None or later is None:
            return pts
        part = (position - self.starts[unit]) / (self.starts[unit + 1] - self.starts[unit])
        return pts + round(ahead(later, pts) * part)


class AudioOverlap:
    """A search for the overlap of one audio track."""

    def __init__(self, sent: PesIndex, sent_pid: int, new: PesIndex, new_pid: int, codec: str) -> None:
        self._sent = _AudioTrack.read(sent, sent_pid)
        self._new_pes, self._new_pid = new, new_pid
        self._codec = codec

    def search(self, offset: int | None) -> OverlapMatch | OverlapSearch:
        """Search again after more of the new source has arrived.

        :param offset: ticks from the new source's timestamps to those sent, if the pictures have shown it.
        """
        sent = self._sent
        if not sent.starts:
            return OverlapSearch.NONE
        new = _AudioTrack.read(self._new_pes, self._new_pid)
        if len(new.data) < KEY:
            return OverlapSearch.WAITING
        for position in _candidate_positions(sent, new, self._codec, offset):
            rest = len(sent.data) - position
            if sent.data.startswith(new.data[:rest], position):
                return (
                    OverlapSearch.WAITING
                    if rest > len(new.data)
                    else _match_after(sent, new, position, self._codec, offset)
                )
        return self._search_end(new, offset)

    def _search_end(self, new: _AudioTrack, offset: int | None) -> OverlapMatch | OverlapSearch:
        """Search the end of the sent audio in the new track, which may begin before the known past."""
        sent, codec, shift = self._sent, self._codec, offset or 0
        due = sent.time_at(len(sent.data), codec)
        start, first = sent.timestamps[0], new.timestamps[0]
        if due is None or start is None or first is None or not 0 < ahead(start, first + shift) < REACH:
            return OverlapSearch.NONE
        ends = [position + KEY for position in _find_all(new.data, sent.data[-KEY:])]
        for end in _nearest_positions(ends, new, codec, due - shift, True):
            if new.data.endswith(sent.data[-end:], 0, end):
                return _match_after(sent, new, len(sent.data) - end, codec, offset)
        last = next((stamp for stamp in reversed(new.timestamps) if stamp is not None), first)
        return OverlapSearch.NONE if ahead(last + shift, due) > _TOLERANCE else OverlapSearch.WAITING


def _candidate_positions(sent: _AudioTrack, new: _AudioTrack, codec: str, offset: int | None) -> list[int]:
    """Return the positions in the sent track at which the new track may begin, the likeliest first."""
    positions, first = _find_all(sent.data, new.data[:KEY]), new.timestamps[0]
    return (
        positions
        if first is None
        else _nearest_positions(positions, sent, codec, first + (offset or 0), offset is not None)
    )


def _find_all(data: bytes, key: bytes) -> list[int]:
    positions: list[int] = []
    position = data.find(key)
    while position >= 0:
        positions.append(position)
        position = data.find(key, position + 1)
    return positions


def _nearest_positions(positions: list[int], track: _AudioTrack, codec: str, due: int, required: bool) -> list[int]:
    """Return the positions whose time is close to ``due``, the nearest first. A single position is returned as it is.

    :param required: True if ``due`` is certain. If False and no position is close, return all positions.
    """
    if len(positions) < 2:
        return positions
    times = [track.time_at(position, codec) for position in positions]
    nearby = [
        (abs(ahead(time, due)), position)
        for time, position in zip(times, positions, strict=True)
        if time is not None and abs(ahead(time, due)) <= _TOLERANCE
    ]
    return [position for _, position in sorted(nearby)] if nearby or required else positions


def _match_after(sent: _AudioTrack, new: _AudioTrack, position: int, codec: str, offset: int | None) -> OverlapMatch:
    """Return the match that continues behind the end of the sent track.

    :param position: position in the sent track at which the new one begins; negative if before it.
    """
    rest = len(sent.data) - position
    unit = new.unit_at(rest)
    if rest == len(new.data):
        unit, skip = len(new.starts), 0
    else:
        skip = rest - new.starts[unit]
    if offset is None:
        at = max(position, 0)
        start, first = sent.time_at(at, codec), new.time_at(at - position, codec)
        offset = 0 if start is None or first is None else (start - first) % WRAP
    return OverlapMatch(unit, skip, offset, unit)
