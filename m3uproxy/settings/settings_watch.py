"""Settings about what is watched of a source, and when it is left (docs/failover.md)."""

from __future__ import annotations

from pydantic import BaseModel

from .settings_kinds import Seconds, Share, Whole, limited, one_of, seconds


class WatchSettings(BaseModel):
    """Times are seconds."""

    #: Whether what sources bring is looked at: pictures, encryption, errors, bitrate.
    content_checks: bool = one_of(True, "true or false")
    #: Announced pictures that stop coming are a fault after this, and after twice this if none ever came.
    video_gone_seconds: Seconds = seconds(5)
    #: The same picture for so long, while bytes flow, is a fault. So are the next three. Of each, 0 switches it off.
    video_frozen_seconds: Seconds = seconds(5)
    #: Encryption that sets in, after this.
    scrambled_seconds: Seconds = seconds(3)
    #: Part of the packets that are flagged as damaged, and breaks per packet of pictures, in some windows on end.
    max_transport_errors: Share = limited(0.05, 0, 1, "a number")
    max_continuity_errors: Share = limited(0, 0, 1, "a number")

    #: Whether a bitrate (bytes per second) below the threshold is a fault.
    enable_bitrate_monitoring: bool = one_of(False, "true or false")
    min_bitrate_threshold: Share = limited(62_500, 0, 1_000_000_000, "bytes per second")
    #: A window; how many of them on end make a fault; and for how long none counts after the start. Damage and breaks
    #: are judged by the same windows.
    bitrate_check_interval: Seconds = seconds(5, 0.5)
    bitrate_failover_threshold: Whole = limited(3, 1, 1000)
    bitrate_monitoring_grace_period: Seconds = seconds(10)

    #: How often a source in use is summed up and a better place is looked for; 0 for never.
    health_interval: Seconds = seconds(60, 0, 86_400)
    #: Whether a source that is about to break is left for another one.
    leave_suspect_sources: bool = one_of(False, "true or false")
    #: How long the source in use must have run, and a better one not have failed, to move back; 0 for never.
    failback_seconds: Seconds = seconds(0, 0, 604_800)
    #: Whether the next backup is asked for a moment in each interval. The provider then sees two connections.
    probe_backups: bool = one_of(False, "true or false")

    #: Whether all streams are strict: a silent source is given up after, and stays behind the others for, these.
    strict_live_ts: bool = one_of(False, "true or false")
    strict_live_ts_circuit_breaker_timeout: Seconds = seconds(2, 0, 3600)
    strict_live_ts_circuit_breaker_cooldown: Seconds = seconds(60, 0, 86_400)


#: A stream takes these when it is registered, or registered again; the others count for the next body of a source.
WATCH_FOR_NEW_STREAMS = "failback_seconds strict_live_ts strict_live_ts_circuit_breaker_cooldown".split()
