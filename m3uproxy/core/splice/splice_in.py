"""The start of a new source: decides which of its first packets go to players that have seen the old source.

Each track begins at a unit of its own; packets before that unit are dropped. Leading pictures are shown before the
first picture but depend on pictures before it. They are dropped too, one by one as they arrive, so the first picture
does not wait for them. Clock values in dropped packets are kept. Audio can begin in the middle of a unit. The unit is
then rebuilt from the first frame still to be sent, with its own timestamp. If the rest of the unit is known by its
bytes, the rebuilt unit has no timestamp.

Counters are set so that they lead up to the source's own counters behind the start. From there on the difference to the
players' counters is a constant for each track.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

import attrs

from ..mpegts.audio_frames import find_frames
from ..mpegts.packets import PACKET_SIZE, SYNC_BYTE
from ..mpegts.packets import pid as pid_of
from ..mpegts.pes import START_CODE, PesIndex, packets_of, payload_of
from ..mpegts.timestamps import TICKS, WRAP, ahead, has_pcr, write_timestamp
from .packet_rewriter import apply_edits, clock_packet

#: Audio that begins at most this much before the end of the sent audio counts as its continuation, ticks.
_TOLERANCE = TICKS // 1000
#: Two units further apart do not follow each other, ticks.
_LONGEST_GAP = 60 * TICKS
#: Units of a run in which frames are searched.
_MAX_SEARCHES = 256
_CRA, _BLA = b"\0\0\1\x2a", 0x20


@attrs.frozen
class TrackStart:
    """The start of a track: a unit number, or a time, or else the next unit of the track.

    :ivar number: number of the unit on the PID, counted from the source's first.
    :ivar skip: bytes of that unit that were sent already.
    :ivar pts: earliest time, on the source's own timeline.
    :ivar codec: codec for finding frames, if the track may begin in the middle of a unit.
    :ivar drop_leading: drop pictures that are shown before the first one.
    :ivar break_link: mark the first picture (HEVC) as independent of the pictures before it.
    """

    number: int | None = None
    skip: int = 0
    pts: int | None = None
    codec: str = ""
    drop_leading: bool = False
    break_link: bool = False

    def unless_passed(self, units: int) -> TrackStart:
        """Return this start, or the next unit if this one is among the first ``units``, which have passed."""
        return TrackStart() if self.number is not None and self.number < units else self


@attrs.frozen
class _FirstUnit:
    """The first unit of a track in a run of packets.

    :ivar number: number of the unit in the run.
    :ivar rebuilt: new PES packet in its place; None to send the unit unchanged.
    """

    number: int
    rebuilt: bytes | None = None


class SpliceIn:
    """A filter that starts the tracks of a source.

    :param starts: start of each track, by PID of the source. The first one is the main track. Packets that belong to no
        track are dropped until it has started.
    :param clock: PID of the source's clock.
    :param units_passed: units of each track before the first packets.
    :param track_started: called with PID and counter of each track's first packet.
    :param packets_skipped: called with PID and number of the packets dropped from a track that has started.
    """

    def __init__(
        self,
        starts: Mapping[int, TrackStart],
        clock: int,
        units_passed: Mapping[int, int],
        track_started: Callable[[int, int], None],
        packets_skipped: Callable[[int, int], None],
    ) -> None:
        self._pending = dict(starts)
        self._tracks = frozenset(starts)
        self._main = next(iter(starts), None)
        self._clock = clock
        self._track_started = track_started
        self._packets_skipped = packets_skipped
        self._first_shown: int | None = None
        self._unit_counts = {pid: units_passed.get(pid, 0) for pid in starts}
        self._searches = _MAX_SEARCHES
        self.dropped = 0

    @property
    def is_complete(self) -> bool:
        """True if all tracks have started and no leading picture can follow."""
        return not self._pending and self._first_shown is None

    def start_all(self) -> None:
        """Start the remaining tracks at their next unit."""
        self._pending = {pid: TrackStart() for pid in self._pending}
        self._first_shown = None

    def filter(self, packets: bytes) -> bytes:
        """Take complete units. Return the packets that pass, with tables and padding."""
        pes = PesIndex(packets)
        edits: dict[int, bytes] = {}
        main_start = 0
        self._searches = _MAX_SEARCHES
        if self._first_shown is not None and self._main is not None:
            self._drop_leading(self._main, pes, edits)
        if self._main in self._pending:
            main_start = self._start_track(self._main, pes, edits, 0)
            for at in range(0, min(main_start, len(packets)), PACKET_SIZE):
                if pid_of(packets, at) not in self._tracks:
                    edits[at] = b""
        for pid in tuple(self._pending):
            if pid != self._main:
                self._start_track(pid, pes, edits, main_start)
        out = apply_edits(packets, sorted(edits.items())) if edits else packets
        self.dropped += len(packets) - len(out)
        return out

    def _start_track(self, pid: int, pes: PesIndex, edits: dict[int, bytes], main_start: int) -> int:
        """Start a track if its first unit is in the run. Return the unit's offset, or the end of the run.

        :param main_start: offset at which the main track starts. Clock values before it are dropped.
        """
        start = self._pending[pid]
        offsets = packets_of(pes.data, pid, 0, len(pes.data))
        first = self._find_first(pid, start, pes, main_start)
        self._unit_counts[pid] += pes.count(pid)
        first_offset = len(pes.data) if first is None else pes.starts[pid][first.number]
        if pid == self._main:
            main_start = first_offset
        if first is None:
            edits.update((at, self._clock_only(pes.data, at, main_start)) for at in offsets)
            # Only clock values remain. Their counter is 0, that of the last packet sent.
            self._track_started(pid, 1)
            return first_offset
        del self._pending[pid]
        drop = {at for at in offsets if at < first_offset}
        header = pes.header(pid, first.number)
        if start.drop_leading and header is not None:
            self._first_shown = header.pts
            drop |= self._leading_packets(pid, first.number + 1, pes, offsets)
        kept: list[tuple[int, bytes]] = []
        rebuilt = b"" if first.rebuilt is None else b"".join(_packetize(pid, first.rebuilt))
        next_offset = pes.end(pid, first.number)
        for at in offsets:
            replacement = rebuilt if at == first_offset else b""
            if at in drop or (rebuilt and first_offset <= at < next_offset):
                kept.append((at, self._clock_only(pes.data, at, main_start) + replacement))
            else:
                kept.append((at, bytes(pes.data[at : at + PACKET_SIZE])))
        if start.break_link:
            kept = _with_broken_link(kept, first_offset, next_offset)
        self._renumber(pid, kept, pes.data[offsets[-1] + 3] & 0x0F, edits)
        return first_offset

    def _clock_only(self, data: bytes | bytearray, at: int, main_start: int, counter: int = 0) -> bytes:
        """Return the clock value of a dropped packet as a packet of its own; ``b""`` without one."""
        if at < main_start or pid_of(data, at) != self._clock or not has_pcr(data, at):
            return b""
        return clock_packet(self._clock, counter, bytes(data[at + 6 : at + 12]))

    def _renumber(self, pid: int, kept: list[tuple[int, bytes]], last: int, edits: dict[int, bytes]) -> None:
        """Set the counters so that the last packet keeps its counter."""
        payloads = sum(each[at + 3] >> 4 & 1 for _, each in kept for at in range(0, len(each), PACKET_SIZE))
        counter = last - payloads
        self._track_started(pid, counter + 1 & 0x0F)
        for at, each in kept:
            packet = bytearray(each)
            for here in range(3, len(packet), PACKET_SIZE):
                counter += packet[here] >> 4 & 1
                packet[here] = packet[here] & 0xF0 | counter & 0x0F
            edits[at] = bytes(packet)

    def _find_first(self, pid: int, start: TrackStart, pes: PesIndex, main_start: int) -> _FirstUnit | None:
        count = pes.count(pid)
        if start.number is not None:
            number = start.number - self._unit_counts[pid]
            if not 0 <= number < count:
                return None
            rest = pes.content(pid, number)[start.skip :]
            return _FirstUnit(number, _rebuild_pes(pes, pid, number, rest, None) if start.skip else None)
        for number in range(count):
            if start.pts is None:
                if pes.starts[pid][number] >= main_start:
                    return _FirstUnit(number)
            else:
                first = self._first_unit_due(pes, pid, number, start.pts, start.codec)
                if first is not None:
                    return first
        return None

    def _first_unit_due(self, pes: PesIndex, pid: int, number: int, due: int, codec: str) -> _FirstUnit | None:
        """Return the unit if it, or a frame in it, is presented at ``due`` or later; else None."""
        header = pes.header(pid, number)
        if header is None or header.pts is None or _ends_before(pes, pid, number, due):
            return None
        frames, content = None, b""
        if codec and self._searches:
            self._searches -= 1
            content = pes.content(pid, number)
            frames = find_frames(content, codec)
        if frames is None:
            return _FirstUnit(number) if ahead(header.pts, due) >= -_TOLERANCE else None
        for frame, at in enumerate(frames.offsets):
            pts = round(header.pts + frame * frames.duration) % WRAP
            if ahead(pts, due) >= -_TOLERANCE:
                return _FirstUnit(number, _rebuild_pes(pes, pid, number, content[at:], pts) if at else None)
        return None

    def _leading_packets(self, pid: int, number: int, pes: PesIndex, offsets: list[int]) -> set[int]:
        """Return the packets of leading pictures from a unit on, up to the first picture that is not leading."""
        drop: set[int] = set()
        while self._first_shown is not None and number < pes.count(pid):
            header = pes.header(pid, number)
            if header is None or header.pts is None or ahead(header.pts, self._first_shown) >= 0:
                self._first_shown = None
                break
            start, end = pes.starts[pid][number], pes.end(pid, number)
            drop.update(offsets[bisect_left(offsets, start) : bisect_left(offsets, end)])
            number += 1
        return drop

    def _drop_leading(self, pid: int, pes: PesIndex, edits: dict[int, bytes]) -> None:
        """Drop leading pictures that arrive after the start of the track."""
        drop = sorted(self._leading_packets(pid, 0, pes, packets_of(pes.data, pid, 0, len(pes.data))))
        if not drop:
            return
        data = pes.data
        self._packets_skipped(pid, sum(data[at + 3] >> 4 & 1 for at in drop))
        for at in drop:
            # Only clock values remain. The rewriter turns their counter into that of the last packet sent.
            edits[at] = self._clock_only(data, at, 0, data[drop[-1] + 3] & 0x0F)


def _ends_before(pes: PesIndex, pid: int, number: int, due: int) -> bool:
    """Return True if the next unit begins before ``due``, so that no frame of this one is due."""
    later = pes.header(pid, number + 1) if number + 1 < pes.count(pid) else None
    return later is not None and later.pts is not None and -_LONGEST_GAP < ahead(later.pts, due) < -_TOLERANCE


def _with_broken_link(kept: list[tuple[int, bytes]], begin: int, end: int) -> list[tuple[int, bytes]]:
    """Turn slices of a clean random access picture into slices of a broken link access picture.

    ITU-T H.265, 7.4.2.2: CRA (21) and BLA_W_LP (16) have the same syntax. A running decoder counts the output order of
    a CRA picture from the pictures before it, which belong to another source here. A BLA picture starts a new count.
    BLA pictures exist for splices.
    """
    unit = [(at, bytearray(packet)) for at, packet in kept if begin <= at < end]
    payload = b"".join([payload_of(packet, 0) for _, packet in unit])
    found = payload.find(_CRA)
    while found >= 0:
        rest = found + len(_CRA) - 1
        for _, packet in unit:
            size = len(payload_of(packet, 0))
            if rest < size:
                packet[PACKET_SIZE - size + rest] = _BLA
                break
            rest -= size
        found = payload.find(_CRA, found + 1)
    changed = {at: bytes(packet) for at, packet in unit}
    return [(at, changed.get(at, packet)) for at, packet in kept]


def _rebuild_pes(pes: PesIndex, pid: int, number: int, content: bytes, pts: int | None) -> bytes:
    """Return a PES packet with other content, with a new timestamp or none."""
    old = pes.header(pid, number)
    stamp = bytearray(b"\x20\0\0\0\0" if pts is not None else b"")
    if pts is not None:
        write_timestamp(stamp, 0, pts)
    size = 3 + len(stamp) + len(content)
    length = size if size <= 0xFFFF else 0
    head = START_CODE + bytes([0xC0 if old is None else old.stream_id]) + length.to_bytes(2, "big")
    return head + bytes([0x80, 0x80 if pts is not None else 0, len(stamp)]) + bytes(stamp) + content


def _packetize(pid: int, pes_packet: bytes) -> list[bytes]:
    """Split a PES packet into packets. An adaptation field of stuffing fills the last one (2.4.3.5)."""
    packets: list[bytes] = []
    room = PACKET_SIZE - 4
    for at in range(0, len(pes_packet), room):
        part = pes_packet[at : at + room]
        field = b""
        if len(part) < room:
            size = room - len(part) - 1
            field = bytes([size]) + (b"\0".ljust(size, b"\xff") if size else b"")
        control = 0x30 if field else 0x10
        packets.append(bytes([SYNC_BYTE, (0 if at else 0x40) | pid >> 8, pid & 0xFF, control]) + field + part)
    return packets
