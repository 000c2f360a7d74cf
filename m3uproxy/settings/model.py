"""What an operator can set: one frozen object with every field, its default and its limits.

Settings about what is watched of a source, and when it is left (docs/failover.md).

Tables of the TOML file: settings that are more than a value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_state_path
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..core.slots.accounts import ProviderEntry
from ..log import LogLevel
from . import field_types as checks
from .field_types import Bytes, Seconds, Share, UnusableValue, Whole, Words, limited, one_of, seconds
from .field_types import each as _each
from .field_types import limited as _limited
from .field_types import of_bytes as _bytes
from .field_types import one_of as _one_of
from .field_types import seconds as _seconds


class ProviderTable(BaseModel):
    """A ``[[provider]]`` table; see :class:`m3uproxy.core.slots.accounts.ProviderEntry`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1)
    hosts: tuple[str, ...] = ()
    account: str | None = Field(None, repr=False)
    max_connections: int | None = Field(None, ge=0)

    @property
    def entry(self) -> ProviderEntry:
        """The same without the means to check it."""
        return ProviderEntry(self.name, self.hosts, self.account, self.max_connections)

    @model_validator(mode="after")
    def _fits_something(self) -> ProviderTable:
        if not self.hosts and self.account is None:
            raise UnusableValue("one has neither hosts nor account")
        return self


def each_named_once(tables: tuple[ProviderTable, ...]) -> tuple[ProviderTable, ...]:
    """The tables, if none has the name of another."""
    if len({table.name for table in tables}) < len(tables):
        raise UnusableValue("two of them have the same name")
    return tables


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


LagPolicy = Literal["skip", "evict"]
PrivateUpstreams = Literal["api", "always", "never"]

KIB = 1024
MIB = 1024 * KIB

#: Settings of which an empty value says something; of all others it means that they are not set.
EMPTY_SAYS_SOMETHING = frozenset({"root_path", "redoc_url", "openapi_url"})
#: What only the TOML file can say: a variable of that name is somebody else's.
ONLY_IN_FILE = frozenset({"provider"})
#: Settings that are read once, when the daemon starts; a reload leaves them as they are.
NEED_RESTART = frozenset(
    "config_file listen host port root_path private_upstreams player_url_lifetime request_timeout redoc_url openapi_url"
    " state_dir tick slot_wait slot_takeover vod_cache_bytes hls_host_connections".split()
)
#: Settings that a stream takes when it is registered; a reload changes them for streams that come later.
FOR_NEW_STREAMS = frozenset(
    "default_user_agent default_connection_timeout first_byte_timeout live_chunk_timeout_seconds"
    " stream_retry_attempts stream_retry_delay stream_retry_exponential_backoff max_failover_attempts"
    " stream_total_timeout linger ring_seconds ring_bytes join_seconds join_wait lag_policy carry_on_agents"
    " viewer_stall_timeout start_timeout vod_stall_timeout vod_pause_limit provider".split()
    + WATCH_FOR_NEW_STREAMS
)


class Settings(WatchSettings):
    """Every setting that exists. Times are seconds, sizes bytes.

    Objects keep it and read it where they need a value: only so does a reload reach them.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, validate_default=True, hide_input_in_errors=True)

    #: A TOML file with settings, read below everything else.
    config_file: Path | None = _one_of(None, "the path of a TOML file")
    #: Twisted endpoints to listen on, instead of host and port.
    listen: Annotated[Words, _each(checks.endpoint)] = _one_of(
        (), "endpoints that begin with tcp:, tcp6:, ssl:, unix: or systemd:, as in tcp:8085:interface=127.0.0.1"
    )
    #: Address to listen on: an IPv4 or IPv6 address, or a host name.
    host: Annotated[str, AfterValidator(checks.host)] = _one_of("0.0.0.0", "an IPv4 or IPv6 address or a host name")
    #: TCP port to listen on; 0 takes any free one.
    port: Whole = _limited(8085, 0, 65535)
    log_level: LogLevel = _one_of("info", "one of debug, info, warning, error, critical")
    #: Prefix that is accepted in front of every path, for a reverse proxy that does not strip it.
    root_path: Annotated[str, AfterValidator(checks.prefix)] = _one_of(
        "/m3u-proxy", "empty, or segments that each begin with '/' as in /m3u-proxy"
    )
    #: The management API asks for it; ``None`` leaves the API to this machine and private networks.
    api_token: SecretStr | None = _one_of(None, "printable text")
    #: Names by which the API may be asked for, besides addresses, localhost and names without a dot; ``*`` allows all.
    allowed_hosts: Annotated[Words, _each(checks.allowed_host)] = _one_of((), "host names, separated by commas, or *")
    #: Origins (``https://editor.example``) whose web pages may use the API.
    cors_origins: Annotated[Words, _each(checks.origin)] = _one_of(
        (), "origins as in https://editor.example:8080, separated by commas"
    )
    #: Reverse proxies whose ``X-Forwarded-*`` headers are believed.
    trusted_proxies: Annotated[Words, _each(checks.network)] = _one_of(
        ("127.0.0.1", "::1"), "addresses and networks as in 10.0.0.0/8, separated by commas, or none"
    )
    #: Where the proxy is reached from outside, prefix included; empty for what the request says.
    public_url: Annotated[str, AfterValidator(checks.public_url)] = _one_of(
        "", "a URL without user and query as in https://tv.example/m3u-proxy"
    )
    #: Whether providers (and redirects) may lie in loopback and private networks: ``api`` allows what is registered
    #: through the API and refuses to be led there from outside.
    private_upstreams: PrivateUpstreams = _one_of("api", "one of api, always, never")
    #: How long the URLs of players stay valid that ``POST /streams`` answers; 0 leaves them unsigned.
    player_url_lifetime: Seconds = _seconds(0, high=31_536_000)
    #: Registered streams; 0 for no limit.
    max_streams: Whole = _limited(2000, 0, 1_000_000)
    #: Players of one stream, and of all streams from one address; 0 for no limit.
    max_viewers_per_stream: Whole = _limited(0, 0, 1_000_000)
    max_viewers_per_address: Whole = _limited(0, 0, 1_000_000)
    #: Requests with a wrong token that one address may send per second.
    max_failed_tokens: Whole = _limited(5, 1, 1000)
    #: A request, head and body, is complete within this, and a connection idles no longer between requests.
    request_timeout: Seconds = _seconds(30, 1, 3600)
    #: How long viewers are served on when the daemon is told to stop.
    shutdown_timeout: Seconds = _seconds(0, 0, 300)
    #: Paths of the generated documentation; empty switches it off.
    redoc_url: Annotated[str, AfterValidator(checks.page)] = _one_of("/redoc", "empty or a path as in /redoc")
    openapi_url: Annotated[str, AfterValidator(checks.page)] = _one_of(
        "/openapi.json", "empty or a path as in /openapi.json, other than REDOC_URL"
    )
    #: The one folder that is written to.
    state_dir: Path = Field(
        default_factory=lambda: user_state_path("m3uproxy"), json_schema_extra={"allowed": "the path of a folder"}
    )

    #: How long a stream that nobody plays stays registered; 0 for ever.
    stream_timeout: Seconds = _seconds(60, high=31_536_000)
    #: Sent to providers for streams that were registered without a user agent of their own.
    default_user_agent: Annotated[str, AfterValidator(checks.printable)] = _one_of(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/115.0.0.0 Safari/537.36",
        "printable ASCII text",
    )
    #: Until the provider's TCP connection stands.
    default_connection_timeout: Seconds = _seconds(4, 0.1, 300)
    #: From there until the response head.
    first_byte_timeout: Seconds = _seconds(6, 0.1, 300)
    #: Silence after which a live source counts as stalled; 0 for an hour.
    live_chunk_timeout_seconds: Seconds = _seconds(3, 0, 3600)
    #: A player that asked for a stream is answered within this, with video or with an error.
    start_timeout: Seconds = _seconds(20, 1, 300)
    #: Accounts and how many connections each allows (TOML only): name, hosts, account, max_connections.
    provider: Annotated[tuple[ProviderTable, ...], AfterValidator(each_named_once)] = _one_of(
        (), "tables [[provider]], each with a name of its own and hosts or account, and max_connections"
    )
    #: How long a stream waits for a free connection of its provider account.
    slot_wait: Seconds = _seconds(3, 0, 60)
    #: Whether who plays something new ends what he alone was watching when the account has no other connection.
    slot_takeover: bool = _one_of(True, "true or false")
    #: Laps over all sources of a stream before it is given up.
    stream_retry_attempts: Whole = _limited(3, 0, 1000)
    #: Pause between two laps.
    stream_retry_delay: Seconds = _seconds(1.0, 0, 300)
    #: Each pause between two laps is half as long again as the one before.
    stream_retry_exponential_backoff: bool = _one_of(False, "true or false")
    #: Changes to another source within one outage; 0 for no limit.
    max_failover_attempts: Whole = _limited(0, 0, 1000, "a whole number")
    #: The longest an outage may last; 0 leaves only the number of laps.
    stream_total_timeout: Seconds = _seconds(30, 0, 86_400)
    #: Whether players get empty packets while sources are changed and nothing comes.
    bridge_with_nulls: bool = _one_of(False, "true or false")
    #: How long the provider's connection is kept after the last player left.
    linger: Seconds = _seconds(0)

    #: How much of a stream is held for its viewers: in seconds of video, and in bytes.
    ring_seconds: Seconds = _seconds(10, 1, 600)
    ring_bytes: Bytes = _bytes(32 * MIB, MIB, 4096 * MIB)
    #: The same over all streams together.
    ring_total_bytes: Bytes = _bytes(512 * MIB, 16 * MIB, 65536 * MIB)
    #: How far behind the live edge a player starts, so that its own buffer fills at once. The default is no more than
    #: ``ring_seconds``, see :meth:`_join_within_the_ring`.
    join_seconds: Seconds = Field(
        default=3,
        validate_default=False,
        json_schema_extra={"allowed": "seconds from 0 to 600, and no more than RING_SECONDS"},
    )
    #: How long a first player waits for a random access point before it gets what there is.
    join_wait: Seconds = _seconds(2, 0, 60)
    #: A viewer that fell out of the ring skips to where a joiner would start, or is evicted.
    lag_policy: LagPolicy = _one_of("skip", "one of skip, evict")
    #: Players that go on when another source has other codecs: words of their User-Agent, as in VLC, GStreamer. All
    #: others are disconnected, to begin anew.
    carry_on_agents: Words = _one_of((), "words of User-Agents, separated by commas")
    #: A viewer whose connection took nothing for this long is evicted.
    viewer_stall_timeout: Seconds = _seconds(120, 1, 86_400)
    #: Silence after which the source of a film counts as stalled, while its player wants more.
    vod_stall_timeout: Seconds = _seconds(10, 0.1, 3600)
    #: How long the player of a film may pause.
    vod_pause_limit: Seconds = _seconds(14_400, 60, 604_800)
    #: How much of the beginnings and ends of films is kept, over all films.
    vod_cache_bytes: Bytes = _bytes(64 * MIB, 0, 65536 * MIB)
    #: SO_SNDBUF of a viewer's connection.
    send_buffer: Bytes = _bytes(512 * KIB, 16 * KIB, 64 * MIB)
    #: HLS: what is kept of all streams together, and the most that one segment or playlist may have.
    hls_cache_bytes: Bytes = _bytes(256 * MIB, 4 * MIB, 65536 * MIB)
    hls_resource_bytes: Bytes = _bytes(64 * MIB, MIB, 4096 * MIB)
    #: HLS: a source begins, from its first answer on, where its redirects led.
    use_sticky_session: bool = False
    #: HLS: fetch the newest segment of a live playlist before a player asks for it.
    hls_prefetch: bool = False
    #: HLS as one transport stream: bit/s that the variant should not exceed; 0 for the best.
    hls_join_bandwidth: Whole = _limited(0, 0, 1_000_000_000)
    #: HLS: connections to one host of a provider.
    hls_host_connections: Whole = _limited(8, 1, 1000)
    #: How long pieces are gathered before they are read or sent together.
    tick: Seconds = _seconds(0.08, 0.005, 1)
    #: Write to the sockets of plain viewers without the reactor's buffer in between.
    direct_write: bool = _one_of(True, "true or false")

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return () if value == "none" else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _normalise_level(cls, level: object) -> object:
        level = level.lower() if isinstance(level, str) else level
        return "warning" if level == "warn" else level

    @field_validator("api_token")
    @classmethod
    def _check_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None or not token.get_secret_value():
            return None
        if not token.get_secret_value().isprintable():
            raise ValueError("not printable")
        return token

    @field_validator("state_dir", "config_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # twistd may change its directory when it becomes a daemon.
        return None if path is None else checks.home(path).absolute()

    @field_validator("join_seconds")
    @classmethod
    def _within_the_ring(cls, seconds: float, others: ValidationInfo) -> float:
        if not 0 <= seconds <= 600:
            raise ValueError("not a time")
        ring = others.data.get("ring_seconds", seconds)
        if seconds > ring:
            raise checks.SettingConflict("ring_seconds", ring)
        return seconds

    @field_validator("openapi_url")
    @classmethod
    def _two_pages(cls, path: str, others: ValidationInfo) -> str:
        if path and path == others.data.get("redoc_url"):
            raise checks.SettingConflict("redoc_url", path)
        return path

    @property
    def providers(self) -> tuple[ProviderEntry, ...]:
        """What connections are counted by."""
        return tuple(table.entry for table in self.provider)

    @model_validator(mode="after")
    def _join_within_the_ring(self) -> Settings:
        """Whoever sets the ring alone has the start follow it."""
        if "join_seconds" not in self.model_fields_set:
            self.__dict__["join_seconds"] = min(self.join_seconds, self.ring_seconds)
        return self
