"""Types of all JSON objects that the API sends.

The type checker compares the code with these types, and ``/openapi.json`` is made from them. Their docstrings and the
descriptions in ``Annotated`` are part of the API's documentation.
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
    """An error."""

    detail: Message


class FieldError(TypedDict):
    """An invalid field of a request."""

    type: str
    loc: Annotated[list[str | int], Field(description="`body` or `query`, then the path to the field.")]
    msg: Message
    input: Annotated[object, Field(description="The value that was sent.")]
    ctx: NotRequired[dict[str, object]]


class ValidationErrors(TypedDict):
    """All invalid fields of a request."""

    detail: list[FieldError]


class HealthObject(TypedDict):
    """Content of the source in use, as sampled. Times are seconds, rates bytes per second."""

    fault: Annotated[str | None, Field(description="The current fault; docs/failover.md lists all faults.")]
    signs: Annotated[list[str], Field(description="Signs of degradation at the last review.")]
    bytes_received: Count
    packets_sampled: Count
    transport_errors: Annotated[Count, Field(description="Sampled packets that are flagged as damaged.")]
    continuity_errors: Annotated[Count, Field(description="Gaps of the continuity counter in sampled video packets.")]
    scrambled_packets: Count
    clock_jumps: Count
    seconds_without_video: Annotated[float | None, Field(description="Null if no pictures are announced.")]
    seconds_same_picture: float | None
    bitrate: Annotated[float | None, Field(description="Bitrate of the last window.")]
    media_bitrate: Annotated[float | None, Field(description="Bytes per second of the stream's own clock.")]
    pace: Annotated[float | None, Field(description="Seconds of the stream's own clock per second of real time.")]
    low_windows: Annotated[Count, Field(description="Consecutive windows with too low a bitrate.")]


class SourceObject(TypedDict):
    """A source of a stream with its failures."""

    index: Annotated[Count, Field(description="0 is the primary, 1 the first backup.")]
    in_use: bool
    failures: Count
    last_cause: str | None
    quarantine_seconds: Annotated[float, Field(ge=0, description="Remaining time for which it is tried last.")]


class StreamObject(TypedDict):
    """A registered stream."""

    stream_id: str
    original_url: str
    current_url: Annotated[str | None, Field(description="URL of the source in use, or of the next one.")]
    user_agent: str
    client_count: Annotated[Count, Field(description="Connected players.")]
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
    health: Annotated[HealthObject | None, Field(description="Null if no source delivers, or without content checks.")]
    sources: list[SourceObject]


class ClientObject(TypedDict):
    """A connected player."""

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
    """A registered stream and its paths."""

    stream_id: str
    primary_url: str
    failover_urls: list[str]
    user_agent: str
    stream_type: Annotated[str, Field(description="direct or hls.")]
    stream_endpoint: Annotated[str, Field(description="Path for players, without the prefix.")]
    playlist_url: str
    direct_url: str
    message: Message
    metadata: NotRequired[Text]


class StreamList(TypedDict):
    """All streams."""

    streams: list[StreamObject]
    total: Count


class StreamDetail(TypedDict):
    """A stream and its players."""

    stream: StreamObject
    clients: list[ClientObject]
    client_count: Count


class Done(TypedDict):
    """Confirmation."""

    message: Message


class FailedOver(TypedDict):
    """A stream after a failover."""

    message: Message
    new_url: str
    failover_index: Count
    failover_attempts: Count
    active_clients: Count
    stream_type: str


TimelineEntry = TypedDict(
    "TimelineEntry",
    {
        "number": Annotated[int, Field(ge=1, description="Number of the decision, counted per stream.")],
        "time": Time,
        "from": Annotated[str | None, Field(description="URL of the source that was left, without secrets.")],
        "from_index": Annotated[int | None, Field(description="Index of that source, as in current_failover_index.")],
        "to": Annotated[str | None, Field(description="URL of the chosen source; null if no source was chosen.")],
        "to_index": int | None,
        "cause": Message,
        "measured": Annotated[dict[str, float], Field(description="The measurements behind the decision.")],
        "lost_bytes": int | None,
        "lost_ms": Annotated[
            float | None, Field(description="Lost media time; 0 if nothing was lost, null if unknown.")
        ],
        "bridged_ms": Annotated[float | None, Field(description="Time without data.")],
    },
)


class StreamTimeline(TypedDict):
    """The last decisions about a stream's sources, oldest first."""

    stream_id: str
    timeline: list[TimelineEntry]


class Filter(TypedDict):
    """The filter of the request."""

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
    """Number of streams for each value, 0 included."""

    field: str
    counts: dict[str, Count]


class Skipped(TypedDict):
    """A stream that matches and was not deleted."""

    stream_id: str
    reason: Annotated[str, Field(description="excluded_by_channel_id or has_active_clients.")]
    active_clients: NotRequired[Count]


class Deleted(TypedDict):
    """The deleted streams, and the streams that were not deleted."""

    message: Message
    deleted_streams: list[str]
    skipped_streams: list[Skipped]
    deleted_count: Count


class DeletedOldest(TypedDict):
    """The deleted stream, if a stream matched."""

    message: Message
    deleted_stream: str | None
    stream_age_seconds: NotRequired[float]
    deleted_count: Count


class ConnectionTested(TypedDict):
    """Result of a URL check: a message, and the status or the error."""

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
    """The connections of a provider account. A connection takes its slot before its socket is open."""

    provider: str
    max_connections: int | None
    open_connections: Count
    slots_taken: Count
    waiting: Count


class Slots(TypedDict):
    """The counted connections to providers, and the results of the requests for slots."""

    providers: list[ProviderSlots]
    granted: Count
    waited: Count
    taken_over: Count
    refused: Count
    forgotten: Count


class Stats(Totals):
    """All numbers, flat and nested, with all streams and players."""

    proxy_stats: Totals
    provider_slots: Slots
    streams: list[StreamObject]
    clients: list[ClientObject]


class FailoverStats(TypedDict):
    """Number of changes of source."""

    failover_attempts: Count
    streams_on_failover: Count


class ErrorStats(TypedDict):
    """Number of failures of sources."""

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
    """Numbers about failures, with their time."""

    connection_pool: dict[str, int]
    performance_metrics: dict[str, float]
    failover_stats: FailoverStats
    error_stats: ErrorStats
    timestamp: Time


class Running(TypedDict):
    """State of the proxy."""

    status: str
    message: Message
    version: str
    uptime: Count
    stats: Totals


class Health(TypedDict):
    """State of the proxy, with the most used numbers at the top level."""

    status: str
    root_path: str
    version: str
    uptime_seconds: Count
    active_streams: Count
    active_clients: Count
    total_bytes_served: Count
    stats: Totals


class Acceleration(TypedDict):
    """Hardware of transcoding."""

    enabled: bool
    type: str
    device: str | None
    ffmpeg_args: list[str]


class Redis(TypedDict):
    """State shared between several proxies. The password is never shown."""

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
    """The worker process."""

    worker_id: str
    heartbeat_interval: int
    multi_worker_mode: bool


class Info(TypedDict):
    """Version, features and some settings of this proxy."""

    version: str
    ffmpeg_version: str | None
    streamlink_version: str | None
    ytdlp_version: str | None
    hardware_acceleration: Acceleration
    redis: Redis
    transcoding: Transcoding
    configuration: Configuration
    worker: Worker


class Webhook(TypedDict):
    """A URL that is told of events."""

    url: str
    events: list[str]
    timeout: int
    retry_attempts: int


class Webhooks(TypedDict):
    """All webhooks."""

    webhooks: list[Webhook]


class Broadcast(TypedDict):
    """A broadcast: a programme that the proxy makes of files or streams."""

    network_id: str
    status: str
    current_segment_number: Count
    started_at: Time
    stream_url: str
    ffmpeg_pid: int
    metadata: Text
    bytes_written: Count


class Broadcasts(TypedDict):
    """All broadcasts."""

    broadcasts: list[Broadcast]
    count: Count
