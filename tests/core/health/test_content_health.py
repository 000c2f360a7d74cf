"""Content faults: each with its threshold, in streams that show one and in those that only look like it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import tsbuild as ts
from faulty_stream import RADIO, STEP, TV, FaultySource
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.health.content import REPORT_INTERVAL, SAMPLE_INTERVAL, ContentFault, ContentHealth, HealthLimits
from m3uproxy.core.mpegts.psi import ElementaryStream, ProgramMap


@attrs.define
class Watched:
    """A source under a health on simulated time; notes what it tells."""

    limits: HealthLimits = attrs.field(factory=HealthLimits)
    source: FaultySource = attrs.field(factory=FaultySource)
    program: ProgramMap | None = TV
    now: float = 100.0
    told: list[tuple[float, ContentFault]] = attrs.field(factory=list)
    health: ContentHealth = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.health = ContentHealth(self.limits, self.now)

    def run(self, seconds: float, step: float = STEP, burst: int = 1) -> Watched:
        for _ in range(round(seconds / step)):
            self.now += step
            self.take(b"".join(self.source.unit() for _ in range(burst)))
        return self

    def take(self, packets: bytes) -> None:
        fault = self.health.packets_received(self.now, packets, self.program)
        if fault is not None:
            self.told.append((self.now - 100.0, fault))

    @property
    def faults(self) -> list[ContentFault]:
        return [fault for _, fault in self.told]

    def after(self, moment: float) -> float:
        """Seconds from ``moment`` until the only fault was told."""
        assert len(self.told) == 1
        return self.told[0][0] - moment


BREAK: dict[ContentFault, Callable[[FaultySource], None]] = {
    ContentFault.VIDEO_GONE: lambda source: setattr(source, "video", False),
    ContentFault.FROZEN: lambda source: setattr(source, "frozen", True),
    ContentFault.SCRAMBLED: lambda source: setattr(source, "scrambled", True),
    ContentFault.TRANSPORT_ERRORS: lambda source: setattr(source, "damaged", 2),
    ContentFault.CONTINUITY: lambda source: setattr(source, "skip", True),
    ContentFault.LOW_BITRATE: lambda source: setattr(source, "size", 300),
}
ALL_ON = HealthLimits(continuity=0.01, bitrate=62_500)


def test_a_healthy_stream() -> None:
    watched = Watched(ALL_ON).run(60)
    assert watched.told == []
    condition = watched.health.snapshot()
    assert condition.fault is None
    assert condition.pace == pytest.approx(1, abs=0.02)
    assert condition.bitrate == pytest.approx(20 * 188 / STEP, rel=0.05)
    assert condition.media_bitrate == pytest.approx(condition.bitrate, rel=0.05)
    assert condition.continuity_errors == condition.transport_errors == condition.scrambled_packets == 0
    assert watched.health.media == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize(
    ("fault", "low", "high"),
    [
        (ContentFault.VIDEO_GONE, 4.7, 5.6),
        (ContentFault.FROZEN, 4.7, 5.6),
        (ContentFault.SCRAMBLED, 2.7, 3.6),
        (ContentFault.TRANSPORT_ERRORS, 10, 20.6),
        (ContentFault.CONTINUITY, 10, 20.6),
        (ContentFault.LOW_BITRATE, 10, 20.6),
    ],
)
def test_a_fault_is_told_once_in_time(fault: ContentFault, low: float, high: float) -> None:
    watched = Watched(ALL_ON).run(20)
    BREAK[fault](watched.source)
    watched.run(25)
    assert watched.faults == [fault]
    assert low <= watched.after(20) <= high
    assert watched.health.snapshot().fault == fault.value


@pytest.mark.parametrize("fault", BREAK)
def test_what_is_off_by_default(fault: ContentFault) -> None:
    watched = Watched().run(20)
    BREAK[fault](watched.source)
    watched.run(30)
    off = fault in (ContentFault.CONTINUITY, ContentFault.LOW_BITRATE)
    assert watched.faults == ([] if off else [fault])


@pytest.mark.parametrize("fault", BREAK)
def test_each_can_be_switched_off(fault: ContentFault) -> None:
    limits = HealthLimits(video_gone=0, video_missing=0, frozen=0, scrambled=0, transport_errors=0)
    watched = Watched(limits).run(20)
    BREAK[fault](watched.source)
    watched.run(40)
    assert watched.told == []
    condition = watched.health.snapshot()
    seen = {
        ContentFault.VIDEO_GONE: condition.seconds_without_video,
        ContentFault.FROZEN: condition.seconds_same_picture,
        ContentFault.SCRAMBLED: condition.scrambled_packets,
        ContentFault.TRANSPORT_ERRORS: condition.transport_errors,
        ContentFault.CONTINUITY: condition.continuity_errors,
        ContentFault.LOW_BITRATE: 62_500 - (condition.bitrate or 0),
    }[fault]
    assert seen
    assert seen > 10, "visible all the same"


def test_a_fault_that_goes_on_is_told_again_and_one_that_ends_is_forgotten() -> None:
    watched = Watched().run(20)
    watched.source.video = False
    watched.run(5 + 2 * REPORT_INTERVAL + 1)
    assert watched.faults == [ContentFault.VIDEO_GONE] * 3
    watched.source.video = True
    watched.run(10)
    assert watched.health.fault is None
    assert watched.health.snapshot().fault is None


@pytest.mark.parametrize("fault", BREAK)
def test_a_short_trouble_is_no_fault(fault: ContentFault) -> None:
    watched = Watched(ALL_ON).run(20)
    BREAK[fault](watched.source)
    watched.run(2.5)
    watched.source = FaultySource(mux=watched.source.mux, number=watched.source.number)
    assert watched.run(30).told == []


# what only looks like a fault


def test_radio_has_no_video_to_miss() -> None:
    watched = Watched(program=RADIO, source=FaultySource(video=False)).run(60)
    assert watched.told == []
    assert watched.health.snapshot().seconds_without_video is None


def test_video_that_never_comes() -> None:
    watched = Watched(source=FaultySource(video=False)).run(20)
    assert watched.faults == [ContentFault.VIDEO_MISSING]
    assert 10 <= watched.after(0) <= 10.6


@pytest.mark.parametrize("every", [25, 50, 100])
def test_slides_between_much_sound(every: int) -> None:
    """A picture in one or four seconds is hardly ever in a sample, and it comes all the same."""
    watched = Watched()
    for number in range(60 * 25):
        watched.source.video = number % every == 0
        watched.run(STEP)
    assert watched.told == []


def test_a_program_that_is_announced_and_not_sent() -> None:
    """Whoever filters one program out of several often leaves the tables of all; the first need not be the one."""
    other = ProgramMap(2, 0x300, (ElementaryStream(ts.H264, 0x300, b""), ElementaryStream(ts.AAC, 0x301, b"")))
    watched = Watched(program=other).run(60)
    assert watched.told == []
    condition = watched.health.snapshot()
    assert condition.seconds_without_video is not None
    assert condition.packets_sampled < 60 / SAMPLE_INTERVAL * 25, "and it costs no more than others"


def test_what_was_scrambled_from_the_start_is_passed_on() -> None:
    assert Watched(source=FaultySource(scrambled=True)).run(60).told == []


def test_before_a_program_map_nothing_is_missed() -> None:
    watched = Watched(program=None).run(60)
    assert watched.told == []
    assert watched.health.snapshot().packets_sampled > 0


def test_another_program_map_starts_afresh() -> None:
    watched = Watched().run(20)
    watched.source.video = False
    watched.run(4)
    watched.program = attrs.evolve(TV, program=2)
    assert watched.run(4).told == []
    watched.program = RADIO
    assert watched.run(30).told == []


def test_pauses_of_a_source_are_no_content_fault() -> None:
    """Six seconds of video in one go, then nothing for six."""
    watched = Watched(attrs.evolve(ALL_ON, window=5.0)).run(120, step=6.0, burst=150)
    assert watched.told == []
    assert watched.health.snapshot().bitrate == pytest.approx(94_000, rel=0.05)


def test_a_long_silence_is_the_stall_timers() -> None:
    watched = Watched().run(20)
    watched.now += 60
    watched.source.video = False
    watched.run(2)
    watched.source.video = True
    assert watched.run(10).told == []


def test_a_still_picture_has_a_running_clock() -> None:
    watched = Watched()
    watched.source.size = 10
    assert watched.run(60).told == []


def test_jumps_of_the_clock_are_counted_and_not_taken_for_time() -> None:
    watched = Watched().run(20)
    for offset in (5 * 10**10, 10, 2**33 * 300 - 30 * 27_000_000):
        watched.source.offset = offset
        watched.run(10)
    condition = watched.health.snapshot()
    assert condition.clock_jumps == 3
    assert condition.pace == pytest.approx(1, abs=0.1)
    watched.run(20)
    assert watched.health.snapshot().clock_jumps == 3, "wrapping round is none"
    assert watched.health.media == pytest.approx(70, abs=2)


# bitrate


def test_the_bitrate_of_a_source_that_starves_us() -> None:
    """The media is fast enough; what arrives of it is not."""
    watched = Watched(HealthLimits(bitrate=62_500, grace=0)).run(40, step=0.1)
    assert watched.faults == [ContentFault.LOW_BITRATE]
    assert watched.health.snapshot().pace == pytest.approx(0.4, abs=0.03)
    media_bitrate = watched.health.snapshot().media_bitrate
    assert media_bitrate is not None
    assert media_bitrate > 80_000


def test_the_bitrate_of_media_that_arrives_too_fast() -> None:
    """A burst at the start hides a picture that hardly moves from the clock on the wall only."""
    source = FaultySource(size=300)
    watched = Watched(HealthLimits(bitrate=62_500, grace=0), source=source).run(40, step=0.01)
    condition = watched.health.snapshot()
    assert condition.bitrate is not None
    assert condition.bitrate > 62_500
    assert watched.faults == [ContentFault.LOW_BITRATE]


@pytest.mark.parametrize(
    ("grace", "windows", "expected"), [(0, 1, 5), (0, 3, 15), (10, 3, 25), (12, 3, 30), (10, 1, 15)]
)
def test_windows_and_grace(grace: float, windows: int, expected: float) -> None:
    limits = HealthLimits(bitrate=62_500, grace=grace, windows=windows, window=5)
    watched = Watched(limits, source=FaultySource(size=300)).run(29 if expected < 29 else 33)
    assert watched.faults == [ContentFault.LOW_BITRATE]
    assert watched.after(0) == pytest.approx(expected, abs=1.3)


def test_windows_must_follow_on_each_other() -> None:
    watched = Watched(HealthLimits(bitrate=62_500, grace=0))
    for _ in range(6):
        watched.source.size = 300
        watched.run(8)
        watched.source.size = 3000
        watched.run(10.4)
    assert watched.told == []


def test_the_media_bitrate_does_not_depend_on_how_the_bytes_are_cut() -> None:
    watched = Watched(HealthLimits(window=1))
    for step, units in ((0.3, 1), (0.3, 50), (0.5, 50)):
        watched.now += step
        watched.take(b"".join(watched.source.unit() for _ in range(units)))
    media_bitrate = watched.health.snapshot().media_bitrate
    assert media_bitrate == pytest.approx(len(FaultySource().unit()) / STEP, rel=0.01)


# for the stall timer


@pytest.mark.parametrize("step", [0.001, 0.01])
def test_what_a_burst_delivered_is_known_when_it_is_over(step: float) -> None:
    """Six seconds of video in less time than lies between two looks, or little more."""
    watched = Watched()
    watched.run(150 * step, step=step)
    assert watched.health.measure_media() == pytest.approx(6, abs=0.1)
    seen = watched.health.snapshot().packets_sampled
    assert watched.health.measure_media() == pytest.approx(6, abs=0.1)
    assert watched.health.snapshot().packets_sampled == seen, "nothing is looked at twice"
    watched.run(10)
    assert watched.health.measure_media() == pytest.approx(16, abs=0.1)


# readings for suspicion


def test_readings_are_of_their_period() -> None:
    watched = Watched().run(60)
    first = watched.health.trend_reading(watched.now)
    assert first.bitrate == pytest.approx(94_000, rel=0.05)
    assert first.longest_pause == pytest.approx(STEP)
    assert first.errors == 0
    assert first.pace == pytest.approx(1, abs=0.02)
    watched.now += 2
    watched.source.damaged = 1
    watched.run(58)
    second = watched.health.trend_reading(watched.now)
    assert second.longest_pause == pytest.approx(2 + STEP)
    assert second.errors > 100
    assert second.bitrate < first.bitrate
    watched.source.damaged = 0
    assert watched.run(10).health.trend_reading(watched.now).errors == 0


def test_only_a_sample_is_looked_at() -> None:
    watched = Watched().run(60)
    looks = watched.health.snapshot().packets_sampled / 20
    assert looks <= 60 / SAMPLE_INTERVAL + 1
    assert looks >= 0.9 * 60 / (SAMPLE_INTERVAL + STEP)


@given(st.lists(st.tuples(st.floats(0, 20), st.binary(max_size=187 * 6)), max_size=40))
def test_anything(pieces: list[tuple[float, bytes]]) -> None:
    health, now = ContentHealth(ALL_ON, 0), 0.0
    for passes, data in pieces:
        now += passes
        packets = b"".join(b"G" + data[at : at + 187].ljust(187, b"\xff") for at in range(0, len(data), 187))
        health.packets_received(now, packets, TV)
        assert attrs.asdict(health.snapshot())
        assert health.trend_reading(now).bitrate >= 0
