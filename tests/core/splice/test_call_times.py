"""The CPU time of single calls of the splicer: a join never keeps other streams waiting, whatever a source brings."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactor_hold import TRACED, is_traced
from tsbuild import AAC, H264, IDR, SIZE, SLICE, pat_section, pes, pmt_section, psi_packets

from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.core.splice.splicer import Splicer, SpliceReport

#: Seconds of CPU that a call may take.
LIMIT = 0.05 * (TRACED if is_traced() else 1.0)
#: Bytes of one read from a fast source.
READ = 1400 * SIZE
MPEG_AUDIO, AC3, PRIVATE_AUDIO = 0x03, 0x81, 0x06
VIDEO, SOUND, PMT = 0x100, 0x101, 0x1000
PICTURE = 3600
OPUS = b"\x05\x04Opus"


@cache
def sections(streams: tuple[tuple[int, int] | tuple[int, int, bytes], ...]) -> list[tuple[int, bytes]]:
    return [(0, pat_section({1: PMT})), (PMT, pmt_section(1, streams))]


class FastMux:
    """A multiplexer of whole units, fast enough for megabytes."""

    def __init__(self) -> None:
        self._counters: dict[int, Iterator[int]] = {}
        self.out: list[bytes] = []

    def unit(self, pid: int, data: bytes, start: bool = True) -> None:
        head = bytes([0x47, pid >> 8, pid & 0xFF])
        first = bytes([0x47, 0x40 | pid >> 8, pid & 0xFF])
        counters = self._counters.setdefault(pid, count())
        for at in range(0, len(data), SIZE - 4):
            part = data[at : at + SIZE - 4]
            control = bytes([0x10 | next(counters) & 15])
            if len(part) < SIZE - 4:
                room = SIZE - 5 - len(part)
                control = bytes([control[0] | 0x20, room]) + (b"\0".ljust(room, b"\xff") if room else b"")
            self.out.append((first if start and not at else head) + control + part)

    def tables(self, streams: Sequence[tuple[int, int] | tuple[int, int, bytes]]) -> None:
        for pid, section in sections(tuple(streams)):
            counters = self._counters.setdefault(pid, count())
            self.out += psi_packets(pid, section, counter=next(counters))


@attrs.frozen
class Broadcast:
    """A programme of 25 pictures a second. The same seconds have the same bytes.

    :ivar picture: returns the bytes of a picture by its number.
    :ivar sounds: bytes of the sound that is repeated, for each track.
    :ivar sound_ticks: duration of a sound.
    :ivar origin: ticks added to all timestamps.
    :ivar carry: bytes of each sound that are in the unit after it, before the first whole frame.
    :ivar stamped: True if sound has timestamps.
    """

    picture: Callable[[int], bytes]
    sounds: tuple[bytes, ...] = ()
    sound_type: int = MPEG_AUDIO
    descriptors: bytes = b""
    sound_ticks: int = 3 * PICTURE
    origin: int = 900_000
    carry: int = 0
    stamped: bool = True

    def seconds(self, begin: float, end: float) -> bytes:
        mux = FastMux()
        streams = [(self.sound_type, SOUND + n, self.descriptors) for n in range(len(self.sounds))]
        for number in range(round(begin * 25), round(end * 25)):
            ticks = number * PICTURE + self.origin
            if number % 25 == 0:
                mux.tables([(H264, VIDEO), *streams])
            mux.unit(VIDEO, pes(self.picture(number), pts=ticks))
            due = range(-(-number * PICTURE // self.sound_ticks), -(-(number + 1) * PICTURE // self.sound_ticks))
            for sound_number in due:
                for track, sound in enumerate(self.sounds):
                    data = sound[len(sound) - self.carry :] + sound[: len(sound) - self.carry]
                    unit = self._sound_unit(data, sound_number * self.sound_ticks + self.origin)
                    mux.unit(SOUND + track, unit)
        return b"".join(mux.out)

    def _sound_unit(self, data: bytes, ticks: int) -> bytes:
        if self.stamped:
            return pes(data, stream_id=0xC0, pts=ticks)
        return b"\0\0\1\xc0" + (len(data) + 3).to_bytes(2, "big") + b"\x80\0\0" + data


def noisy_pictures(size: int, gop: int = 25, seed: int = 0) -> Callable[[int], bytes]:
    def picture(number: int) -> bytes:
        noise = random.Random(number * 7 + seed).randbytes(size).replace(b"\0", b"\1")
        return (IDR if number % gop == 0 else SLICE) + noise

    return picture


class TimedRig:
    """A splicer whose calls are timed.

    :ivar longest: CPU seconds of the longest call.
    :ivar out: all packets sent.
    """

    def __init__(self, known: int) -> None:
        self._known = known // SIZE * SIZE
        self._tail = self.out = b""
        self.reports: list[SpliceReport] = []
        self.longest = 0.0
        self.now = 0.0
        self.splicer = Splicer(lambda: self._tail, self.reports.append)

    def sent(self, data: bytes) -> TimedRig:
        """Play a first source, of which everything is sent."""
        self.splicer.push(data, self.now)
        self._tail, self.out = data[-self._known :], data
        self.splicer.next_source(self.now)
        return self

    def feed(self, data: bytes, pause: float = 0.005) -> TimedRig:
        """Feed packets of a source as fast as it can be read, and let the splicer finish its work."""
        out = [self.out]
        for at in range(0, len(data), READ):
            self.now += pause
            out.append(self._timed(self.splicer.push, data[at : at + READ]))
            assert self.splicer.held_bytes < 34 << 20
        for _ in range(4000):
            if not self.splicer.is_busy:
                break
            self.now += pause
            out.append(self._timed(self.splicer.push, b""))
        assert not self.splicer.is_busy
        self.out = b"".join(out)
        return self

    def push(self, data: bytes, pause: float) -> None:
        self.now += pause
        self.out += self._timed(self.splicer.push, data)

    def next(self) -> None:
        self.out += self._timed(lambda _, now: self.splicer.next_source(now), b"")

    def play_again(self, broadcast: Broadcast, begin: float, cut: float, back: float, end: float) -> None:
        """Play seconds of a broadcast, and then from ``back`` seconds earlier on."""
        self.sent(broadcast.seconds(begin, cut)).feed(broadcast.seconds(cut - back, end)).next()

    def _timed(self, call: Callable[[bytes, float], bytes], packets: bytes) -> bytes:
        begin = time.thread_time()
        out = call(packets, self.now)
        self.longest = max(self.longest, time.thread_time() - begin)
        return out

    @property
    def kinds(self) -> list[SpliceKind]:
        return [report.kind for report in self.reports]


def played(play: Callable[[TimedRig], object], known: int = 16 << 20) -> TimedRig:
    """Play to a splicer and check the time of each call. A slow run is repeated, as the machine may have been busy.

    :param known: bytes of what was sent that the splicer can ask for.
    """
    for _ in range(3):
        rig = TimedRig(known)
        play(rig)
        if rig.longest < LIMIT:
            return rig
    raise AssertionError(f"a call took {rig.longest:.3f} s of CPU")


def units(data: bytes, pid: int) -> list[bytes]:
    """Return the elementary stream's bytes of each unit."""
    found: list[bytes] = []
    for at in range(0, len(data), SIZE):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == pid:
            begin = at + 4 if not data[at + 3] & 0x20 else at + 5 + data[at + 4]
            if data[at + 1] & 0x40:
                found.append(data[begin + 9 + data[begin + 8] : at + SIZE])
            else:
                found[-1] += data[begin : at + SIZE]
    return found


def differs_at(data: bytes, expected: bytes) -> int | None:
    """Return the position at which ``data`` is not the beginning of ``expected``."""
    if expected.startswith(data):
        return None
    pairs = enumerate(zip(data, expected, strict=False))
    return next((n for n, pair in pairs if pair[0] != pair[1]), len(expected))


def assert_exact(out: bytes, broadcast: Broadcast, begin: float, end: float) -> None:
    """Check that all pictures and all sound of these seconds arrive once, except for a few at the end."""
    expected = broadcast.seconds(begin, end)
    pictures = units(out, VIDEO)
    assert pictures == units(expected, VIDEO)[: len(pictures)]
    assert len(pictures) > (end - begin) * 25 - 5
    for track in range(len(broadcast.sounds)):
        sound, whole = b"".join(units(out, SOUND + track)), b"".join(units(expected, SOUND + track))
        assert differs_at(sound, whole) is None
        assert len(sound) >= len(whole) - 2 * len(broadcast.sounds[track])


MP2 = b"\xff\xfd\xa4\0"
AAC_FRAME = b"\xff\xf1\x4c\x80\x02\x9f\xfc\x21\x10\x04\x60\x8c\x1c".ljust(20, b"\0")
#: Stream type, descriptors, bytes of one unit, and its ticks.
SILENT = {
    "MP2 of zeros": (MPEG_AUDIO, b"", (MP2 + bytes(572)) * 5, 5 * 2160),
    "two kinds of frames": (MPEG_AUDIO, b"", (MP2 + bytes(572) + MP2 + b"\1" * 572) * 3, 6 * 2160),
    "MP3": (MPEG_AUDIO, b"", (b"\xff\xfb\x94\x64" + b"\0\x0f\xf0" + b"\0" * 377) * 5, 5 * 2160),
    "AAC": (AAC, b"", AAC_FRAME * 6, 6 * 1920),
    "AC-3": (AC3, b"", (b"\x0b\x77\0\0\x14\x40\xe1" + bytes(761)) * 4, 4 * 2880),
    "zeros only": (MPEG_AUDIO, b"", bytes(2880), 10_800),
    "zeros of an unknown codec": (PRIVATE_AUDIO, OPUS, bytes(2880), 10_800),
    "one byte of a header": (AAC, b"", b"\xff" * 2880, 10_800),
    "headers without frames": (AAC, b"", b"\xff\xf1\x4c\x80" * 700, 10_800),
    "headers only": (AAC, b"", b"\xff\xf1\x4c\x80\x00\xff\xfc" * 400, 400 * 1920),
    "more frames than time": (AAC, b"", b"\xff\xf1\x4c\x80\x00\xff\xfc" * 400, 10_800),
}


def silent(kind: str, tracks: int, **more: Any) -> Broadcast:
    sound_type, descriptors, sound, ticks = SILENT[kind]
    return Broadcast(SMALL_PICTURES, (sound,) * tracks, sound_type, descriptors, ticks, **more)


SMALL_PICTURES = noisy_pictures(1500)


class TestSilence:
    @pytest.mark.parametrize(("back", "known"), [(8, 16 << 20), (12, 2 << 20)])
    @pytest.mark.parametrize(("tracks", "carry"), [(1, 0), (8, 100)])
    @pytest.mark.parametrize("kind", SILENT)
    def test_replay_continues_exactly(self, kind: str, tracks: int, carry: int, back: float, known: int) -> None:
        """The known past begins before the replay; of eight tracks, also behind its beginning."""
        broadcast = silent(kind, tracks, carry=carry)
        rig = played(lambda rig: rig.play_again(broadcast, 10, 25, back, 28), known)
        assert rig.kinds == [SpliceKind.OVERLAP]
        if kind != "more frames than time":
            assert_exact(rig.out, broadcast, 10, 28)

    @pytest.mark.parametrize("kind", SILENT)
    def test_sound_without_timestamps(self, kind: str) -> None:
        broadcast = silent(kind, 8, stamped=False)
        for back, known in ((8, 16 << 20), (12, 2 << 20)):
            played(lambda rig, back=back: rig.play_again(broadcast, 10, 25, back, 28), known)

    @given(st.lists(st.integers(0, 2), min_size=5, max_size=5), st.integers(0, 500), st.integers(25, 90), st.data())
    def test_few_kinds_of_frames(self, frames: list[int], carry: int, cut: int, data: st.DataObject) -> None:
        kinds = [MP2 + bytes([kind]) * 572 for kind in range(3)]
        broadcast = Broadcast(SMALL_PICTURES, (b"".join(kinds[frame] for frame in frames),), carry=carry)
        back, known = data.draw(st.integers(5, cut)) / 25, data.draw(st.sampled_from([16 << 20, 500 * SIZE]))
        rig = played(lambda rig: rig.play_again(broadcast, 0, cut / 25, back, 6), known)
        assert rig.kinds == [SpliceKind.OVERLAP]
        assert_exact(rig.out, broadcast, 0, 6)

    @given(st.binary(min_size=1, max_size=40), st.sampled_from([MPEG_AUDIO, AAC, AC3, PRIVATE_AUDIO]), st.booleans())
    def test_any_bytes_repeated(self, pattern: bytes, sound_type: int, stamped: bool) -> None:
        sound = (pattern * 3000)[:3000]
        broadcast = Broadcast(SMALL_PICTURES, (sound,) * 3, sound_type, OPUS, stamped=stamped)
        played(lambda rig: rig.play_again(broadcast, 0, 8, 5, 9))


class TestLargeJoin:
    @pytest.mark.parametrize(
        ("known", "back", "restamped"),
        [
            (16, 5, True),
            pytest.param(32, 9, False, marks=pytest.mark.exhaustive),
            pytest.param(32, 9, True, marks=pytest.mark.exhaustive),
        ],
    )
    def test_replay_is_found(self, known: int, back: float, restamped: bool) -> None:
        """A replay of 24 Mbit/s that begins in the known past."""
        broadcast = Broadcast(noisy_pictures(120_000), (bytes(2880),))
        again = attrs.evolve(broadcast, origin=7 * 10**8) if restamped else broadcast
        first, second = broadcast.seconds(89, 100), again.seconds(100 - back, 101)
        rig = played(lambda rig: rig.sent(first).feed(second).next(), known << 20)
        assert rig.kinds == [SpliceKind.OVERLAP]
        assert_exact(rig.out, broadcast, 89, 101)

    @pytest.mark.parametrize("rate", [24, pytest.param(60, marks=pytest.mark.exhaustive)])
    def test_replay_of_more_than_may_be_kept(self, rate: int) -> None:
        """It begins before the known past, too. What players have seen is dropped; the rest is joined exactly."""
        broadcast = Broadcast(noisy_pictures(rate * 5000), (bytes(2880),))
        begin, back = (90, 9.5) if rate == 24 else (96, 3.8)
        first, again = broadcast.seconds(begin, 100), broadcast.seconds(100 - back, 101)

        def play(rig: TimedRig) -> None:
            rig.sent(first)
            for at in range(0, len(again), 4 * READ):
                rig.feed(again[at : at + 4 * READ])
                assert rig.splicer.held_bytes < 18 << 20
            rig.next()

        rig = played(play)
        assert rig.kinds == [SpliceKind.OVERLAP]
        assert_exact(rig.out, broadcast, begin, 101)

    def test_other_encode_with_the_same_clock(self) -> None:
        """It is waited for, however large, until it brings pictures that were not sent."""
        broadcast = Broadcast(noisy_pictures(120_000))
        first = broadcast.seconds(94, 100)
        other = attrs.evolve(broadcast, picture=noisy_pictures(120_000, seed=9)).seconds(92, 101.5)
        rig = played(lambda rig: rig.sent(first).feed(other))
        assert rig.kinds == [SpliceKind.LATER]
        assert abs(rig.reports[0].offset) < 0.1

    def test_all_packets_kept_are_sent_in_order(self) -> None:
        """Sixteen megabytes are held back for an IDR picture that never comes, and are then sent in several calls."""
        first, data = without_idr()
        rig = played(lambda rig: rig.sent(first).feed(data, pause=0.02).next())
        assert rig.kinds == [SpliceKind.SHIFTED]
        pictures = units(rig.out[len(first) :], VIDEO)
        assert pictures == units(data, VIDEO)[: len(pictures)]
        assert len(pictures) > 8 * 25 - 2

    def test_next_source_in_the_middle(self) -> None:
        """What is sent ends with a whole picture, although the join is not finished."""
        first, data = without_idr()

        def play(rig: TimedRig) -> None:
            rig.sent(first)
            for at in range(0, len(data), READ):
                rig.push(data[at : at + READ], 0.02)
                if rig.reports:
                    break
            assert rig.splicer.is_busy
            rig.next()

        rig = played(play)
        pictures = units(rig.out[len(first) :], VIDEO)
        assert pictures == units(data, VIDEO)[: len(pictures)]
        assert not rig.splicer.is_busy

    @pytest.mark.parametrize("how", ["without tables", "scrambled"])
    def test_source_that_passes_unchanged(self, how: str) -> None:
        data = bytearray(Broadcast(noisy_pictures(120_000)).seconds(50, 57))
        for at in range(0, len(data), SIZE):
            if data[at + 1] & 0x1F == 1 and how == "scrambled":
                data[at + 3] |= 0x80
            elif data[at + 1] & 0x1F != 1 and how != "scrambled":
                data[at + 1 : at + 3] = b"\x1f\xff"
        first = Broadcast(SMALL_PICTURES).seconds(94, 100)
        rig = played(lambda rig: rig.sent(first).feed(bytes(data)))
        assert rig.kinds == [SpliceKind.PLAIN]
        out = rig.out[len(first) :] + rig.splicer.flush(rig.now)
        assert differs_at(out, bytes(data)) is None
        assert len(out) == len(data)


def without_idr() -> tuple[bytes, bytes]:
    """Return what was sent, and a source whose pictures are as many bytes as may be kept in two seconds."""
    pictures = noisy_pictures(120_000)
    other = Broadcast(lambda number: pictures(number).replace(b"\x65\x88", b"\x41\x9a"), origin=5 * 10**8)
    return Broadcast(noisy_pictures(120_000, seed=9)).seconds(94, 100), other.seconds(50, 58)


@cache
def hostile(kind: str, size: int, origin: int) -> bytes:
    """Return packets that cost as much as possible."""
    match kind:
        case "pictures of one packet":
            return single_packets(lambda number: number, size, origin)
        case "one picture":
            return single_packets(lambda number: 7, size, origin)
        case "a loop of pictures":
            return single_packets(lambda number: number % 30, size, origin)
        case "190 sounds":
            return single_packets(lambda number: number, size, origin, 190)
        case "no headers":
            return single_packets(lambda number: number, size, origin, header=False)
        case "changing tables":
            return changing_tables(size, origin, 1)
        case "changing tables of 190 sounds":
            return changing_tables(size, origin, 190)
        case "tables of many programs":
            return many_programs(size, origin)
        case "pictures without a start":
            return hidden_pictures(size, origin)
    noise = random.Random(origin)
    return b"".join(b"\x47" + noise.randbytes(SIZE - 1) for _ in range(size // SIZE))


HOSTILE = [
    "pictures of one packet",
    "one picture",
    "a loop of pictures",
    "190 sounds",
    "no headers",
    "changing tables",
    "changing tables of 190 sounds",
    "tables of many programs",
    "pictures without a start",
    "noise",
]


def single_packets(
    key: Callable[[int], int], size: int, origin: int, streams: int = 0, *, header: bool = True
) -> bytes:
    """Return units of one packet each.

    :param key: number in each unit by its position.
    :param streams: sounds on as many PIDs; 0 for pictures.
    """
    mux = FastMux()
    tracks = [(H264, VIDEO), *[(AAC, 0x200 + n) for n in range(streams)]]
    for number in range(size // SIZE):
        if number % 500 == 0:
            mux.tables(tracks)
        pid = 0x200 + number % streams if streams else VIDEO
        unit = pes(SLICE + b"%d" % key(number), pts=number * 30 + origin) if header else b"\xaa"
        mux.unit(pid, unit.ljust(184, b"-"))
    return b"".join(mux.out)


def changing_tables(size: int, origin: int, sounds: int) -> bytes:
    mux = FastMux()
    for number in range(size // SIZE // (3 + sounds // 32)):
        pid = VIDEO + number % 2
        mux.tables([(H264, pid), *[(AAC, 0x200 + n + number % 2) for n in range(sounds)]])
        mux.unit(pid, pes(IDR + b"%d" % number, pts=origin + number * 300))
    return b"".join(mux.out)


def many_programs(size: int, origin: int) -> bytes:
    """Return a PAT of 200 programs and their tables, which change each time, with a picture of each program."""
    mux = FastMux()
    number = 0
    while len(mux.out) * SIZE < size:
        pat = {1 + n: 0x1000 + n for n in range(200)} | {1000 + number % 7: 0x1F00}
        for packet in psi_packets(0, pat_section(pat)):
            mux.out.append(packet)
        for n in range(200):
            streams = [(H264, 0x200 + n), (AAC, 0x600 + number % 5)]
            mux.out += psi_packets(0x1000 + n, pmt_section(1 + n, streams))
            mux.unit(0x200 + n, pes(IDR, pts=origin + number * 3000 + n * 10).ljust(184, b"-"))
        number += 1
    return b"".join(mux.out)


def hidden_pictures(size: int, origin: int) -> bytes:
    """Return pictures whose first packets show neither parameter sets nor a slice."""
    mux = FastMux()
    number = 0
    while len(mux.out) * SIZE < size:
        if number % 50 == 0:
            mux.tables([(H264, VIDEO)])
        mux.unit(VIDEO, pes(b"\0\0\0\1\x06\x05" + b"\xab" * 2500, pts=origin + number * 300))
        number += 1
    return b"".join(mux.out)


class TestHostileSource:
    @pytest.mark.exhaustive
    @pytest.mark.parametrize("new", HOSTILE)
    @pytest.mark.parametrize("sent", HOSTILE)
    def test_no_call_takes_long(self, sent: str, new: str) -> None:
        first, data = hostile(sent, 2 << 20, 0), hostile(new, 2 << 20, 0)
        played(lambda rig: rig.sent(first).feed(data).next())

    @pytest.mark.exhaustive
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_all_of_the_memory(self, kind: str) -> None:
        size = 4 if "tables" in kind else 16
        first, data = hostile(kind, 2 * size << 20, 0), hostile(kind, (size + 2) << 20, 10**8)
        played(lambda rig: rig.sent(first).feed(data).next(), 32 << 20)

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_after_an_ordinary_source(self, kind: str) -> None:
        first = Broadcast(SMALL_PICTURES, (bytes(2880),)).seconds(0, 10)
        played(lambda rig: rig.sent(first).feed(hostile(kind, 1 << 20, 10**8)).next())

    def test_tables_that_change_after_the_join(self) -> None:
        first = Broadcast(SMALL_PICTURES, (bytes(2880),)).seconds(0, 10)
        joined = Broadcast(noisy_pictures(1500, seed=9), (bytes(2880),), origin=10**9).seconds(0, 4)
        data = joined + hostile("changing tables of 190 sounds", 1 << 20, 2 * 10**9)
        rig = played(lambda rig: rig.sent(first).feed(joined).feed(data).next())
        assert rig.kinds[0] is SpliceKind.SHIFTED
