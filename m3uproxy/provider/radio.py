"""Broadcasts other than transport streams: radio as frames of AAC or MP3, and FLV. Each clip plays in a loop.

Radio starts at any byte, rarely at a frame, like servers that do not parse their content. FLV starts with its header
and the decoder configuration, followed by the tag that is due.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import attrs

#: Content-Type of each ending of a channel's path.
CONTENT_TYPES = {"ts": "video/mp2t", "aac": "audio/aac", "mp3": "audio/mpeg", "flv": "video/x-flv"}
#: Length of the radio clips in seconds.
_SECONDS = {"aac": 8.0, "mp3": 6.0}
#: Milliseconds: length of the FLV clip, and its timestamp at the start of the provider. Real servers rarely start at 0.
_FLV_PERIOD, _FLV_ORIGIN = 8000, 3_600_000
_HEADER, _TAG, _LENGTH = 9, 11, 4


class Broadcast(Protocol):
    """An endless sequence of bytes, the same for all viewers. Places in it may be negative."""

    def due_at(self, seconds: float) -> int:
        """Return the number of bytes due by this time."""

    def span(self, first: int, last: int) -> bytes:
        """Return the bytes from place ``first`` up to ``last``."""

    def prologue(self) -> bytes:
        """Return the bytes at the start of each body."""


@attrs.frozen
class Radio:
    """A clip of audio frames with a nearly constant bit rate.

    :ivar seconds: length.
    """

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
        """Return no bytes: radio has no header."""
        return b""


@attrs.frozen
class Flv:
    """A clip of tags. Their timestamps continue from loop to loop.

    :ivar opening: header, metadata and decoder configuration.
    :ivar tags: all other tags, each with its trailing length.
    :ivar ends: end of each tag in a loop, bytes.
    :ivar times: due time of each tag, milliseconds.
    """

    opening: bytes = attrs.field(repr=False)
    tags: tuple[bytes, ...] = attrs.field(repr=False)
    ends: tuple[int, ...] = attrs.field(repr=False)
    times: tuple[int, ...] = attrs.field(repr=False)

    def due_at(self, seconds: float) -> int:
        """See :class:`Broadcast`. The result is the end of a tag."""
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
    """Return a tag with another timestamp: the lower 24 bits, then the upper 8 bits."""
    return tag[:4] + (time & 0xFFFFFF).to_bytes(3, "big") + bytes([time >> 24 & 0xFF]) + tag[8:]


def parse_flv(data: bytes) -> Flv:
    """Separate the tags that open a stream from the tags that play.

    Audio starts and ends a little later than video. Tags beyond the end move to the beginning of the loop.
    """
    opening = data[: _HEADER + _LENGTH]
    tags: list[tuple[int, bytes]] = []
    at = len(opening)
    while at < len(data):
        end = at + _TAG + int.from_bytes(data[at + 1 : at + 4], "big") + _LENGTH
        tag, at = data[at:end], end
        if tag[0] == 18 or tag[12] == 0:
            opening += tag
        elif tag[0] == 8 or tag[12] == 1:  # without the end of sequence
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
    """Load a clip of the package. ``tools/make_radio.py`` generates it."""
    data = Path(__file__).with_name(f"radio.{ending}").read_bytes()
    return parse_flv(data) if ending == "flv" else Radio(data, _SECONDS[ending])
