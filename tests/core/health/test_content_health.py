"""Content faults: the threshold of each, in streams with the fault and in streams that only resemble them."""

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
class HealthRig:
    """A source and its content health on simulated time, with the faults reported."""

    limits: HealthLimits = attrs.field(factory=HealthLimits)
    source: FaultySource = attrs.field(factory=FaultySource)
    program: ProgramMap | None = TV
    now: float = 100.0
    reported: list[tuple[float, ContentFault]] = attrs.field(factory=list)
    health: ContentHealth = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.health = ContentHealth(self.limits, self.now)

    def run(self, seconds: float, step: float = STEP, burst: int = 1) -> HealthRig:
        for _ in range(round(seconds / step)):
            self.now += step
            self.take(b"".join(self.source.unit() for _ in range(burst)))
        return self

    def take(self, packets: bytes) -> None:
        fault = self.health.packets_received(self.now, packets, self.program)
        if fault is not None:
            self.reported.append((self.now - 100.0, fault))

    @property
    def faults(self) -> list[ContentFault]:
        return [fault for _, fault in self.reported]

    def after(self, moment: float) -> float:
        """Return the seconds from ``moment`` until the only report of a fault."""
        assert len(self.reported) == 1
        return self.reported[0][0] - moment


BREAK: dict[ContentFault, Callable[[FaultySource], None]] = {
    ContentFault.VIDEO_GONE: lambda source: setattr(source, "video", False),
    ContentFault.FROZEN: lambda source: setattr(source, "frozen", True),
    ContentFault.SCRAMBLED: lambda source: setattr(source, "scrambled", True),
    ContentFault.TRANSPORT_ERRORS: lambda source: setattr(source, "damaged", 2),
    ContentFault.CONTINUITY: lambda source: setattr(source, "skip", True),
    ContentFault.LOW_BITRATE: lambda source: setattr(source, "size", 300),
}
ALL_ON = HealthLimits(continuity=0.01, bitrate=62_500)


def test_healthy_stream_has_no_fault() -> None:
    rig = HealthRig(ALL_ON).run(60)
    assert rig.reported == []
    condition = rig.health.snapshot()
    assert condition.fault is None
    assert condition.pace == pytest.approx(1, abs=0.02)
    assert condition.bitrate == pytest.approx(20 * 188 / STEP, rel=0.05)
    assert condition.media_bitrate == pytest.approx(condition.bitrate, rel=0.05)
    assert condition.continuity_errors == condition.transport_errors == condition.scrambled_packets == 0
    assert rig.health.media == pytest.approx(60, abs=0.5)


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
def test_fault_is_reported_once_and_in_time(fault: ContentFault, low: float, high: float) -> None:
    rig = HealthRig(ALL_ON).run(20)
    BREAK[fault](rig.source)
    rig.run(25)
    assert rig.faults == [fault]
    assert low <= rig.after(20) <= high
    assert rig.health.snapshot().fault == fault.value


@pytest.mark.parametrize("fault", BREAK)
def test_fault_without_default_limit_is_not_reported(fault: ContentFault) -> None:
    rig = HealthRig().run(20)
    BREAK[fault](rig.source)
    rig.run(30)
    off = fault in (ContentFault.CONTINUITY, ContentFault.LOW_BITRATE)
    assert rig.faults == ([] if off else [fault])


@pytest.mark.parametrize("fault", BREAK)
def test_each_fault_can_be_switched_off(fault: ContentFault) -> None:
    limits = HealthLimits(video_gone=0, video_missing=0, frozen=0, scrambled=0, transport_errors=0)
    rig = HealthRig(limits).run(20)
    BREAK[fault](rig.source)
    rig.run(40)
    assert rig.reported == []
    condition = rig.health.snapshot()
    seen = {
        ContentFault.VIDEO_GONE: condition.seconds_without_video,
        ContentFault.FROZEN: condition.seconds_same_picture,
        ContentFault.SCRAMBLED: condition.scrambled_packets,
        ContentFault.TRANSPORT_ERRORS: condition.transport_errors,
        ContentFault.CONTINUITY: condition.continuity_errors,
        ContentFault.LOW_BITRATE: 62_500 - (condition.bitrate or 0),
    }[fault]
    assert seen
    assert seen > 10, "shown in the snapshot, too"


def test_persisting_fault_is_reported_again_and_ended_fault_is_forgotten() -> None:
    rig = HealthRig().run(20)
    rig.source.video = False
    rig.run(5 + 2 * REPORT_INTERVAL + 1)
    assert rig.faults == [ContentFault.VIDEO_GONE] * 3
    rig.source.video = True
    rig.run(10)
    assert rig.health.fault is None
    assert rig.health.snapshot().fault is None


@pytest.mark.parametrize("fault", BREAK)
def test_short_disturbance_is_no_fault(fault: ContentFault) -> None:
    rig = HealthRig(ALL_ON).run(20)
    BREAK[fault](rig.source)
    rig.run(2.5)
    rig.source = FaultySource(mux=rig.source.mux, number=rig.source.number)
    assert rig.run(30).reported == []


# streams that only resemble a faulty one


def test_radio_without_video_has_no_fault() -> None:
    rig = HealthRig(program=RADIO, source=FaultySource(video=False)).run(60)
    assert rig.reported == []
    assert rig.health.snapshot().seconds_without_video is None


def test_announced_video_that_never_arrives_is_a_fault() -> None:
    rig = HealthRig(source=FaultySource(video=False)).run(20)
    assert rig.faults == [ContentFault.VIDEO_MISSING]
    assert 10 <= rig.after(0) <= 10.6


@pytest.mark.parametrize("every", [25, 50, 100])
def test_rare_slides_between_audio_are_video(every: int) -> None:
    """A picture in every one to four seconds is hardly ever in a sample, but it arrives."""
    rig = HealthRig()
    for number in range(60 * 25):
        rig.source.video = number % every == 0
        rig.run(STEP)
    assert rig.reported == []


def stills(rig: HealthRig, pictures: int, distance: float) -> HealthRig:
    """Send one picture in ``distance`` seconds, between continuous sound."""
    units = round(distance / STEP)
    for number in range(pictures * units):
        rig.source.video = number % units == 0
        rig.run(STEP)
    rig.source.video = False
    return rig


@pytest.mark.parametrize("distance", [6, 10, 15])
def test_stills_that_always_came_seldom_are_no_fault(distance: float) -> None:
    rig = stills(HealthRig(), 8, distance)
    assert rig.reported == []
    assert rig.health.snapshot().fault is None


@pytest.mark.parametrize("distance", [6, 10, 15])
def test_stills_that_stop_are_gone_after_twice_their_distance(distance: float) -> None:
    rig = stills(HealthRig(), 4, distance).run(3 * distance)
    assert rig.faults == [ContentFault.VIDEO_GONE]
    assert rig.after(3 * distance) == pytest.approx(2 * distance, abs=0.6)


def test_stills_that_come_in_a_burst_are_known_by_their_timestamps() -> None:
    rig = HealthRig()
    for _ in range(3):
        rig.source.video = True
        rig.run(SAMPLE_INTERVAL, step=SAMPLE_INTERVAL)
        rig.source.video = False
        rig.run(SAMPLE_INTERVAL, step=SAMPLE_INTERVAL, burst=250)
    assert stills(rig, 3, 10).reported == []


def test_moving_pictures_after_stills_are_gone_after_the_usual_time() -> None:
    rig = stills(HealthRig(), 4, 10)
    rig.source.video = True
    rig.run(5)
    rig.source.video = False
    rig.run(20)
    assert rig.faults == [ContentFault.VIDEO_GONE]
    assert rig.after(45) == pytest.approx(5, abs=0.6)


def test_single_picture_that_is_the_last_one_is_a_fault() -> None:
    rig = stills(HealthRig(), 1, 30)
    assert rig.faults == [ContentFault.VIDEO_GONE]
    assert rig.after(0) == pytest.approx(20, abs=0.6)


def test_announced_program_without_packets_is_no_fault() -> None:
    """A filter for one program often keeps the tables of all. The first one need not be the one that is sent."""
    other = ProgramMap(2, 0x300, (ElementaryStream(ts.H264, 0x300, b""), ElementaryStream(ts.AAC, 0x301, b"")))
    rig = HealthRig(program=other).run(60)
    assert rig.reported == []
    condition = rig.health.snapshot()
    assert condition.seconds_without_video is not None
    assert condition.packets_sampled < 60 / SAMPLE_INTERVAL * 25, "the cost is that of other streams"


def test_stream_scrambled_from_the_start_is_no_fault() -> None:
    assert HealthRig(source=FaultySource(scrambled=True)).run(60).reported == []


def test_no_fault_before_a_program_map() -> None:
    rig = HealthRig(program=None).run(60)
    assert rig.reported == []
    assert rig.health.snapshot().packets_sampled > 0


def test_new_program_map_resets_the_video() -> None:
    rig = HealthRig().run(20)
    rig.source.video = False
    rig.run(4)
    rig.program = attrs.evolve(TV, program=2)
    assert rig.run(4).reported == []
    rig.program = RADIO
    assert rig.run(30).reported == []


def test_pauses_between_bursts_are_no_fault() -> None:
    """Six seconds of video in one burst, then six seconds of silence."""
    rig = HealthRig(attrs.evolve(ALL_ON, window=5.0)).run(120, step=6.0, burst=150)
    assert rig.reported == []
    assert rig.health.snapshot().bitrate == pytest.approx(94_000, rel=0.05)


def test_long_silence_is_no_content_fault() -> None:
    rig = HealthRig().run(20)
    rig.now += 60
    rig.source.video = False
    rig.run(2)
    rig.source.video = True
    assert rig.run(10).reported == []


def test_still_picture_with_running_pts_is_no_fault() -> None:
    rig = HealthRig()
    rig.source.size = 10
    assert rig.run(60).reported == []


def test_clock_jumps_are_counted_and_add_no_media_time() -> None:
    rig = HealthRig().run(20)
    for offset in (5 * 10**10, 10, 2**33 * 300 - 30 * 27_000_000):
        rig.source.offset = offset
        rig.run(10)
    condition = rig.health.snapshot()
    assert condition.clock_jumps == 3
    assert condition.pace == pytest.approx(1, abs=0.1)
    rig.run(20)
    assert rig.health.snapshot().clock_jumps == 3, "a wrap is no jump"
    assert rig.health.media == pytest.approx(70, abs=2)


# bitrate


def test_low_bitrate_of_a_source_slower_than_real_time() -> None:
    """The media bitrate is high enough; the bytes arrive too slowly."""
    rig = HealthRig(HealthLimits(bitrate=62_500, grace=0)).run(40, step=0.1)
    assert rig.faults == [ContentFault.LOW_BITRATE]
    assert rig.health.snapshot().pace == pytest.approx(0.4, abs=0.03)
    media_bitrate = rig.health.snapshot().media_bitrate
    assert media_bitrate is not None
    assert media_bitrate > 80_000


def test_low_media_bitrate_of_a_source_faster_than_real_time() -> None:
    """A burst at the start hides a low bitrate from the time of day, but not from the stream's clock."""
    source = FaultySource(size=300)
    rig = HealthRig(HealthLimits(bitrate=62_500, grace=0), source=source).run(40, step=0.01)
    condition = rig.health.snapshot()
    assert condition.bitrate is not None
    assert condition.bitrate > 62_500
    assert rig.faults == [ContentFault.LOW_BITRATE]


@pytest.mark.parametrize(
    ("grace", "windows", "expected"), [(0, 1, 5), (0, 3, 15), (10, 3, 25), (12, 3, 30), (10, 1, 15)]
)
def test_low_bitrate_needs_windows_after_the_grace(grace: float, windows: int, expected: float) -> None:
    limits = HealthLimits(bitrate=62_500, grace=grace, windows=windows, window=5)
    rig = HealthRig(limits, source=FaultySource(size=300)).run(29 if expected < 29 else 33)
    assert rig.faults == [ContentFault.LOW_BITRATE]
    assert rig.after(0) == pytest.approx(expected, abs=1.3)


def test_bad_windows_must_be_consecutive() -> None:
    rig = HealthRig(HealthLimits(bitrate=62_500, grace=0))
    for _ in range(6):
        rig.source.size = 300
        rig.run(8)
        rig.source.size = 3000
        rig.run(10.4)
    assert rig.reported == []


def test_media_bitrate_does_not_depend_on_run_boundaries() -> None:
    rig = HealthRig(HealthLimits(window=1))
    for step, units in ((0.3, 1), (0.3, 50), (0.5, 50)):
        rig.now += step
        rig.take(b"".join(rig.source.unit() for _ in range(units)))
    media_bitrate = rig.health.snapshot().media_bitrate
    assert media_bitrate == pytest.approx(len(FaultySource().unit()) / STEP, rel=0.01)


# readings for the trend


def test_trend_reading_covers_its_period() -> None:
    rig = HealthRig().run(60)
    first = rig.health.trend_reading(rig.now)
    assert first.bitrate == pytest.approx(94_000, rel=0.05)
    assert first.longest_pause == pytest.approx(STEP)
    assert first.errors == 0
    assert first.pace == pytest.approx(1, abs=0.02)
    rig.now += 2
    rig.source.damaged = 1
    rig.run(58)
    second = rig.health.trend_reading(rig.now)
    assert second.longest_pause == pytest.approx(2 + STEP)
    assert second.errors > 100
    assert second.bitrate < first.bitrate
    rig.source.damaged = 0
    assert rig.run(10).health.trend_reading(rig.now).errors == 0


def test_only_a_sample_is_examined() -> None:
    rig = HealthRig().run(60)
    looks = rig.health.snapshot().packets_sampled / 20
    assert looks <= 60 / SAMPLE_INTERVAL + 1
    assert looks >= 0.9 * 60 / (SAMPLE_INTERVAL + STEP)


@given(st.lists(st.tuples(st.floats(0, 20), st.binary(max_size=187 * 6)), max_size=40))
def test_any_packets_are_accepted(pieces: list[tuple[float, bytes]]) -> None:
    health, now = ContentHealth(ALL_ON, 0), 0.0
    for passes, data in pieces:
        now += passes
        packets = b"".join(b"G" + data[at : at + 187].ljust(187, b"\xff") for at in range(0, len(data), 187))
        health.packets_received(now, packets, TV)
        assert attrs.asdict(health.snapshot())
        assert health.trend_reading(now).bitrate >= 0
