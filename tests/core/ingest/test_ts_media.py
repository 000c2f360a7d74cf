"""Media in a transport stream: what counts, and how long it lasts."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time

import pytest
import tsbuild as ts
from faulty_stream import STEP, FaultySource
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.ingest.media_progress import JUMP, MAX_GAP, TrackClock
from m3uproxy.core.ingest.ts_media import UNSTARTED, TsMediaMeter, without_null_packets
from m3uproxy.core.mpegts.packets import null_packet

NULL = null_packet()
VIDEO, AUDIO, OTHER = 0x100, 0x101, 0x102


def meter_of(*runs: bytes, step: float = 0.0) -> TsMediaMeter:
    meter = TsMediaMeter()
    for number, run in enumerate(runs):
        meter.add(run, number * step)
    return meter


def private(data: bytes) -> bytes:
    return ts.Mux().unit(OTHER, ts.pes(data, stream_id=0xBD))


@pytest.mark.parametrize(
    "packets",
    [
        NULL * 500,
        FaultySource().tables() * 50,
        ts.packet(VIDEO, b"", flags=0x10, field=ts.pcr_field(5)) * 50,
        ts.packet(0x12, b"\0\x4e" + bytes(100), start=True) + ts.packet(0x12, bytes(184)) * 100,
        ts.packet(0x500, b"\0\x4e" + bytes(100), start=True) + ts.packet(0x500, bytes(184)) * 22,
        private(b"\x10\x02\x2c" + bytes(43)),
        private(b"\x20\x00\x0f" + bytes(43)),
        private(b"ID3\x04" + bytes(43)),
        ts.Mux().unit(OTHER, ts.pes(bytes(90), stream_id=0xBE)),
    ],
    ids=["null", "tables", "clock", "EIT", "sections", "teletext", "subtitles", "ID3", "padding stream"],
)
def test_bytes_that_are_no_media(packets: bytes) -> None:
    meter = meter_of(*[packets + NULL] * 20, step=0.1)
    assert meter.recognised
    assert (meter.size, meter.seconds) == (0, 0)


@pytest.mark.parametrize(
    "packets",
    [
        ts.Mux().unit(VIDEO, ts.pes(bytes(900))),
        ts.Mux().unit(VIDEO, ts.pes(bytes(900)), scrambling=3),
        ts.Mux().unit(AUDIO, ts.pes(bytes(900), stream_id=0xC0)),
        private(b"\x0b\x77" + bytes(800)),
        ts.Mux().unit(OTHER, ts.pes(bytes(900), stream_id=0xFD)),
        ts.packet(VIDEO, bytes(184)) * UNSTARTED,
    ],
    ids=["video", "scrambled", "audio", "AC-3", "extended", "units without a start"],
)
def test_media(packets: bytes) -> None:
    meter = meter_of(NULL * 10 + packets + FaultySource().tables())
    assert meter.size == pytest.approx(len(packets), abs=100)


def test_rest_of_a_unit_is_media() -> None:
    """A picture may be larger than a run."""
    data = ts.Mux().unit(VIDEO, ts.pes(bytes(90_000)))
    meter = meter_of(data[: 188 * 100], step=1)
    before = meter.size
    meter.add(NULL * 10 + data[188 * 100 :], 1)
    assert meter.size - before == pytest.approx(len(data) - 18_800, abs=200)


def test_padding_between_media_does_not_count() -> None:
    mux = ts.Mux()
    runs = [mux.unit(VIDEO, ts.pes(bytes(150), pts=number * 3600)) + NULL * 99 for number in range(100)]
    assert meter_of(*runs, step=0.1).size == pytest.approx(18_800, rel=0.05)


def test_media_between_runs_of_padding_are_found_at_once() -> None:
    mux, meter = ts.Mux(), TsMediaMeter()
    for number in range(50):
        before = meter.size
        meter.add(mux.unit(AUDIO, ts.pes(bytes(150), stream_id=0xC0)), number)
        assert meter.size > before
        for part in range(1, 20):
            meter.add(NULL * 7, number + part * 0.05)


BREAK: dict[str, Callable[[FaultySource], None]] = {
    "all there": lambda source: None,
    "no video": lambda source: setattr(source, "video", False),
    "scrambled video": lambda source: setattr(source, "scrambled", True),
}


@pytest.mark.parametrize("fault", BREAK)
@pytest.mark.parametrize("step", [0.0, 0.001, 0.01, STEP])
@pytest.mark.parametrize("start", [0, 2**33 * 300 - 27_000_000])
def test_seconds_of_a_burst(fault: str, step: float, start: int) -> None:
    """At any speed; timestamps wrap."""
    source = FaultySource(offset=start)
    BREAK[fault](source)
    meter = meter_of(*[source.tables() + source.unit() for _ in range(200)], step=step)
    assert meter.seconds == pytest.approx(8, abs=0.1)
    assert meter.seconds == pytest.approx(8, abs=0.1), "nothing is counted twice"


def test_seconds_in_one_run() -> None:
    source = FaultySource(size=10)
    assert meter_of(b"".join(source.unit() for _ in range(1000))).seconds == pytest.approx(40, abs=0.1)


def test_clock_references_tell_the_seconds_of_scrambled_programmes() -> None:
    mux = ts.Mux()
    units = [mux.unit(VIDEO, ts.pes(bytes(900), pts=n * 3600), pcr=n * 1_080_000, scrambling=2) for n in range(100)]
    assert meter_of(*units).seconds == pytest.approx(4, abs=0.1)


def test_seconds_of_several_programmes_are_not_added() -> None:
    first, second = FaultySource(), FaultySource(offset=10**9)
    runs = []
    for _ in range(100):
        other = second.unit()
        moved = b"".join(
            other[at : at + 1] + bytes([other[at + 1] | 0x02]) + other[at + 2 : at + 188]
            for at in range(0, len(other), 188)
        )
        runs.append(first.unit() + moved)
    assert meter_of(*runs, step=0.01).seconds == pytest.approx(4, abs=0.1)


@given(st.lists(st.booleans(), max_size=400))
def test_null_packets_are_removed(kinds: list[bool]) -> None:
    packets = [ts.packet(VIDEO, bytes(184)) if kind else NULL for kind in kinds]
    assert without_null_packets(b"".join(packets)) == b"".join(packet for packet in packets if packet != NULL)


# the clock


def test_jumps_are_left_out() -> None:
    clock = TrackClock(1000, 1 << 32)
    now = 0.0
    for stamp in (0, 40, 80, 90_000, 90_040, 50, 90, 3_000_000_000, 3_000_000_040):
        clock.add(VIDEO, stamp, 0, now)
        now += 0.04
    assert clock.seconds == pytest.approx(0.2)


def test_step_may_be_long_after_a_pause_or_over_many_bytes() -> None:
    clock = TrackClock(1000, 1 << 32)
    clock.add(VIDEO, 0, 0, 0)
    clock.add(VIDEO, int(JUMP * 1000) + 1000, 0, 0)
    assert clock.seconds == 0
    clock.add(VIDEO, 31_000, 0, 8)
    assert clock.seconds == 20
    clock.add(VIDEO, 61_000, 20_000, 8)
    assert clock.seconds == 50


def test_pictures_out_of_order_are_no_jump() -> None:
    clock = TrackClock(90_000, 1 << 33)
    for stamp in (3600, 14_400, 7200, 10_800, 18_000):
        clock.add(1, stamp, 0, 0)
    assert clock.seconds == pytest.approx(0.16)


def test_other_track_is_followed_when_the_first_is_gone() -> None:
    clock = TrackClock(1000, 1 << 32)
    clock.add(VIDEO, 0, 0, 0)
    clock.add(AUDIO, 900_000, 0, 0.1)
    clock.add(VIDEO, 1000, 0, 1)
    assert (clock.track(1), clock.seconds) == (VIDEO, 1)
    for number in range(10):
        clock.add(AUDIO, 901_000 + number * 1000, 0, 1 + MAX_GAP + number)
    assert clock.seconds == 10


def test_all_programmes_of_a_transponder_are_counted_within_the_time_of_a_turn() -> None:
    """Sixty streams may begin in one run. The time is that of this thread, and the shortest of three runs."""
    mux = ts.Mux()
    run = b"".join(mux.unit(0x200 + number * 37, ts.pes(bytes(900), pts=0)) for number in range(60))
    times = []
    for _ in range(3):
        began = thread_time()
        assert meter_of(run).size == len(run)
        times.append(thread_time() - began)
    assert min(times) < 0.05
