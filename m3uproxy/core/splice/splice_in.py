"""The first packets of a new source: which of them still go to players that have seen the old one.

Each track begins at a place of its own and not in the middle of a unit; what comes before is dropped. Leading
pictures (shown before the one that is begun with, but made from pictures before it) are dropped too, as they come:
the first picture does not wait for them. The clock that their packets carry is kept. Sound can begin in the middle of
a unit, which is then made anew: from the first frame that is still to come, with its own stamp; or, where the rest of
a unit is known by its bytes, without one.

Counters are set so that they run up to those that the source itself has behind the opening; from there on the
difference to what players know is a constant for each track.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from m3uproxy.core.mpegts.audio_frames import find_frames
from m3uproxy.core.mpegts.packets import PACKET_SIZE, SYNC_BYTE
from m3uproxy.core.mpegts.packets import pid as pid_of
from m3uproxy.core.mpegts.pes import START_CODE, PesIndex, packets_of, payload_of
from m3uproxy.core.mpegts.timestamps import TICKS, WRAP, ahead, has_pcr, write_timestamp
from m3uproxy.core.splice.packet_rewriter import clock_packet

#: Sound that begins so much before the end of the sound that was sent is taken for its continuation, ticks.
_TOLERANCE = TICKS // 1000
_CRA, _BLA = b"\0\0\1\x2a", 0x20


@attrs.frozen
class TrackStart:
    """Where a track begins: at the unit of a number, or at a time, or else at its next unit.

    :ivar number: counted on the PID from the source's first.
    :ivar skip: bytes of that unit that were sent already.
    :ivar pts: not before that, on the source's own timeline.
    :ivar codec: to find frames by, if it may begin in the middle of a unit.
    :ivar drop_leading: leave out pictures that are to be shown before the first.
    :ivar break_link: say in the first picture (HEVC) that it does not belong to what came before.
    """

    number: int | None = None
    skip: int = 0
    pts: int | None = None
    codec: str = ""
    drop_leading: bool = False
    break_link: bool = False


@attrs.frozen
class _FirstUnit:
    """The unit to begin with, in a run of packets; ``pes`` if it is made anew."""

    number: int
    rebuilt: bytes | None = None


class SpliceIn:
    """Lets the tracks of a source begin.

    :param starts: for each PID of the source that goes on; the first one is the main track, and packets that
        belong to no track are dropped until it has begun.
    :param clock: PID of the source's clock.
    :param units_passed: how many units of each track have gone by already.
    :param track_started: is told PID and counter of each track's first packet.
    :param packets_skipped: is told PID and number of the packets that are left out of a track which has begun.
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
        self.dropped = 0

    @property
    def is_complete(self) -> bool:
        """All tracks have begun, and no leading picture may follow."""
        return not self._pending and self._first_shown is None

    def start_all(self) -> None:
        """Tracks that have not begun begin with their next unit."""
        self._pending = {pid: TrackStart() for pid in self._pending}
        self._first_shown = None

    def filter(self, packets: bytes) -> bytes:
        """Take complete units; those that go on, tables and padding with them."""
        pes = PesIndex(packets)
        edits: dict[int, bytes] = {}
        main_start = 0
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
        out = b"".join([edits.get(at, packets[at : at + PACKET_SIZE]) for at in range(0, len(packets), PACKET_SIZE)])
        self.dropped += len(packets) - len(out)
        return out

    def _start_track(self, pid: int, pes: PesIndex, edits: dict[int, bytes], main_start: int) -> int:
        """Let a track begin if its first unit is here; where that is, or the end of the packets.

        :param main_start: where the main track begins; a clock value before that is of no use.
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
            self._track_started(pid, 1)  # What is left are clock values, with counter 0: that of the last packet sent.
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
        """What is left of a packet that is dropped."""
        if at < main_start or pid_of(data, at) != self._clock or not has_pcr(data, at):
            return b""
        return clock_packet(self._clock, counter, bytes(data[at + 6 : at + 12]))

    def _renumber(self, pid: int, kept: list[tuple[int, bytes]], last: int, edits: dict[int, bytes]) -> None:
        """Number the packets so that the last one has the counter that it had."""
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
                first = _first_unit_due(pes, pid, number, start.pts, start.codec)
                if first is not None:
                    return first
        return None

    def _leading_packets(self, pid: int, number: int, pes: PesIndex, offsets: list[int]) -> set[int]:
        """Packets of the pictures, from that unit on, that are shown before the first one, until one is not."""
        drop: set[int] = set()
        while self._first_shown is not None and number < pes.count(pid):
            header = pes.header(pid, number)
            if header is None or header.pts is None or ahead(header.pts, self._first_shown) >= 0:
                self._first_shown = None
                break
            start, end = pes.starts[pid][number], pes.end(pid, number)
            drop.update(at for at in offsets if start <= at < end)
            number += 1
        return drop

    def _drop_leading(self, pid: int, pes: PesIndex, edits: dict[int, bytes]) -> None:
        """Leave out leading pictures that come after the packets in which the track began."""
        drop = sorted(self._leading_packets(pid, 0, pes, packets_of(pes.data, pid, 0, len(pes.data))))
        if not drop:
            return
        data = pes.data
        self._packets_skipped(pid, sum(data[at + 3] >> 4 & 1 for at in drop))
        for at in drop:
            # What is left are clock values; with what was left out they count as the packet before it did.
            edits[at] = self._clock_only(data, at, 0, data[drop[-1] + 3] & 0x0F)


def first_clock(packets: bytes, clock: int) -> int | None:
    """Offset of the first packet with a value of the source's clock."""
    return next((at for at in packets_of(packets, clock, 0, len(packets)) if has_pcr(packets, at)), None)


def _with_broken_link(kept: list[tuple[int, bytes]], begin: int, end: int) -> list[tuple[int, bytes]]:
    """Turn slices of a clean random access picture into those of a broken link access picture.

    ITU-T H.265, 7.4.2.2: CRA (21) and BLA_W_LP (16) have the same syntax. A decoder that is running counts a CRA
    picture's place in the order of output on from the pictures before it, which are another source's here; a BLA
    picture begins a count of its own. It is made for splices.
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


def _first_unit_due(pes: PesIndex, pid: int, number: int, due: int, codec: str) -> _FirstUnit | None:
    """Whether a unit, or a frame in it, is not to be heard before ``due``."""
    header = pes.header(pid, number)
    if header is None or header.pts is None:
        return None
    content = pes.content(pid, number)
    frames = find_frames(content, codec) if codec else None
    if frames is None:
        return _FirstUnit(number) if ahead(header.pts, due) >= -_TOLERANCE else None
    for frame, at in enumerate(frames.offsets):
        pts = round(header.pts + frame * frames.duration) % WRAP
        if ahead(pts, due) >= -_TOLERANCE:
            return _FirstUnit(number, _rebuild_pes(pes, pid, number, content[at:], pts) if at else None)
    return None


def _rebuild_pes(pes: PesIndex, pid: int, number: int, content: bytes, pts: int | None) -> bytes:
    """A PES packet with other content, stamped anew or not at all."""
    old = pes.header(pid, number)
    stamp = bytearray(b"\x20\0\0\0\0" if pts is not None else b"")
    if pts is not None:
        write_timestamp(stamp, 0, pts)
    size = 3 + len(stamp) + len(content)
    length = size if size <= 0xFFFF else 0
    head = START_CODE + bytes([0xC0 if old is None else old.stream_id]) + length.to_bytes(2, "big")
    return head + bytes([0x80, 0x80 if pts is not None else 0, len(stamp)]) + bytes(stamp) + content


def _packetize(pid: int, pes_packet: bytes) -> list[bytes]:
    """A PES packet as packets; an adaptation field of stuffing fills up the last one (2.4.3.5)."""
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
