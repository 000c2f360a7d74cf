"""Settings of m3u-proxy that existing installations still set and that have no effect here.

They are no error in the TOML file. At its start, the daemon logs once that they have no effect, and why.
"""

from __future__ import annotations

from collections.abc import Mapping

_REASONS = {
    "nothing is transcoded so far": """
        enable_transcoding_pooling shared_stream_grace shared_stream_timeout stream_sharing_strategy
        max_clients_per_shared_stream change_buffer_chunks hls_temp_dir hls_wait_time hls_gc_enabled hls_gc_interval
        hls_gc_age_threshold hw_accel_available hw_accel_type hw_accel_device""",
    "networks (broadcasts) are not served so far": """
        hls_broadcast_dir dvr_recording_dir broadcast_gc_enabled broadcast_callback_timeout
        broadcast_max_start_retries broadcast_start_retry_window broadcast_start_retry_cooldown
        broadcast_start_failure_grace""",
    "VOD_STALL_TIMEOUT and VOD_PAUSE_LIMIT bound the silence of the provider and of the player of a film": """
        vod_read_timeout vod_write_timeout""",
    "a player of HLS counts until it has been silent for three target durations": "client_timeout",
    "pages are not resolved to streams so far": "streamlink_enabled ytdlp_enabled",
    "the sound of streams is not judged so far": """
        enable_silence_detection silence_threshold_db silence_duration silence_check_interval
        silence_failover_threshold silence_monitoring_grace_period""",
    "one process serves all streams, without Redis": """
        redis_enabled redis_host redis_port redis_server_port redis_db redis_password redis_url enable_redis_pooling
        worker_id heartbeat_interval""",
    "whole TS packets from a keyframe on are always sent, and JOIN_SECONDS of them at once": """
        strict_live_ts_prebuffer_size strict_live_ts_prebuffer_timeout""",
    "STREAM_RETRY_ATTEMPTS, STREAM_RETRY_DELAY and STREAM_TOTAL_TIMEOUT bound an outage": """
        default_max_retries default_backoff_factor
        default_retry_attempts default_retry_delay default_health_check_interval""",
    "FIRST_BYTE_TIMEOUT and LIVE_CHUNK_TIMEOUT_SECONDS bound the silence of a provider": "default_read_timeout",
    "VIEWER_STALL_TIMEOUT bounds the silence of a player": """
        live_tv_write_timeout enable_connection_idle_monitoring connection_idle_alert_threshold
        connection_idle_error_threshold""",
    "housekeeping needs no interval": "cleanup_interval",
    "the documentation is always at /docs": "docs_url",
    "STATE_DIR is the only folder that is written to": "temp_dir",
    "use --logfile of twistd": "log_file",
    "use LOG_LEVEL=debug": "app_debug",
    "restart the daemon after an update": "reload",
}

#: The reason why a setting has no effect, by its name.
NO_EFFECT: Mapping[str, str] = {name: reason for reason, names in _REASONS.items() for name in names.split()}


def no_effect_notes(names: set[str]) -> list[str]:
    """Return the notes on those of ``names`` that have no effect, one line for each reason."""
    lines = []
    for reason, words in _REASONS.items():
        given = [name.upper() for name in words.split() if name in names]
        if given:
            verb = "are set but have" if len(given) > 1 else "is set but has"
            lines.append(f"{', '.join(given)} {verb} no effect: {reason}")
    return lines
