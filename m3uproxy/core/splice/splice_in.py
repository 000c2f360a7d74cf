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
from m3uproxy.core.mpegts.timestamps import TICKS, WRAP, ahead, has_pcr, write_stamp
from m3uproxy.core.splice.packet_rewriter import clock_packet

#: Sound that begins so much before the end of the sound that was sent is taken for its continuation, ticks.
_SLACK = TICKS // 1000
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
class _First:
    """The unit to begin with, in a run of packets; ``pes`` if it is made anew."""

    place: int
    pes: bytes | None = None


class SpliceIn:
    """Lets the tracks of a source begin.

    :param starts: for each PID of the source that goes on; the first one is the main track, and packets that
        belong to no track are dropped until it has begun.
    :param clock: PID of the source's clock.
    :param passed: how many units of each track have gone by already.
    :param started: is told PID and counter of each track's first packet.
    :param skipped: is told PID and number of the packets that are left out of a track which has begun.
    """

    def __init__(
        self,
        starts: Mapping[int, TrackStart],
        clock: int,
        passed: Mapping[int, int],
        started: Callable[[int, int], None],
        skipped: Callable[[int, int], None],
    ) -> None:
        self._waiting = dict(starts)
        self._tracks = frozenset(starts)
        self._main = next(iter(starts), None)
        self._clock = clock
        self._started = started
        self._skipped = skipped
        self._first_shown: int | None = None
        self._units = {pid: passed.get(pid, 0) for pid in starts}
        self.dropped = 0

    @property
    def done(self) -> bool:
        """All tracks have begun, and no leading picture may follow."""
        return not self._waiting and self._first_shown is None

    def hurry(self) -> None:
        """Tracks that have not begun begin with their next unit."""
        self._waiting = {pid: TrackStart() for pid in self._waiting}
        self._first_shown = None

    def filter(self, packets: bytes) -> bytes:
        """Take complete units; those that go on, tables and padding with them."""
        stretch = PesIndex(packets)
        edits: dict[int, bytes] = {}
        begun = 0
        if self._first_shown is not None and self._main is not None:
            self._skip_leading(self._main, stretch, edits)
        if self._main in self._waiting:
            begun = self._begin(self._main, stretch, edits, 0)
            for at in range(0, min(begun, len(packets)), PACKET_SIZE):
                if pid_of(packets, at) not in self._tracks:
                    edits[at] = b""
        for pid in tuple(self._waiting):
            if pid != self._main:
                self._begin(pid, stretch, edits, begun)
        out = b"".join([edits.get(at, packets[at : at + PACKET_SIZE]) for at in range(0, len(packets), PACKET_SIZE)])
        self.dropped += len(packets) - len(out)
        return out

    def _begin(self, pid: int, stretch: PesIndex, edits: dict[int, bytes], begun: int) -> int:
        """Let a track begin if its first unit is here; where that is, or the end of the packets.

        :param begun: where the main track begins; a clock value before that is of no use.
        """
        start = self._waiting[pid]
        places = packets_of(stretch.data, pid, 0, len(stretch.data))
        first = self._find(pid, start, stretch, begun)
        self._units[pid] += stretch.count(pid)
        place = len(stretch.data) if first is None else stretch.starts[pid][first.place]
        if pid == self._main:
            begun = place
        if first is None:
            edits.update((at, self._instead(stretch.data, at, begun)) for at in places)
            self._started(pid, 1)  # What is left are clock values, with counter 0: that of the last packet sent.
            return place
        del self._waiting[pid]
        drop = {at for at in places if at < place}
        header = stretch.header(pid, first.place)
        if start.drop_leading and header is not None:
            self._first_shown = header.pts
            drop |= self._leading(pid, first.place + 1, stretch, places)
        kept: list[tuple[int, bytes]] = []
        made = b"" if first.pes is None else b"".join(_packed(pid, first.pes))
        after = stretch.end(pid, first.place)
        for at in places:
            anew = made if at == place else b""
            if at in drop or (made and place <= at < after):
                kept.append((at, self._instead(stretch.data, at, begun) + anew))
            else:
                kept.append((at, bytes(stretch.data[at : at + PACKET_SIZE])))
        if start.break_link:
            kept = _with_broken_link(kept, place, after)
        self._count_on(pid, kept, stretch.data[places[-1] + 3] & 0x0F, edits)
        return place

    def _instead(self, data: bytes | bytearray, at: int, begun: int, counter: int = 0) -> bytes:
        """What is left of a packet that is dropped."""
        if at < begun or pid_of(data, at) != self._clock or not has_pcr(data, at):
            return b""
        return clock_packet(self._clock, counter, bytes(data[at + 6 : at + 12]))

    def _count_on(self, pid: int, kept: list[tuple[int, bytes]], last: int, edits: dict[int, bytes]) -> None:
        """Number the packets so that the last one has the counter that it had."""
        payloads = sum(each[at + 3] >> 4 & 1 for _, each in kept for at in range(0, len(each), PACKET_SIZE))
        counter = last - payloads
        self._started(pid, counter + 1 & 0x0F)
        for at, each in kept:
            packet = bytearray(each)
            for here in range(3, len(packet), PACKET_SIZE):
                counter += packet[here] >> 4 & 1
                packet[here] = packet[here] & 0xF0 | counter & 0x0F
            edits[at] = bytes(packet)

    def _find(self, pid: int, start: TrackStart, stretch: PesIndex, begun: int) -> _First | None:
        count = stretch.count(pid)
        if start.number is not None:
            place = start.number - self._units[pid]
            if not 0 <= place < count:
                return None
            rest = stretch.content(pid, place)[start.skip :]
            return _First(place, _remade(stretch, pid, place, rest, None) if start.skip else None)
        for place in range(count):
            if start.pts is None:
                if stretch.starts[pid][place] >= begun:
                    return _First(place)
            else:
                first = _reaches(stretch, pid, place, start.pts, start.codec)
                if first is not None:
                    return first
        return None

    def _leading(self, pid: int, number: int, stretch: PesIndex, places: list[int]) -> set[int]:
        """Packets of the pictures, from that unit on, that are shown before the first one, until one is not."""
        drop: set[int] = set()
        while self._first_shown is not None and number < stretch.count(pid):
            header = stretch.header(pid, number)
            if header is None or header.pts is None or ahead(header.pts, self._first_shown) >= 0:
                self._first_shown = None
                break
            place, after = stretch.starts[pid][number], stretch.end(pid, number)
            drop.update(at for at in places if place <= at < after)
            number += 1
        return drop

    def _skip_leading(self, pid: int, stretch: PesIndex, edits: dict[int, bytes]) -> None:
        """Leave out leading pictures that come after the packets in which the track began."""
        drop = sorted(self._leading(pid, 0, stretch, packets_of(stretch.data, pid, 0, len(stretch.data))))
        if not drop:
            return
        data = stretch.data
        self._skipped(pid, sum(data[at + 3] >> 4 & 1 for at in drop))
        for at in drop:
            # What is left are clock values; with what was left out they count as the packet before it did.
            edits[at] = self._instead(data, at, 0, data[drop[-1] + 3] & 0x0F)


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


def _reaches(stretch: PesIndex, pid: int, place: int, due: int, codec: str) -> _First | None:
    """Whether a unit, or a frame in it, is not to be heard before ``due``."""
    header = stretch.header(pid, place)
    if header is None or header.pts is None:
        return None
    content = stretch.content(pid, place)
    frames = find_frames(content, codec) if codec else None
    if frames is None:
        return _First(place) if ahead(header.pts, due) >= -_SLACK else None
    for number, at in enumerate(frames.offsets):
        pts = round(header.pts + number * frames.duration) % WRAP
        if ahead(pts, due) >= -_SLACK:
            return _First(place, _remade(stretch, pid, place, content[at:], pts) if at else None)
    return None


def _remade(stretch: PesIndex, pid: int, place: int, content: bytes, pts: int | None) -> bytes:
    """A PES packet with other content, stamped anew or not at all."""
    old = stretch.header(pid, place)
    stamp = bytearray(b"\x20\0\0\0\0" if pts is not None else b"")
    if pts is not None:
        write_stamp(stamp, 0, pts)
    size = 3 + len(stamp) + len(content)
    length = size if size <= 0xFFFF else 0
    head = START_CODE + bytes([0xC0 if old is None else old.stream_id]) + length.to_bytes(2, "big")
    return head + bytes([0x80, 0x80 if pts is not None else 0, len(stamp)]) + bytes(stamp) + content


def _packed(pid: int, pes: bytes) -> list[bytes]:
    """A PES packet as packets; an adaptation field of stuffing fills up the last one (2.4.3.5)."""
    packets: list[bytes] = []
    room = PACKET_SIZE - 4
    for at in range(0, len(pes), room):
        part = pes[at : at + room]
        field = b""
        if len(part) < room:
            size = room - len(part) - 1
            field = bytes([size]) + (b"\0".ljust(size, b"\xff") if size else b"")
        control = 0x30 if field else 0x10
        packets.append(bytes([SYNC_BYTE, (0 if at else 0x40) | pid >> 8, pid & 0xFF, control]) + field + part)
    return packets
