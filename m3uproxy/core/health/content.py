"""Whether a source that delivers is worth watching: video there, moving, readable, fast enough.

Bytes that flow are no proof. Providers send a table of contents without the picture, the same picture for ever, an
encrypted channel, or a trickle. All of this can be read off the packets. One run of packets is looked at every
:data:`SAMPLE_INTERVAL` seconds (:mod:`m3uproxy.core.mpegts.sampler`), which costs 0.1 ms per second of a stream at
most; while video is missed every run is, for it may come in the others.

What each fault needs, and why it is on or off by default (:class:`HealthLimits`):

========================  ========================================================  =====
video gone                announced and seen before, not seen for 5 s               on: there is no harmless reason
video missing             announced, not seen in the first 10 s, its sound is       on: the viewer has a black screen
frozen                    the same PTS, seen four times or more, for 5 s            on: a still has a running PTS
scrambled                 was clear in this body, has not been for 3 s              on: nobody can decode it
transport errors          5 % of packets flagged damaged, in 3 windows on end       on: a tuner without reception
continuity                more breaks than allowed, in 3 windows on end             off: some multiplexers count
                                                                                    wrongly, and play all the same
low bitrate               under the limit in 3 windows on end, after a grace        off: radio and night scenes are slow
========================  ========================================================  =====

The bitrate is the lower of two: what arrives per second of time, and what a second of the stream's own clock (PCR)
takes. The first is low when a provider starves us, the second also tells a picture that hardly moves. A window ends
with the first sample after its time, so that a source that delivers in bursts is not judged by its pauses; and
nothing else here counts time in which nothing came: that is :mod:`m3uproxy.core.health.silence`'s.

Counts over some seconds of one body.
"""

from __future__ import annotations

from enum import Enum

import attrs

from ..mpegts.packets import PACKET_SIZE
from ..mpegts.psi import ProgramMap
from ..mpegts.sampler import MAX_PACKETS, PCR_RATE, PCR_WRAP, PacketSample, PacketSampler
from .trend import TrendReading


@attrs.define
class SampleWindow:
    """Counts since ``began``; ``media`` is how far the stream's clock went, over ``media_bytes``."""

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
        """Count what was sampled."""
        self.packets += sample.packets
        self.video += sample.video
        self.errors += sample.errors
        self.breaks += sample.breaks

    def rate(self, now: float) -> float | None:
        """Bytes that arrived, per second."""
        return self.bytes / (now - self.began) if now > self.began else None

    def media_rate(self) -> float | None:
        """Bytes per second of the stream's clock."""
        return self.media_bytes / self.media if self.media else None

    def pace(self, now: float) -> float | None:
        """Seconds of the stream's clock that arrived, per second; 1 if it keeps up."""
        return self.media / (now - self.began) if self.media and now > self.began else None


def exceeds(count: int, of: int, limit: float) -> bool:
    """Whether a part reaches its limit; never if there is no limit (0) or nothing was counted."""
    return bool(limit and of) and count / of >= limit


#: Seconds between two looks.
SAMPLE_INTERVAL = 0.25
#: Seconds after which a fault that goes on is told again.
REPORT_INTERVAL = 30.0
#: Seconds without video in any sample after which every run is looked at.
_MISSED = 1.0
#: How often a PTS must have been seen to be called frozen.
_SIGHTINGS = 4
#: Bytes of a run that a look takes in.
_LOOKED_AT = MAX_PACKETS * PACKET_SIZE
#: A step of the stream's clock beyond this many seconds more than twice the time that passed is a jump.
_JUMP = 10.0


class ContentFault(Enum):
    """What is wrong with the content; the value is what logs and statistics show."""

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
    From where on something is a fault; 0 switches it off. See the module's text.

    :ivar video_gone: seconds; so are ``video_missing``, ``frozen`` and ``scrambled``.
    :ivar transport_errors: part of the packets; ``continuity``: breaks per video packet.
    :ivar bitrate: bytes per second (``MIN_BITRATE_THRESHOLD`` with ``ENABLE_BITRATE_MONITORING``).
    :ivar window: seconds of a window (``BITRATE_CHECK_INTERVAL``).
    :ivar windows: on end that make a fault (``BITRATE_FAILOVER_THRESHOLD``).
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
    """All that is known of a body, for statistics and for the timeline. Times are seconds, rates bytes per second."""

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


class ContentHealth:
    """Judges one body. Make a new one for each: nothing of the last source applies to the next."""

    def __init__(self, limits: HealthLimits, now: float) -> None:
        """A body begins at ``now`` (monotonic seconds, as all times here)."""
        self._limits = limits
        self._began = self._last = self._due = now
        self._program: ProgramMap | None = None
        self._examiner = PacketSampler(None)
        self._total = SampleWindow(now)
        self._window = SampleWindow(now)
        self._period = SampleWindow(now)
        self._windows = (self._total, self._window, self._period)
        self._streaks = dict.fromkeys(
            (ContentFault.TRANSPORT_ERRORS, ContentFault.CONTINUITY, ContentFault.LOW_BITRATE), 0
        )
        self._rates: tuple[float | None, float | None, float | None] = (None, None, None)
        self._scrambled = self._jumps = 0
        self._told = float("-inf")
        self.media = 0.0
        self.fault: ContentFault | None = None
        self._sampled_at = now
        self._clock: tuple[int, int, float] | None = None
        self._unseen = b""
        self._watch_video()

    def _watch_video(self) -> None:
        """Nothing is known of the video of this program."""
        self._flow = 0.0
        self._video_at: float | None = None
        self._sound = False
        self._pts: int | None = None
        self._pts_at = 0.0
        self._sightings = 0
        self._was_clear = False
        self._scrambled_at: float | None = None

    def packets_received(self, now: float, packets: bytes, program: ProgramMap | None) -> ContentFault | None:
        """
        Take the next whole packets of the body.

        :param program: the PMT in force.
        :return: a fault when it sets in, and every :data:`REPORT_INTERVAL` seconds while it goes on.
        """
        size = len(packets)
        pause, self._last = now - self._last, now
        for window in self._windows:
            window.bytes += size
            if pause > window.longest_pause:
                window.longest_pause = pause
        if now < self._due or not size:
            self._unseen = packets or self._unseen
            return None
        self._look(now, packets, program)
        self._unseen = packets[max(_LOOKED_AT, size - _LOOKED_AT) :]
        self._due = now if self._misses_video() else now + SAMPLE_INTERVAL
        return self._tell(now)

    def measure_media(self) -> float:
        """How far the stream's clock went so far, in seconds, for :mod:`m3uproxy.core.health.silence`.

        Looks at the last packets that came, which a burst that has just ended left unseen.
        """
        if self._unseen:
            self._look(self._last, self._unseen, self._program)
        return self.media

    def trend_reading(self, now: float) -> TrendReading:
        """What happened since the last call, for :mod:`m3uproxy.core.health.trend`."""
        period = self._period
        self._period = SampleWindow(now)
        self._windows = (self._total, self._window, self._period)
        return TrendReading(
            period.rate(now) or 0.0, period.longest_pause, period.errors + period.breaks, period.pace(now)
        )

    def snapshot(self) -> HealthSnapshot:
        """A snapshot."""
        total = self._total
        expected = self._examiner.video_expected
        bitrate, media_bitrate, pace = self._rates
        return HealthSnapshot(
            fault=self.fault.value if self.fault is not None else None,
            bytes_received=total.bytes,
            packets_sampled=total.packets,
            transport_errors=total.errors,
            continuity_errors=total.breaks,
            scrambled_packets=self._scrambled,
            clock_jumps=self._jumps,
            seconds_without_video=self._flow - (self._video_at or 0.0) if expected else None,
            seconds_same_picture=self._flow - self._pts_at if self._pts is not None else None,
            bitrate=bitrate,
            media_bitrate=media_bitrate,
            pace=pace,
            low_windows=self._streaks[ContentFault.LOW_BITRATE],
        )

    # inside

    def _look(self, now: float, packets: bytes, program: ProgramMap | None) -> None:
        if program is not self._program:
            self._program = program
            self._examiner = PacketSampler(program)
            self._watch_video()
        # Time in which packets came: pauses count as two looks at most.
        self._unseen = b""
        self._flow += min(now - self._sampled_at, 2 * SAMPLE_INTERVAL)
        self._sampled_at = now
        sample = self._examiner.sample(packets)
        for window in self._windows:
            window.add(sample)
        self._note_video(sample)
        if self._video_at is None and not self._sound:
            self._sound = self._examiner.has_audio(packets)
        for pcr, at in sample.clocks:
            self._note_clock(pcr, self._total.bytes - len(packets) + at, now)
        if now - self._window.began >= self._limits.window:
            self._end_window(now)

    def _misses_video(self) -> bool:
        """Whether to look at every run, until it comes: slides between much sound are hardly ever in a sample."""
        if self._video_at is None:
            return self._sound and self._flow >= _MISSED
        return self._flow - self._video_at >= _MISSED

    def _note_video(self, sample: PacketSample) -> None:
        if not sample.video:
            return
        self._video_at = self._flow
        self._scrambled += sample.scrambled
        if sample.scrambled * 2 <= sample.video:
            self._was_clear, self._scrambled_at = True, None
        elif self._scrambled_at is None:
            self._scrambled_at = self._flow
        if sample.pts is None:
            return
        if sample.pts == self._pts:
            self._sightings += 1
        else:
            self._pts, self._pts_at, self._sightings = sample.pts, self._flow, 1

    def _note_clock(self, pcr: int, position: int, now: float) -> None:
        """Let the windows know how far the clock went, and over how many bytes; not over a jump."""
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
        self._windows = (self._total, self._window, self._period)
        if window.began - self._began < limits.grace:
            return
        lowest = min((rate for rate in rates[:2] if rate is not None), default=limits.bitrate)
        bad = {
            ContentFault.TRANSPORT_ERRORS: exceeds(window.errors, window.packets, limits.transport_errors),
            ContentFault.CONTINUITY: exceeds(window.breaks, window.video, limits.continuity),
            ContentFault.LOW_BITRATE: lowest < limits.bitrate,
        }
        for fault, is_bad in bad.items():
            self._streaks[fault] = self._streaks[fault] + 1 if is_bad else 0

    def _tell(self, now: float) -> ContentFault | None:
        before, self.fault = self.fault, self._judge()
        if self.fault is None or (self.fault is before and now - self._told < REPORT_INTERVAL):
            return None
        self._told = now
        return self.fault

    def _judge(self) -> ContentFault | None:
        """The gravest of the faults that there are."""
        fault = self._judge_video() if self._examiner.video_expected else None
        if fault is not None:
            return fault
        enough = max(1, self._limits.windows)
        return next((one for one, streak in self._streaks.items() if streak >= enough), None)

    def _judge_video(self) -> ContentFault | None:
        limits, flow = self._limits, self._flow
        if self._video_at is None:
            return ContentFault.VIDEO_MISSING if self._sound and 0 < limits.video_missing <= flow else None
        if 0 < limits.video_gone <= flow - self._video_at:
            return ContentFault.VIDEO_GONE
        since = self._scrambled_at
        if self._was_clear and since is not None and 0 < limits.scrambled <= flow - since:
            return ContentFault.SCRAMBLED
        if self._sightings >= _SIGHTINGS and 0 < limits.frozen <= flow - self._pts_at:
            return ContentFault.FROZEN
        return None
