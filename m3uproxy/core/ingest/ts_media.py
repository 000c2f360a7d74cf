"""Media in a transport stream: packets of pictures and sound, and the seconds that they last.

Tables are not needed, so that a source is measured from its first packet on: before its program is known, and while it
waits to be joined. A PID carries media from its first unit (PES packet) of video or audio on. Null packets, tables,
subtitles and packets without payload are not media. Units that cannot be read because they are scrambled count as
media, and so do :data:`UNSTARTED` packets of a PID in a row in which no unit starts: no table is that long.

The duration is that of the presentation timestamps. If there are none, the clock references (PCR) are used.

The meter is passed every byte of every stream, so it samples. After a run that is mostly media, large runs count as
alike for :data:`SAMPLE_INTERVAL` seconds, unless they begin with padding. The last one of them is inspected if it is
followed by nothing, or by no media. There is no loop over packets: strides, tables and big integers answer a question
for a whole run, as in :mod:`m3uproxy.core.mpegts.sampler`. Only unit starts are inspected.
"""

from __future__ import annotations

from ..mpegts.packets import (
    NULL_PID,
    PACKET_SIZE,
    STARTS,
    marked_offsets,
    payload_offset,
    payload_unit_start,
    pid_tables,
    scrambled,
)
from ..mpegts.packets import pid as pid_of
from ..mpegts.pes import START_CODE
from ..mpegts.timestamps import TICKS, WRAP, has_pcr, read_pcr, read_timestamp
from .media_progress import TrackClock

#: Seconds between two samples.
SAMPLE_INTERVAL = 0.5
#: Share of media in a run from which on the next ones count as alike.
_ENOUGH = 0.5
#: Bytes of a large run. Smaller ones are inspected: they may be there to keep the connection open.
_LARGE = 4096
#: Packets of a PID without a unit start after which they are media.
UNSTARTED = 64
#: PIDs below this one carry tables (ISO/IEC 13818-1 table 2-3, ETSI EN 300 468 table 1).
_FIRST_STREAM_PID = 0x20
#: PIDs in one pair of tables: one bit each.
_GROUP = 8
#: PIDs that are counted, at most. More are programs that no player of this stream needs.
_MAX_PIDS = 64
#: Stream id (table 2-22) of private data, in which broadcasters send AC-3 and DTS, but also text.
_PRIVATE = 0xBD
#: Beginnings of private data that are no sound: teletext (ETSI EN 300 472), subtitles (ETSI EN 300 743), ID3, KLV.
_TEXT = (*(bytes([value]) for value in range(0x10, 0x20)), b"\x20\x00", b"ID3", b"\x06\x0e\x2b\x34")

# Tables from the fourth header byte: all bits if the packet has a payload; 1 if it has an adaptation field.
_WITH_PAYLOAD = bytes(0xFF if byte & 0x10 else 0 for byte in range(256))
_ADAPTED = bytes(byte >> 5 & 1 for byte in range(256))


class TsMediaMeter:
    """
    The meter of one body, a :class:`m3uproxy.core.ingest.media_progress.MediaProgress`.

    :ivar size: bytes of media; between two samples an estimate.
    """

    __slots__ = (
        "_clock",
        "_due",
        "_has_timestamps",
        "_masks",
        "_pids",
        "_position",
        "_share",
        "_unsampled",
        "_unstarted",
        "size",
    )

    def __init__(self) -> None:
        self._clock = TrackClock(TICKS, WRAP)
        self._has_timestamps = False
        self._pids: dict[int, None] = {}
        self._masks: list[tuple[bytes, bytes]] = []
        self._due = 0.0
        self._position = 0
        self._share = 0.0
        # The last run that counted as the one before, and its arrival.
        self._unsampled: tuple[bytes, float] | None = None
        self._unstarted: dict[int, int] = {}
        self.size = 0

    @property
    def recognised(self) -> bool:
        """True after the first whole packet."""
        return self._position > 0

    @property
    def seconds(self) -> float:
        """Duration of the media so far."""
        if self._unsampled is not None:
            packets, now = self._unsampled
            self._sample(packets, now)
            self._unsampled = None
        return self._clock.seconds

    def add(self, packets: bytes, now: float) -> None:
        """
        Take the next whole packets of the body.

        :param now: monotonic seconds.
        """
        size = len(packets)
        if not size:
            return
        self._position += size
        if now < self._due and size >= _LARGE and packets[1] & 0x1F != NULL_PID >> 8:
            self._unsampled = packets, now
            self.size += int(size * self._share)
            return
        count = self._sample(packets, now)
        self.size += count * PACKET_SIZE
        if count:
            self._unsampled = None
        self._share = count * PACKET_SIZE / size
        self._due = now + SAMPLE_INTERVAL if self._share >= _ENOUGH else now

    def _sample(self, packets: bytes, now: float) -> int:
        """Read the timestamps in a run. Return its number of packets of media."""
        highs = packets[1::PACKET_SIZE]
        track = self._clock.track(now)
        for at in marked_offsets(highs.translate(STARTS), 1):
            pid = (packets[at + 1] & 0x1F) << 8 | packets[at + 2]
            is_media = pid in self._pids or (pid >= _FIRST_STREAM_PID and self._is_media(packets, at, pid))
            if is_media and (pid == track or track is None):
                self._read_timestamp(packets, at, pid, now)
                track = self._clock.track(now)
        count = self._count(packets, highs)
        if not count and highs.count(NULL_PID >> 8) < len(highs) and self._find_unstarted(packets):
            count = self._count(packets, highs)
        if count and not self._has_timestamps:
            self._read_clock(packets, now)
        return count

    def _is_media(self, packets: bytes, at: int, pid: int) -> bool:
        """Return whether the unit that starts at ``at`` is of video or audio. If so, remember its PID."""
        if pid == NULL_PID or len(self._pids) >= _MAX_PIDS:
            return False
        if not scrambled(packets, at) and not _starts_media(packets, at):
            return False
        self._add_pid(pid)
        return True

    def _find_unstarted(self, packets: bytes) -> bool:
        """Return whether a PID has brought so many packets without a unit start that they are media."""
        unstarted = self._unstarted
        for at in range(0, len(packets), PACKET_SIZE):
            pid = pid_of(packets, at)
            if pid < _FIRST_STREAM_PID or pid == NULL_PID or payload_offset(packets, at) == at + PACKET_SIZE:
                continue
            unstarted[pid] = 0 if payload_unit_start(packets, at) else unstarted.get(pid, 0) + 1
            if unstarted[pid] >= UNSTARTED:
                unstarted.clear()
                self._add_pid(pid)
                return True
        return False

    def _add_pid(self, pid: int) -> None:
        self._pids[pid] = None
        pids = list(self._pids)
        groups = [pids[first : first + _GROUP] for first in range(0, len(pids), _GROUP)]
        self._masks = [pid_tables(group) for group in groups]

    def _read_timestamp(self, packets: bytes, at: int, pid: int, now: float) -> None:
        begin = payload_offset(packets, at)
        if begin + 14 > at + PACKET_SIZE or not packets[begin + 7] & 0x80 or scrambled(packets, at):
            return
        if packets.startswith(START_CODE, begin):
            self._has_timestamps = True
            self._clock.add(pid, read_timestamp(packets, begin + 9), self._position, now)

    def _read_clock(self, packets: bytes, now: float) -> None:
        for at in marked_offsets(packets[3::PACKET_SIZE].translate(_ADAPTED), 1):
            if has_pcr(packets, at):
                self._clock.add(pid_of(packets, at), read_pcr(packets, at), self._position, now)

    def _count(self, packets: bytes, highs: bytes) -> int:
        """Return the number of packets with a payload on a PID of media."""
        if not self._masks:
            return 0
        size = len(highs)
        lows = packets[2::PACKET_SIZE]
        with_payload = int.from_bytes(packets[3::PACKET_SIZE].translate(_WITH_PAYLOAD), "big")
        count = 0
        for high, low in self._masks:
            found = int.from_bytes(highs.translate(high), "big") & int.from_bytes(lows.translate(low), "big")
            count += size - (found & with_payload).to_bytes(size, "big").count(0)
        return count


def _starts_media(packets: bytes, at: int) -> bool:
    """Return whether the packet at ``at`` begins a PES packet of video or audio (table 2-22)."""
    begin = payload_offset(packets, at)
    if not packets.startswith(START_CODE, begin) or begin + 9 > at + PACKET_SIZE:
        return False
    stream_id = packets[begin + 3]
    if stream_id == _PRIVATE:
        return not packets.startswith(_TEXT, begin + 9 + packets[begin + 8])
    return 0xC0 <= stream_id <= 0xEF or stream_id in (0xFA, 0xFD)


def without_null_packets(packets: bytes) -> bytes:
    """Return whole packets except for padding."""
    whole = range(0, len(packets), PACKET_SIZE)
    return b"".join([packets[at : at + PACKET_SIZE] for at in whole if pid_of(packets, at) != NULL_PID])
