"""The end of a body without a promised length: the end of a programme, or of a connection to a live stream.

Catch-up and recordings are programmes: they end, and a provider that is asked again sends them from the beginning.
Many providers state neither a length nor that the body is no live stream. So a body that ends cleanly is requested
again, as a live stream is, and the first bytes of both bodies are compared. A live stream never begins twice with the
same :data:`COMPARED_BYTES`. If the bytes are equal, the programme has ended.

The comparison begins at the first program table (PAT) of a transport stream, because a server may put padding before
it, and at the first byte of any other format. Bytes without media prove nothing: a live source may begin with the same
tables and padding each time.
"""

from __future__ import annotations

from enum import Enum

from .ingest.detect import FormatDetector
from .ingest.parser import Format
from .mpegts.packets import PACKET_SIZE, SYNC_BYTE, scrambled, transport_error, unit_starts
from .mpegts.packets import pid as pid_of
from .mpegts.pes import START_CODE, payload_of, read_pes_header
from .mpegts.timestamps import TICKS, ahead

#: Bytes at the beginning of two bodies that are compared.
COMPARED_BYTES = 65_536
#: Seconds of media below which a programme may be a clip that a provider sends in place of a channel.
SHORT_PROGRAMME = 60.0
#: Seconds of delivery, and of media, from which on a replay from the beginning is not joined to what was sent.
LONG_DELIVERY = 2.0
LONG_MEDIA = 15.0

#: Bytes before the first PAT that are kept. A body without a PAT up to there is compared with no other.
_MAX_BEFORE_PAT = 131_072
#: The first bytes of a packet in which a PAT starts (ISO/IEC 13818-1, 2.4.3.2).
_PAT_HEADER = b"\x47\x40\x00"
#: The longest step in seconds from one random access point to the next; a longer one is a jump of the clock.
_LONGEST_STEP = 15.0


class BodyNature(Enum):
    """The nature of a body, as far as its head and its URL tell."""

    LIVE = "live, or a programme of unknown length"
    PROGRAMME = "a programme"
    JOINED = "joined from HLS segments"


class Similarity(Enum):
    """The result of comparing the beginnings of two bodies."""

    OPEN = "open"
    SAME = "same"
    OTHER = "other"


class BodyStart:
    """
    The first bytes of a body, from its first PAT on, or from its first byte if it is no transport stream.

    :ivar is_unknown: True if no beginning was found where it should be.
    """

    def __init__(self) -> None:
        self._detector = FormatDetector()
        self._format: Format | None = None
        self._head = bytearray()
        self._found = False
        self._searched = 0
        self.is_unknown = False

    @property
    def is_complete(self) -> bool:
        """True if there are :data:`COMPARED_BYTES`."""
        return self._found and len(self._head) == COMPARED_BYTES

    @property
    def data(self) -> bytes:
        """The bytes so far, at most :data:`COMPARED_BYTES`."""
        return bytes(self._head) if self._found else b""

    @property
    def has_media(self) -> bool:
        """True if there are pictures or sound among the bytes, or packets that may hold some."""
        if self._format is not Format.TS:
            return True
        packets = self.data[: len(self.data) // PACKET_SIZE * PACKET_SIZE]
        return any(scrambled(packets, at) or payload_of(packets, at)[:3] == START_CODE for at in unit_starts(packets))

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if self.is_complete or self.is_unknown:
            return
        self._head += data
        if self._format is None:
            self._format = self._detector.feed(data)
        if not self._found:
            self._find()
        if self._found:
            del self._head[COMPARED_BYTES:]

    def _find(self) -> None:
        """Find the beginning, and drop the bytes before it."""
        at = self._first_table() if self._format is Format.TS else None if self._format is None else 0
        if at is not None:
            del self._head[:at]
            self._found = True
        elif len(self._head) >= _MAX_BEFORE_PAT:
            self._head.clear()
            self.is_unknown = True

    def _first_table(self) -> int | None:
        """Return the offset of the first PAT; None if it has not come."""
        at = self._head.find(_PAT_HEADER, self._searched)
        while 0 <= at < len(self._head) - PACKET_SIZE:
            if self._head[at + PACKET_SIZE] == SYNC_BYTE:
                return at
            at = self._head.find(_PAT_HEADER, at + 1)
        self._searched = at if at >= 0 else max(0, len(self._head) - len(_PAT_HEADER) + 1)
        return None


def compare(before: BodyStart, now: BodyStart, ended: bool = False) -> Similarity:
    """
    Compare the beginning of a body with that of the body before.

    :param ended: whether the body has ended, so that no bytes follow.
    :return: ``OPEN`` if a body that has ended brought only a part of the first one.
    """
    first, second = before.data, now.data
    if not first or now.is_unknown or not first.startswith(second[: len(first)]):
        return Similarity.OTHER
    if len(second) > len(first):
        return Similarity.OTHER
    if len(second) == len(first) and (before.is_complete or ended):
        return Similarity.SAME if before.has_media else Similarity.OTHER
    return Similarity.OPEN


class MediaClock:
    """The seconds of media in a body, by the timestamps at its random access points."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: tuple[int, int] | None = None

    def access_point(self, packets: bytes) -> float:
        """
        Take packets that begin with a random access point.

        :return: seconds since the one before.
        """
        pid, dts = pid_of(packets, 0), _timestamp(packets, 0)
        if dts is None:
            return 0.0
        last, self._last = self._last, (pid, dts)
        step = _step(last, pid, dts)
        self.seconds += step
        return step

    def seconds_until(self, packets: bytes) -> float:
        """Return the seconds up to the last unit in ``packets``, which are the last packets of the body."""
        if self._last is None:
            return self.seconds
        pid = self._last[0]
        times = (_timestamp(packets, at) for at in unit_starts(packets) if pid_of(packets, at) == pid)
        steps = [_step(self._last, pid, dts) for dts in times if dts is not None]
        return self.seconds + max(steps, default=0.0)


def _timestamp(packets: bytes, at: int) -> int | None:
    """Return the DTS of the unit that starts in a packet; None if there is none."""
    if scrambled(packets, at) or transport_error(packets, at):
        return None
    header = read_pes_header(payload_of(packets, at))
    return None if header is None else header.dts


def _step(last: tuple[int, int] | None, pid: int, dts: int) -> float:
    """Return the seconds since a timestamp of the same track; 0 for a jump."""
    if last is None or last[0] != pid:
        return 0.0
    seconds = ahead(dts, last[1]) / TICKS
    return seconds if 0 < seconds <= _LONGEST_STEP else 0.0
