"""Programmes of numbered pictures and audio frames in any multiplex, and a strict reader of the received stream.

For tests of splices. This module shares no code with the package under test.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import attrs
from tsbuild import AAC, H264, IDR, SIZE, SLICE, Mux, packet, pcr_field, pes

WRAP = 1 << 33
PICTURE, SOUND = 3600, 1920
#: Ticks that a picture is sent before its DTS.
DELAY = 27_000


@attrs.frozen
class Unit:
    """A picture or an audio frame: ticks from the programme's start, and its bytes."""

    pts: int
    dts: int
    data: bytes
    key: bool = False


@attrs.frozen
class Programme:
    """A programme before multiplexing. Pictures are in decoding order."""

    pictures: tuple[Unit, ...]
    sounds: tuple[Unit, ...]


def adts(data: bytes) -> bytes:
    """Return a frame of AAC LC, 48 kHz, stereo."""
    size = len(data) + 7
    return bytes([0xFF, 0xF1, 0x4C, 0x80 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC]) + data


def make_programme(
    seed: int, pictures: int, *, gop: int = 8, reorder: int = 2, picture: int = 500, sound: int = 60, late: int = 0
) -> Programme:
    """Make numbered pictures in groups of ``gop``.

    :param reorder: pictures that are presented before the picture decoded before them.
    :param late: ticks by which audio begins after the pictures.
    """
    noise = random.Random(seed)
    pictures_made: list[Unit] = []
    for number, place in enumerate(_decoding_order(pictures, gop, reorder)):
        key = place % gop == 0
        body = noise.randbytes(noise.randrange(picture // 4, picture)).replace(b"\0", b"\x55")
        data = (IDR if key else SLICE) + number.to_bytes(3, "big").replace(b"\0", b"\x80") + body
        pictures_made.append(Unit((place + 1) * PICTURE, number * PICTURE, data, key))
    sounds_made = [
        Unit(at, at, adts(at.to_bytes(4, "big") + noise.randbytes(noise.randrange(9, sound))))
        for at in range(late, pictures * PICTURE - SOUND + 1, SOUND)
    ]
    return Programme(tuple(pictures_made), tuple(sounds_made))


def _decoding_order(pictures: int, gop: int, reorder: int) -> list[int]:
    order: list[int] = []
    for first in range(0, pictures, gop):
        places = list(range(first, min(first + gop, pictures)))
        order.append(places.pop(0))
        while places:
            group, places = places[: reorder + 1], places[reorder + 1 :]
            order += [group[-1], *group[:-1]]
    return order


@attrs.frozen
class Layout:
    """The multiplex of a programme.

    :ivar clock: PID of the PCR.
    :ivar pack: audio frames in a unit.
    :ivar spread: place audio packets between video packets; else units are contiguous.
    :ivar origin: ticks added to all timestamps.
    :ivar padding: null packets after each unit.
    :ivar listed: numbers of other programs in the PAT, before this one.
    """

    video: int = 0x100
    sound: int = 0x101
    pmt: int = 0x1000
    clock: int = 0x100
    program: int = 1
    pack: int = 4
    spread: bool = False
    origin: int = 0
    padding: int = 0
    tables_every: int = 5
    video_type: int = H264
    sound_type: int = AAC
    counter: int = 0
    listed: tuple[int, ...] = ()

    def tables(self, mux: Mux) -> bytes:
        streams = [(self.video_type, self.video), (self.sound_type, self.sound)]
        others = {number: 0x1E00 + number for number in self.listed}
        return mux.pat({**others, self.program: self.pmt}) + mux.pmt(
            self.pmt, self.program, streams, pcr_pid=self.clock
        )


def multiplex(programme: Programme, layout: Layout, seed: int = 0) -> bytes:
    """Return the programme as a transport stream, its units in the order of their DTS."""
    mux, dice = Mux(), random.Random(seed)
    for pid in (0, layout.pmt, layout.video, layout.sound):
        mux._counters[pid] = layout.counter
    units: list[tuple[int, int, list[bytes]]] = []
    for number, unit in enumerate(programme.pictures):
        units.append((unit.dts, 0, _picture(mux, layout, number, unit)))
    for first in range(0, len(programme.sounds), layout.pack):
        frames = programme.sounds[first : first + layout.pack]
        pts = (frames[0].pts + layout.origin) % WRAP
        made = pes(b"".join(frame.data for frame in frames), stream_id=0xC0, pts=pts)
        clock = (pts - DELAY) % WRAP * 300 if layout.clock == layout.sound else None
        units.append((frames[-1].dts, 1, _split(mux.unit(layout.sound, made, pcr=clock))))
    units.sort(key=lambda each: each[:2])
    return b"".join(_interleaved(units, layout, dice))


def _split(packets: bytes) -> list[bytes]:
    return [packets[at : at + SIZE] for at in range(0, len(packets), SIZE)]


def _picture(mux: Mux, layout: Layout, number: int, unit: Unit) -> list[bytes]:
    pts, dts = (unit.pts + layout.origin) % WRAP, (unit.dts + layout.origin) % WRAP
    clock = (dts - DELAY) % WRAP * 300
    before = b"" if number % layout.tables_every else layout.tables(mux)
    if layout.clock not in (layout.video, layout.sound):
        before += packet(layout.clock, b"", flags=0x10, field=pcr_field(clock))
    made = pes(unit.data, pts=pts, dts=dts)
    own = clock if layout.clock == layout.video else None
    return _split(before + mux.unit(layout.video, made, key=unit.key, pcr=own) + mux.null() * layout.padding)


def _interleaved(units: list[tuple[int, int, list[bytes]]], layout: Layout, dice: random.Random) -> list[bytes]:
    out: list[bytes] = []
    held_back: list[bytes] = []
    for _, kind, packets in units:
        if not layout.spread:
            out += packets
        elif kind == 1:
            held_back += packets
        else:
            for each in packets:
                out.append(each)
                while held_back and dice.random() < 0.7:
                    out.append(held_back.pop(0))
    return out + held_back


@attrs.frozen
class ReceivedUnit:
    """A received unit."""

    pts: int | None
    dts: int | None
    data: bytes


class Reception:
    """A strict reader of a stream: an error in counters, clock or structure fails an assertion.

    :ivar ahead: ticks from the clock to the DTS of each picture.
    """

    def __init__(self, data: bytes, video: int, sound: int, clock: int) -> None:
        assert len(data) % SIZE == 0
        self.units: dict[int, list[ReceivedUnit]] = {video: [], sound: []}
        self.pids: set[int] = set()
        self.clocks: list[int] = []
        self.ahead: list[int] = []
        self._counters: dict[int, int] = {}
        self._open_units: dict[int, bytes] = {}
        for each in _split(data):
            self._read_packet(each, clock)
        for pid in (video, sound):
            self._end_unit(pid)
        self.video, self.sound = self.units[video], self.units[sound]

    def _read_packet(self, each: bytes, clock: int) -> None:
        assert each[0] == 0x47
        pid = (each[1] & 0x1F) << 8 | each[2]
        self.pids.add(pid)
        if pid == 0x1FFF:
            return
        has_payload = each[3] >> 4 & 1
        counter = each[3] & 15
        if pid in self._counters:
            assert counter == (self._counters[pid] + has_payload) % 16, f"counter of {pid:#x}"
        self._counters[pid] = counter
        begin = 4
        if each[3] & 0x20:
            begin = 5 + each[4]
            if each[4] and each[5] & 0x10 and pid == clock:
                self._read_clock(int.from_bytes(each[6:12], "big") >> 15)
        if has_payload and pid in self.units:
            self._read_payload(pid, bool(each[1] & 0x40), each[begin:])

    def _read_clock(self, value: int) -> None:
        if self.clocks:
            assert distance(value, self.clocks[-1]) > 0, "clock steps back"
        self.clocks.append(value)

    def _read_payload(self, pid: int, start: bool, payload: bytes) -> None:
        if start:
            self._end_unit(pid)
            if self.clocks and payload[7] >> 6 == 3:
                self.ahead.append(distance(read_timestamp_ticks(payload[14:19]), self.clocks[-1]))
            self._open_units[pid] = payload
        else:
            assert pid in self._open_units, "does not begin at a unit"
            self._open_units[pid] += payload

    def _end_unit(self, pid: int) -> None:
        data = self._open_units.pop(pid, None)
        if data is None:
            return
        assert data[:3] == b"\0\0\1"
        length = data[4] << 8 | data[5]
        assert length in (0, len(data) - 6), "torn unit"
        flags, body = data[7] >> 6, 9 + data[8]
        pts = read_timestamp_ticks(data[9:14]) if flags & 2 else None
        dts = read_timestamp_ticks(data[14:19]) if flags == 3 else pts
        self.units[pid].append(ReceivedUnit(pts, dts, data[body:]))

    def frames(self) -> list[ReceivedUnit]:
        """Return the audio frames, each with its time."""
        found: list[ReceivedUnit] = []
        time: float | None = None
        for unit in self.sound:
            if unit.pts is not None:
                time = unit.pts
            at = 0
            while at < len(unit.data):
                assert unit.data[at] == 0xFF, "torn frame"
                size = (unit.data[at + 3] & 3) << 11 | unit.data[at + 4] << 3 | unit.data[at + 5] >> 5
                assert at + size <= len(unit.data), "torn frame"
                now = None if time is None else round(time) % WRAP
                found.append(ReceivedUnit(now, now, unit.data[at : at + size]))
                time = None if time is None else time + SOUND
                at += size
        return found


def read_timestamp_ticks(data: bytes) -> int:
    return (data[0] >> 1 & 7) << 30 | data[1] << 22 | data[2] >> 1 << 15 | data[3] << 7 | data[4] >> 1


def shift_clock(data: bytes, ticks: int) -> bytes:
    """Return the same stream with all clock values moved."""
    out = bytearray(data)
    for at in range(0, len(out), SIZE):
        if out[at + 3] & 0x20 and out[at + 4] and out[at + 5] & 0x10:
            value = (int.from_bytes(out[at + 6 : at + 12], "big") >> 15) + ticks
            out[at + 6 : at + 12] = (value % WRAP << 15 | 0x7E00).to_bytes(6, "big")
    return bytes(out)


def distance(later: int, earlier: int) -> int:
    """Return the ticks between two clock values, the short way round."""
    return (later - earlier + WRAP // 2) % WRAP - WRAP // 2


def steps(values: Sequence[int | None]) -> list[int]:
    """Return the distances of neighbours."""
    known = [value for value in values if value is not None]
    return [distance(later, earlier) for earlier, later in pairwise(known)]
