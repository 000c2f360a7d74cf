"""What the answers about the proxy as a whole look like; see :mod:`m3uproxy.web.api.response_types`."""

from __future__ import annotations

from typing_extensions import TypedDict

from .response_types import ClientObject, Count, Message, StreamObject, Text, Time, Totals


class Clients(TypedDict):
    """All players."""

    total_clients: Count
    clients: list[ClientObject]


class StreamStats(TypedDict):
    """All streams."""

    total_streams: Count
    streams: list[StreamObject]


class ProviderSlots(TypedDict):
    """The connections of one provider account. Those that are asked for have their slot before their socket."""

    provider: str
    max_connections: int | None
    open_connections: Count
    slots_taken: Count
    waiting: Count


class Slots(TypedDict):
    """Connections to providers that are counted, and what happened to those who asked for one."""

    providers: list[ProviderSlots]
    granted: Count
    waited: Count
    taken_over: Count
    refused: Count
    forgotten: Count


class Stats(Totals):
    """The numbers, flat and nested, with all streams and players."""

    proxy_stats: Totals
    provider_slots: Slots
    streams: list[StreamObject]
    clients: list[ClientObject]


class FailoverStats(TypedDict):
    """How often sources were changed."""

    failover_attempts: Count
    streams_on_failover: Count


class ErrorStats(TypedDict):
    """How often sources failed."""

    error_count: Count


class DetailedStats(TypedDict):
    """Numbers by subject."""

    proxy_stats: Totals
    connection_pool_stats: dict[str, int]
    failover_stats: FailoverStats
    performance_metrics: dict[str, float]
    error_stats: ErrorStats
    stream_count: Count
    client_count: Count


class PerformanceStats(TypedDict):
    """Numbers by subject, and when they were taken."""

    connection_pool: dict[str, int]
    performance_metrics: dict[str, float]
    failover_stats: FailoverStats
    error_stats: ErrorStats
    timestamp: Time


class Running(TypedDict):
    """That the proxy runs."""

    status: str
    message: Message
    version: str
    uptime: Count
    stats: Totals


class Health(TypedDict):
    """That the proxy runs, with some numbers on top."""

    status: str
    root_path: str
    version: str
    uptime_seconds: Count
    active_streams: Count
    active_clients: Count
    total_bytes_served: Count
    stats: Totals


class Acceleration(TypedDict):
    """What transcoding runs on."""

    enabled: bool
    type: str
    device: str | None
    ffmpeg_args: list[str]


class Redis(TypedDict):
    """Sharing between several proxies. A password is never shown."""

    enabled: bool
    pooling_enabled: bool
    host: str | None
    port: int | None
    password: None
    db: int | None
    max_clients_per_stream: int | None
    stream_timeout: int | None
    sharing_strategy: str | None


class Transcoding(TypedDict):
    """Transcoding profiles by name."""

    enabled: bool
    profiles: Text


class Configuration(TypedDict):
    """Settings that controlling applications show. Times are seconds."""

    default_user_agent: str
    client_timeout: float
    stream_timeout: float
    cleanup_interval: float
    max_retries: Count


class Worker(TypedDict):
    """This process among several."""

    worker_id: str
    heartbeat_interval: int
    multi_worker_mode: bool


class Info(TypedDict):
    """What this proxy is and can do."""

    version: str
    ffmpeg_version: str | None
    streamlink_version: str | None
    ytdlp_version: str | None
    hardware_acceleration: Acceleration
    redis: Redis
    transcoding: Transcoding
    configuration: Configuration
    worker: Worker
