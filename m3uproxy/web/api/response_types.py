"""What answers look like: one type for each JSON object that the API sends.

The type checker holds the code to them, and ``/openapi.json`` is made from them. ``Annotated`` carries what a name
does not say.

What the answers about the proxy as a whole look like; see :mod:`m3uproxy.web.api.response_types`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

Text = dict[str, str]
Count = Annotated[int, Field(ge=0)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Message = Annotated[str, Field(description="For people.")]


class Error(TypedDict):
    """What went wrong."""

    detail: Message


class FieldError(TypedDict):
    """One thing that is wrong with a request."""

    type: str
    loc: Annotated[list[str | int], Field(description="`body` or `query`, then the way to the field.")]
    msg: Message
    input: Annotated[object, Field(description="What was sent.")]
    ctx: NotRequired[dict[str, object]]


class ValidationErrors(TypedDict):
    """All that is wrong with a request."""

    detail: list[FieldError]


class HealthObject(TypedDict):
    """What the source in use brings, as far as it is looked at. Times are seconds, rates bytes per second."""

    fault: Annotated[str | None, Field(description="What is wrong now; docs/failover.md lists what may be.")]
    signs: Annotated[list[str], Field(description="That it is about to break, as of the last review.")]
    bytes_received: Count
    packets_sampled: Count
    transport_errors: Annotated[Count, Field(description="Sampled packets that are flagged as damaged.")]
    continuity_errors: Annotated[Count, Field(description="Breaks of the counter of sampled pictures.")]
    scrambled_packets: Count
    clock_jumps: Count
    seconds_without_video: Annotated[float | None, Field(description="Null if no pictures are announced.")]
    seconds_same_picture: float | None
    bitrate: Annotated[float | None, Field(description="What arrived in the last window.")]
    media_bitrate: Annotated[float | None, Field(description="Per second of the stream's own clock.")]
    pace: Annotated[float | None, Field(description="Seconds of the stream's own clock per second.")]
    low_windows: Annotated[Count, Field(description="Windows on end with too low a bitrate.")]


class SourceObject(TypedDict):
    """How a source has behaved."""

    index: Annotated[Count, Field(description="0 is the primary, 1 the first backup.")]
    in_use: bool
    failures: Count
    last_cause: str | None
    quarantine_seconds: Annotated[float, Field(ge=0, description="For which it stays behind the others.")]


class StreamObject(TypedDict):
    """A registered stream."""

    stream_id: str
    original_url: str
    current_url: Annotated[str | None, Field(description="The URL in use, or the one that is asked next.")]
    user_agent: str
    client_count: Annotated[Count, Field(description="Players that are connected now.")]
    total_bytes_served: Count
    total_segments_served: Count
    error_count: Annotated[Count, Field(description="Failures of sources.")]
    is_active: bool
    has_failover: bool
    failover_urls: list[str]
    failover_resolver_url: str | None
    current_failover_index: Annotated[Count, Field(description="0 is the primary, 1 the first backup.")]
    failover_attempts: Count
    last_failover_time: Time | None
    stream_type: Annotated[str, Field(description="Live Continuous, HLS, VOD or Transcoding.")]
    created_at: Time
    last_access: Time
    metadata: Text
    headers: Annotated[Text, Field(description="Sent to the provider; credentials show as `***`.")]
    health: Annotated[HealthObject | None, Field(description="Null if none delivers, or it is not looked at.")]
    sources: list[SourceObject]


class ClientObject(TypedDict):
    """A player that is connected."""

    client_id: str
    stream_id: str
    user_agent: str
    ip_address: str
    username: str | None
    bytes_served: Count
    segments_served: Count
    created_at: Time
    last_access: Time
    is_connected: bool


class Totals(TypedDict):
    """The numbers that clients call `stats`."""

    total_streams: Count
    active_streams: Annotated[Count, Field(description="Streams with at least one player.")]
    total_clients: Count
    active_clients: Count
    total_bytes_served: Count
    total_segments_served: Count
    uptime_seconds: Count


class Created(TypedDict):
    """A stream that was registered, and where it plays."""

    stream_id: str
    primary_url: str
    failover_urls: list[str]
    user_agent: str
    stream_type: Annotated[str, Field(description="direct or hls.")]
    stream_endpoint: Annotated[str, Field(description="Path to play, without the prefix.")]
    playlist_url: str
    direct_url: str
    message: Message
    metadata: NotRequired[Text]


class StreamList(TypedDict):
    """All streams."""

    streams: list[StreamObject]
    total: Count


class StreamDetail(TypedDict):
    """One stream and its players."""

    stream: StreamObject
    clients: list[ClientObject]
    client_count: Count


class Done(TypedDict):
    """It is done."""

    message: Message


class FailedOver(TypedDict):
    """Where a stream stands now."""

    message: Message
    new_url: str
    failover_index: Count
    failover_attempts: Count
    active_clients: Count
    stream_type: str


TimelineEntry = TypedDict(
    "TimelineEntry",
    {
        "number": Annotated[int, Field(ge=1, description="Counts the decisions about a stream.")],
        "time": Time,
        "from": Annotated[str | None, Field(description="The URL that was left; what may be secret of it is cut.")],
        "from_index": Annotated[int | None, Field(description="Its index, as current_failover_index counts.")],
        "to": Annotated[str | None, Field(description="The URL that was chosen, null for none.")],
        "to_index": int | None,
        "cause": Message,
        "measured": Annotated[dict[str, float], Field(description="What the decision rests on.")],
        "lost_bytes": int | None,
        "lost_ms": Annotated[float | None, Field(description="0 if it went on exactly; null if that is not known.")],
        "bridged_ms": Annotated[float | None, Field(description="How long nothing came.")],
    },
)


class StreamTimeline(TypedDict):
    """The last decisions about a stream's sources, oldest first."""

    stream_id: str
    timeline: list[TimelineEntry]


class Filter(TypedDict):
    """What was asked for."""

    field: str
    value: str


class Match(TypedDict):
    """A stream whose metadata matches."""

    stream_id: str
    client_count: Count
    metadata: Text
    last_access: Time
    is_active: bool
    url: str
    stream_type: str


class Matches(TypedDict):
    """The streams whose metadata matches."""

    filter: Filter
    active_only: bool
    matching_streams: list[Match]
    total_matching: Count
    total_clients: Count


class Counts(TypedDict):
    """Streams for each value, 0 included."""

    field: str
    counts: dict[str, Count]


class Skipped(TypedDict):
    """A stream that matches and was spared."""

    stream_id: str
    reason: Annotated[str, Field(description="excluded_by_channel_id or has_active_clients.")]
    active_clients: NotRequired[Count]


class Deleted(TypedDict):
    """The streams that are gone, and those that were spared."""

    message: Message
    deleted_streams: list[str]
    skipped_streams: list[Skipped]
    deleted_count: Count


class DeletedOldest(TypedDict):
    """The stream that is gone, if any matched."""

    message: Message
    deleted_stream: str | None
    stream_age_seconds: NotRequired[float]
    deleted_count: Count


class ConnectionTested(TypedDict):
    """Whether a URL answered, in words and with the status or the error."""

    success: bool
    message: Message
    url_tested: str
    status_code: NotRequired[int]
    error: NotRequired[str]


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
