"""The rules by which the source of a stream is monitored, from the settings and the registration."""

from __future__ import annotations

import attrs

from ..core.health.content import HealthLimits
from ..settings import Settings
from .spec import StreamSpec

#: Seconds of silence that end a source if ``LIVE_CHUNK_TIMEOUT_SECONDS`` is 0: no body is without a limit.
MAX_SILENCE = 3600.0


@attrs.frozen
class MonitorRules:
    """
    The rules for one body.

    :ivar silence: seconds without media after which the body is stalled; 0 for no limit.
    :ivar lone_silence: the same if the stream has no other source to go to. Then the source is not left: it is dialled
        again beside the open body if a connection is free, and the body is closed after twice this time. None if
        ``silence`` holds for such a stream, too.
    :ivar limits: limits of the content checks; None for no checks.
    :ivar interval: seconds between two failback reviews; 0 for no reviews.
    :ivar leave_suspect: leave a source that shows signs of failing soon.
    :ivar probe: probe the next backup in each review.
    :ivar exact: allow no longer silence than ``silence``, whatever the source is used to.
    """

    silence: float = 3.0
    limits: HealthLimits | None = attrs.field(factory=HealthLimits)
    interval: float = 60.0
    leave_suspect: bool = False
    probe: bool = False
    lone_silence: float | None = None
    exact: bool = False

    def with_pause(self, seconds: float) -> MonitorRules:
        """Return the rules for a body that may pause for some seconds, in addition to the silence that is allowed."""
        return self if self.exact or not seconds else attrs.evolve(self, silence=self.silence + seconds)


def is_strict(settings: Settings, spec: StreamSpec) -> bool:
    """Return whether a stream leaves a silent source sooner and avoids it for longer, by setting or registration."""
    return settings.strict_live_ts or spec.strict_live_ts


def monitor_rules(settings: Settings, spec: StreamSpec) -> MonitorRules:
    """Return the rules for the next body of a stream. A silence that the operator has set holds exactly."""
    silence, is_given = settings.live_chunk_timeout_seconds, "live_chunk_timeout_seconds" in settings.model_fields_set
    strict = is_strict(settings, spec)
    if strict:
        silence, is_given = settings.strict_live_ts_circuit_breaker_timeout, True
    return MonitorRules(
        silence=silence or MAX_SILENCE,
        exact=strict and silence > 0,
        limits=health_limits(settings) if settings.content_checks and spec.content_checks else None,
        interval=settings.health_interval,
        leave_suspect=settings.leave_suspect_sources,
        probe=settings.probe_backups,
        lone_silence=None if is_given else max(silence, settings.join_seconds),
    )


def health_limits(settings: Settings) -> HealthLimits:
    """Return the limits beyond which content counts as faulty."""
    return HealthLimits(
        video_gone=settings.video_gone_seconds,
        video_missing=2 * settings.video_gone_seconds,
        frozen=settings.video_frozen_seconds,
        scrambled=settings.scrambled_seconds,
        transport_errors=settings.max_transport_errors,
        continuity=settings.max_continuity_errors,
        bitrate=settings.min_bitrate_threshold if settings.enable_bitrate_monitoring else 0.0,
        window=settings.bitrate_check_interval,
        windows=settings.bitrate_failover_threshold,
        grace=settings.bitrate_monitoring_grace_period,
    )
