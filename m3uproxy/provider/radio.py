"""What is no transport stream: radio as frames of AAC or MP3, and FLV; each a clip that is played for ever.

Radio begins wherever it is when somebody tunes in, hardly ever at a frame, as with servers that do not look into what
they send. FLV begins as its servers have it: a header and what decoders must know, then the tag that is due.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import attrs

#: Endings of a channel's path, and the Content-Type of each.
CONTENT_TYPES = {"ts": "video/mp2t", "aac": "audio/aac", "mp3": "audio/mpeg", "flv": "video/x-flv"}
#: Seconds that the clips of radio last.
_SECONDS = {"aac": 8.0, "mp3": 6.0}
#: Milliseconds: length of the clip of FLV, and its time when the provider started, which is not 0 for long anywhere.
_FLV_PERIOD, _FLV_ORIGIN = 8000, 3_600_000
_HEADER, _TAG, _LENGTH = 9, 11, 4


class Broadcast(Protocol):
    """One endless sequence of bytes that everybody who tunes in sees the same part of; places in it may be negative."""

    def due_at(self, seconds: float) -> int:
        """Bytes due by this moment."""

    def span(self, first: int, last: int) -> bytes:
        """The bytes from place ``first`` up to ``last``."""

    def prologue(self) -> bytes:
        """What every body begins with."""


@attrs.frozen
class Radio:
    """A clip of frames of one bit rate, more or less."""

    data: bytes = attrs.field(repr=False)
    seconds: float

    def due_at(self, seconds: float) -> int:
        """See :class:`Broadcast`."""
        return int(seconds / self.seconds * len(self.data))

    def span(self, first: int, last: int) -> bytes:
        """See :class:`Broadcast`."""
        size = len(self.data)
        begin = first % size
        return (self.data * ((begin + last - first) // size + 1))[begin : begin + last - first]

    def prologue(self) -> bytes:
        """Nothing: there is no header."""
        return b""


@attrs.frozen
class Flv:
    """A clip of tags, whose times go on from loop to loop.

    :ivar opening: header, metadata and configuration.
    :ivar tags: all others, each with the length behind it.
    :ivar ends: where each ends in a loop.
    :ivar times: when each is due, milliseconds.
    """

    opening: bytes = attrs.field(repr=False)
    tags: tuple[bytes, ...] = attrs.field(repr=False)
    ends: tuple[int, ...] = attrs.field(repr=False)
    times: tuple[int, ...] = attrs.field(repr=False)

    def due_at(self, seconds: float) -> int:
        """See :class:`Broadcast`. It is the end of a tag."""
        loop, rest = divmod(seconds * 1000, _FLV_PERIOD)
        due = bisect_right(self.times, rest)
        return int(loop) * self.ends[-1] + (self.ends[due - 1] if due else 0)

    def span(self, first: int, last: int) -> bytes:
        """See :class:`Broadcast`."""
        pieces = []
        while first < last:
            loop, place = divmod(first, self.ends[-1])
            number = bisect_right(self.ends, place)
            begin = self.ends[number - 1] if number else 0
            tag = _at(self.tags[number], _FLV_ORIGIN + self.times[number] + loop * _FLV_PERIOD)[place - begin :]
            pieces.append(tag[: last - first])
            first += len(pieces[-1])
        return b"".join(pieces)

    def prologue(self) -> bytes:
        """See :class:`Broadcast`."""
        return self.opening


def _at(tag: bytes, time: int) -> bytes:
    """A tag at another time: 24 bits, and 8 more behind them."""
    return tag[:4] + (time & 0xFFFFFF).to_bytes(3, "big") + bytes([time >> 24 & 0xFF]) + tag[8:]


def parse_flv(data: bytes) -> Flv:
    """Tell the tags of a file that only opens a stream from those that are played.

    Sound begins, and ends, a little later than pictures: what is beyond the end belongs to the beginning of a loop.
    """
    opening = data[: _HEADER + _LENGTH]
    tags: list[tuple[int, bytes]] = []
    at = len(opening)
    while at < len(data):
        end = at + _TAG + int.from_bytes(data[at + 1 : at + 4], "big") + _LENGTH
        tag, at = data[at:end], end
        if tag[0] == 18 or tag[12] == 0:
            opening += tag
        elif tag[0] == 8 or tag[12] == 1:  # not the end of the sequence
            tags.append((int.from_bytes(tag[4:7], "big") % _FLV_PERIOD, tag))
    tags.sort(key=lambda each: each[0])
    return Flv(
        opening,
        tags=tuple(tag for _, tag in tags),
        ends=tuple(accumulate(len(tag) for _, tag in tags)),
        times=tuple(time for time, _ in tags),
    )


@cache
def load_radio(ending: str) -> Broadcast:
    """A clip that comes with the package (``tools/make_radio.py`` makes it)."""
    data = Path(__file__).with_name(f"radio.{ending}").read_bytes()
    return parse_flv(data) if ending == "flv" else Radio(data, _SECONDS[ending])
