"""Content of a source: is there video, does it move, can it be decoded, is it fast enough?

Bytes alone prove nothing. Providers send PAT and PMT without video, the same picture for ever, an encrypted channel, or
a trickle. All of this shows in the packets. One run of packets is sampled every :data:`SAMPLE_INTERVAL` seconds
(:mod:`m3uproxy.core.mpegts.sampler`), at a cost of at most 0.1 ms per second of a stream. While video is missing, every
run is sampled, because the video may be in the others.

Requirements of each fault, and its default (:class:`HealthLimits`):

========================  ========================================================  =====
video gone                announced and seen before, not seen for 5 s and twice     on: there is no harmless reason
                          the usual distance of pictures
video missing             announced, not seen in the first 10 s, its sound is       on: the viewer has a black screen
frozen                    the same PTS, seen four times or more, for 5 s            on: a still has a running PTS
scrambled                 was clear in this body, has not been for 3 s              on: players cannot decode it
transport errors          5 % of packets flagged damaged, in 3 windows in a row     on: a tuner without reception
continuity                more breaks than allowed, in 3 windows in a row           off: some multiplexers count
                                                                                    wrongly, and play well
low bitrate               under the limit in 3 windows in a row, after a grace      off: radio and night scenes are slow
========================  ========================================================  =====

The bitrate is the lower of two: bytes that arrive per second of time, and bytes per second of the stream's own clock
(PCR). The first is low if the provider is too slow. The second is also low if the picture hardly moves. A window ends
with the first sample after its time, so that a source that delivers in bursts is not judged by its pauses. No other
fault counts time without packets: :mod:`m3uproxy.core.health.silence` does.

The usual distance is the longest of the last :data:`_LEARNED_DISTANCES` ones between sampled pictures. So a channel of
stills, with one picture in ten seconds, is no fault, and moving pictures that stop are. If only one picture has come,
the distance is unknown and the limit is four times as long.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

import attrs

from ..mpegts.psi import ProgramMap
from ..mpegts.sampler import PCR_RATE, PCR_WRAP, PacketSample, PacketSampler
from ..mpegts.timestamps import TICKS, ahead
from .trend import TrendReading

#: Seconds between two samples.
SAMPLE_INTERVAL = 0.25
#: Seconds after which a fault that persists is reported again.
REPORT_INTERVAL = 30.0
#: Seconds without video in any sample after which every run is sampled.
_VIDEO_OVERDUE = 1.0
#: Samples with the same PTS from which on the picture is frozen.
_FROZEN_SAMPLES = 4
#: Distances between sampled pictures that are remembered. Moving pictures replace them in two seconds.
_LEARNED_DISTANCES = 8
#: Distances between timestamps above this number of seconds are jumps of the timeline.
_LONGEST_DISTANCE = 30.0
#: Factor on ``video_gone`` while only one picture has come.
_FIRST_PICTURE_FACTOR = 4
#: The clock jumps if it advances by more than twice the time that passed, plus these seconds.
_JUMP = 10.0


class ContentFault(Enum):
    """A fault in the content. Logs and statistics show the value."""

    VIDEO_GONE = "video gone"
    VIDEO_MISSING = "video missing"
    FROZEN = "picture frozen"
    SCRAMBLED = "scrambled"
    TRANSPORT_ERRORS = "transport errors"
    CONTINUITY = "continuity errors"
    LOW_BITRATE = "low bitrate"


@attrs.frozen
class HealthLimits:
    """
    The limits from which on something is a fault; 0 switches a fault off. See the docstring of the module.

    :ivar video_gone: seconds; so are ``video_missing``, ``frozen`` and ``scrambled``.
    :ivar transport_errors: share of the packets, from 0 to 1.
    :ivar continuity: continuity errors per video packet.
    :ivar bitrate: bytes per second (``MIN_BITRATE_THRESHOLD`` with ``ENABLE_BITRATE_MONITORING``).
    :ivar window: seconds of a window (``BITRATE_CHECK_INTERVAL``).
    :ivar windows: bad windows in a row that make a fault (``BITRATE_FAILOVER_THRESHOLD``).
    :ivar grace: seconds from the start in which windows do not count (``BITRATE_MONITORING_GRACE_PERIOD``).
    """

    video_gone: float = 5.0
    video_missing: float = 10.0
    frozen: float = 5.0
    scrambled: float = 3.0
    transport_errors: float = 0.05
    continuity: float = 0.0
    bitrate: float = 0.0
    window: float = 5.0
    windows: int = 3
    grace: float = 10.0


@attrs.frozen
class HealthSnapshot:
    """The measurements of a body, for statistics and timeline. Times are in seconds, rates in bytes per second."""

    fault: str | None
    bytes_received: int
    packets_sampled: int
    transport_errors: int
    continuity_errors: int
    scrambled_packets: int
    clock_jumps: int
    seconds_without_video: float | None
    seconds_same_picture: float | None
    bitrate: float | None
    media_bitrate: float | None
    pace: float | None
    low_windows: int


@attrs.define
class SampleWindow:
    """
    Counts of one body since ``began`` (monotonic seconds).

    :ivar media: seconds by which the stream's clock has advanced, over ``media_bytes`` bytes.
    :ivar breaks: continuity errors.
    :ivar longest_pause: the longest time between two runs of packets, in seconds.
    """

    began: float
    bytes: int = 0
    packets: int = 0
    video: int = 0
    errors: int = 0
    breaks: int = 0
    media: float = 0.0
    media_bytes: int = 0
    longest_pause: float = 0.0

    def add(self, sample: PacketSample) -> None:
        """Add the counts of a sample."""
        self.packets += sample.packets
        self.video += sample.video
        self.errors += sample.errors
        self.breaks += sample.breaks

    def rate(self, now: float) -> float | None:
        """Return the bytes that arrived per second; None for an empty window."""
        return self.bytes / (now - self.began) if now > self.began else None

    def media_rate(self) -> float | None:
        """Return the bytes per second of the stream's clock; None if no clock was seen."""
        return self.media_bytes / self.media if self.media else None

    def pace(self, now: float) -> float | None:
        """Return the seconds of the stream's clock that arrived per second: 1 for real time, None if unknown."""
        return self.media / (now - self.began) if self.media and now > self.began else None


class ContentHealth:
    """
    The health of one body. Each body needs a new object, because measurements of one source do not apply to another.

    :ivar media: seconds by which the stream's clock has advanced in the samples.
    :ivar fault: the present fault.
    """

    def __init__(self, limits: HealthLimits, now: float) -> None:
        """Begin with a body whose first packets arrive at ``now`` (monotonic seconds, as all times here)."""
        self._limits = limits
        self._began = self._last = self._due = now
        self._program: ProgramMap | None = None
        self._sampler = PacketSampler(None)
        self._total = SampleWindow(now)
        self._window = SampleWindow(now)
        self._trend_window = SampleWindow(now)
        self._windows = (self._total, self._window, self._trend_window)
        self._streaks = dict.fromkeys(
            (ContentFault.TRANSPORT_ERRORS, ContentFault.CONTINUITY, ContentFault.LOW_BITRATE), 0
        )
        self._rates: tuple[float | None, float | None, float | None] = (None, None, None)
        self._scrambled = self._jumps = 0
        self._reported_at = float("-inf")
        self.media = 0.0
        self.fault: ContentFault | None = None
        self._sampled_at = now
        self._clock: tuple[int, int, float] | None = None
        self._reset_video()

    def _reset_video(self) -> None:
        """Forget the video of the last program."""
        self._delivery_time = 0.0
        self._video_at: float | None = None
        self._has_audio = False
        self._pts: int | None = None
        self._pts_since = 0.0
        self._same_pts = 0
        self._distances: deque[float] = deque(maxlen=_LEARNED_DISTANCES)
        self._was_clear = False
        self._scrambled_since: float | None = None

    def packets_received(self, now: float, packets: bytes, program: ProgramMap | None) -> ContentFault | None:
        """
        Take the next whole packets of the body.

        :param program: the PMT in force.
        :return: a fault when it begins, and every :data:`REPORT_INTERVAL` seconds while it persists.
        """
        size = len(packets)
        pause, self._last = now - self._last, now
        for window in self._windows:
            window.bytes += size
            if pause > window.longest_pause:
                window.longest_pause = pause
        if now < self._due or not size:
            return None
        self._sample(now, packets, program)
        self._due = now if self._is_video_overdue() else now + SAMPLE_INTERVAL
        return self._report(now)

    def trend_reading(self, now: float) -> TrendReading:
        """Return the measurements since the last call, for :mod:`m3uproxy.core.health.trend`."""
        window = self._trend_window
        self._trend_window = SampleWindow(now)
        self._windows = (self._total, self._window, self._trend_window)
        return TrendReading(
            window.rate(now) or 0.0, window.longest_pause, window.errors + window.breaks, window.pace(now)
        )

    def snapshot(self) -> HealthSnapshot:
        """Return the measurements so far."""
        total = self._total
        expected = self._sampler.video_expected
        bitrate, media_bitrate, pace = self._rates
        return HealthSnapshot(
            fault=self.fault.value if self.fault is not None else None,
            bytes_received=total.bytes,
            packets_sampled=total.packets,
            transport_errors=total.errors,
            continuity_errors=total.breaks,
            scrambled_packets=self._scrambled,
            clock_jumps=self._jumps,
            seconds_without_video=self._delivery_time - (self._video_at or 0.0) if expected else None,
            seconds_same_picture=self._delivery_time - self._pts_since if self._pts is not None else None,
            bitrate=bitrate,
            media_bitrate=media_bitrate,
            pace=pace,
            low_windows=self._streaks[ContentFault.LOW_BITRATE],
        )

    # helpers

    def _sample(self, now: float, packets: bytes, program: ProgramMap | None) -> None:
        if program is not self._program:
            self._program = program
            self._sampler = PacketSampler(program)
            self._reset_video()
        # Time with packets: a pause counts as two sample intervals at most.
        self._delivery_time += min(now - self._sampled_at, 2 * SAMPLE_INTERVAL)
        self._sampled_at = now
        sample = self._sampler.sample(packets)
        for window in self._windows:
            window.add(sample)
        self._count_video(sample)
        if self._video_at is None and not self._has_audio:
            self._has_audio = self._sampler.has_audio(packets)
        for pcr, at in sample.clocks:
            self._count_clock(pcr, self._total.bytes - len(packets) + at, now)
        if now - self._window.began >= self._limits.window:
            self._end_window(now)

    def _is_video_overdue(self) -> bool:
        """Return whether every run must be sampled: slides between much audio are hardly ever in a sample."""
        if self._video_at is None:
            return self._has_audio and self._delivery_time >= _VIDEO_OVERDUE
        return self._delivery_time - self._video_at >= _VIDEO_OVERDUE

    def _count_video(self, sample: PacketSample) -> None:
        if not sample.video:
            return
        self._video_at = self._delivery_time
        self._scrambled += sample.scrambled
        if sample.scrambled * 2 <= sample.video:
            self._was_clear, self._scrambled_since = True, None
        elif self._scrambled_since is None:
            self._scrambled_since = self._delivery_time
        if sample.pts is None:
            return
        if sample.pts == self._pts:
            self._same_pts += 1
        else:
            if self._pts is not None:
                self._learn_distance(self._pts, sample.pts)
            self._pts, self._pts_since, self._same_pts = sample.pts, self._delivery_time, 1

    def _learn_distance(self, last_pts: int, pts: int) -> None:
        """Remember the distance of two pictures: by their arrival, or by their timestamps if they come in a burst."""
        presented = abs(ahead(pts, last_pts)) / TICKS
        arrived = self._delivery_time - self._pts_since
        self._distances.append(max(arrived, presented) if presented < _LONGEST_DISTANCE else arrived)

    def _longest_absence(self) -> float:
        """Return the seconds without a picture from which on the pictures are gone."""
        limit = self._limits.video_gone
        if self._pts is not None and not self._distances:
            return _FIRST_PICTURE_FACTOR * limit
        return max(limit, 2 * max(self._distances, default=0.0))

    def _count_clock(self, pcr: int, position: int, now: float) -> None:
        """Add the advance of the clock, and its bytes, to the windows. Leave out a jump."""
        last, self._clock = self._clock, (pcr, position, now)
        if last is None:
            return
        seconds = (pcr - last[0]) % PCR_WRAP / PCR_RATE
        if seconds > _JUMP + 2 * (now - last[2]):
            self._jumps += 1
            return
        self.media += seconds
        for window in self._windows:
            window.media += seconds
            window.media_bytes += position - last[1]

    def _end_window(self, now: float) -> None:
        window, limits = self._window, self._limits
        rates = self._rates = window.rate(now), window.media_rate(), window.pace(now)
        self._window = SampleWindow(now)
        self._windows = (self._total, self._window, self._trend_window)
        if window.began - self._began < limits.grace:
            return
        lowest = min((rate for rate in rates[:2] if rate is not None), default=limits.bitrate)
        bad = {
            ContentFault.TRANSPORT_ERRORS: _exceeds(window.errors, window.packets, limits.transport_errors),
            ContentFault.CONTINUITY: _exceeds(window.breaks, window.video, limits.continuity),
            ContentFault.LOW_BITRATE: lowest < limits.bitrate,
        }
        for fault, is_bad in bad.items():
            self._streaks[fault] = self._streaks[fault] + 1 if is_bad else 0

    def _report(self, now: float) -> ContentFault | None:
        before, self.fault = self.fault, self._judge()
        if self.fault is None or (self.fault is before and now - self._reported_at < REPORT_INTERVAL):
            return None
        self._reported_at = now
        return self.fault

    def _judge(self) -> ContentFault | None:
        """Return the gravest present fault."""
        fault = self._judge_video() if self._sampler.video_expected else None
        if fault is not None:
            return fault
        enough = max(1, self._limits.windows)
        return next((fault for fault, streak in self._streaks.items() if streak >= enough), None)

    def _judge_video(self) -> ContentFault | None:
        limits, seconds = self._limits, self._delivery_time
        if self._video_at is None:
            return ContentFault.VIDEO_MISSING if self._has_audio and 0 < limits.video_missing <= seconds else None
        if limits.video_gone > 0 and self._longest_absence() <= seconds - self._video_at:
            return ContentFault.VIDEO_GONE
        since = self._scrambled_since
        if self._was_clear and since is not None and 0 < limits.scrambled <= seconds - since:
            return ContentFault.SCRAMBLED
        if self._same_pts >= _FROZEN_SAMPLES and 0 < limits.frozen <= seconds - self._pts_since:
            return ContentFault.FROZEN
        return None


def _exceeds(count: int, of: int, limit: float) -> bool:
    """Return whether a share reaches its limit. Without a limit (0) or counts, it does not."""
    return bool(limit and of) and count / of >= limit
