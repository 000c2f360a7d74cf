"""What is watched of a stream's source: from the settings, and what the registration says."""

from __future__ import annotations

import attrs

from ..core.health.content import HealthLimits
from ..settings import Settings
from .spec import StreamSpec

#: Seconds of silence that end a source when the operator has switched the timer off: no body without a bound.
LONGEST_SILENCE = 3600.0


@attrs.frozen
class MonitorRules:
    """
    What is watched.

    :ivar silence: seconds without a packet after which a body is stalled; 0 for never.
    :ivar limits: for what it brings; None to look at nothing.
    :ivar interval: seconds between two reviews; 0 for none.
    :ivar leave_suspect: whether a source that is about to break is left.
    :ivar probe: whether the next backup is looked at in each review.
    """

    silence: float = 3.0
    limits: HealthLimits | None = attrs.field(factory=HealthLimits)
    interval: float = 60.0
    leave_suspect: bool = False
    probe: bool = False


def is_strict(settings: Settings, spec: StreamSpec) -> bool:
    """Whether a stream gives up a silent source sooner, and for longer; a stream cannot say no where all are strict."""
    return settings.strict_live_ts or spec.strict_live_ts


def monitor_rules(settings: Settings, spec: StreamSpec) -> MonitorRules:
    """The rules for the next body of a stream."""
    silence = settings.live_chunk_timeout_seconds
    if is_strict(settings, spec):
        silence = settings.strict_live_ts_circuit_breaker_timeout
    return MonitorRules(
        silence=silence or LONGEST_SILENCE,
        limits=limits(settings) if settings.content_checks and spec.content_checks else None,
        interval=settings.health_interval,
        leave_suspect=settings.leave_suspect_sources,
        probe=settings.probe_backups,
    )


def limits(settings: Settings) -> HealthLimits:
    """From where on what a source brings is a fault."""
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
