"""The settings of the daemon: a frozen object with every field, its default and its limits."""

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
from .field_types import (
    AllowedHosts,
    Bytes,
    Endpoints,
    Host,
    Networks,
    Origins,
    PagePath,
    PathPrefix,
    PrintableText,
    PublicUrl,
    Seconds,
    SettingConflict,
    Share,
    UnusableValue,
    Whole,
    Words,
    bytes_field,
    expand_home,
    number_field,
    seconds_field,
    switch_field,
    value_field,
)

LagPolicy = Literal["skip", "evict"]
PrivateUpstreams = Literal["api", "always", "never"]

KIB = 1024
MIB = 1024 * KIB

#: Settings for which an empty text is a value. For all others it means that they are not set.
EMPTY_IS_A_VALUE = frozenset({"root_path", "redoc_url", "openapi_url"})
#: Settings that are read from the TOML file only. An environment variable of that name belongs to another program.
ONLY_IN_FILE = frozenset({"provider"})
#: Settings that are read once, when the daemon starts. A reload does not change them.
NEED_RESTART = frozenset(
    "config_file listen host port root_path private_upstreams player_url_lifetime request_timeout redoc_url openapi_url"
    " state_dir tick slot_wait slot_takeover vod_cache_bytes hls_host_connections".split()
)
#: Settings that a stream reads when it is registered. A reload changes them for streams that are registered later.
FOR_NEW_STREAMS = frozenset(
    "default_user_agent default_connection_timeout first_byte_timeout live_chunk_timeout_seconds"
    " stream_retry_attempts stream_retry_delay stream_retry_exponential_backoff max_failover_attempts"
    " stream_total_timeout linger ring_seconds ring_bytes join_seconds join_wait lag_policy carry_on_agents"
    " viewer_stall_timeout start_timeout vod_stall_timeout vod_pause_limit provider verify_tls"
    " failback_seconds strict_live_ts strict_live_ts_circuit_breaker_cooldown".split()
)


class ProviderTable(BaseModel):
    """A ``[[provider]]`` table of the TOML file; see :class:`m3uproxy.core.slots.accounts.ProviderEntry`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1)
    hosts: tuple[str, ...] = ()
    account: str | None = Field(None, repr=False)
    max_connections: int | None = Field(None, ge=0)
    verify_tls: bool | None = None

    @property
    def entry(self) -> ProviderEntry:
        """The provider as ``core`` knows it, without validation."""
        return ProviderEntry(self.name, self.hosts, self.account, self.max_connections, self.verify_tls)

    @model_validator(mode="after")
    def _check_scope(self) -> ProviderTable:
        if not self.hosts and self.account is None:
            raise UnusableValue("a provider has neither hosts nor account")
        return self


def check_provider_names(tables: tuple[ProviderTable, ...]) -> tuple[ProviderTable, ...]:
    """Return the tables. Raise :class:`UnusableValue` if two have the same name."""
    if len({table.name for table in tables}) < len(tables):
        raise UnusableValue("two providers have the same name")
    return tables


class MonitorSettings(BaseModel):
    """Settings of the monitor, which judges the source in use and leaves it (docs/failover.md). Times are seconds."""

    #: Check the content of sources: pictures, encryption, errors, bitrate.
    content_checks: bool = switch_field(True)
    #: Announced pictures that stop for this long are a fault; twice as long if none has come. 0 = off.
    video_gone_seconds: Seconds = seconds_field(5)
    #: The same picture for this long, while bytes arrive, is a fault. 0 = off.
    video_frozen_seconds: Seconds = seconds_field(5)
    #: Encryption that begins and lasts this long is a fault. 0 = off.
    scrambled_seconds: Seconds = seconds_field(3)
    #: Share of packets flagged as damaged that is a fault in several consecutive windows. 0 = off.
    max_transport_errors: Share = number_field(0.05, 0, 1, "a number")
    #: Continuity errors per picture packet that are a fault in several consecutive windows. 0 = off.
    max_continuity_errors: Share = number_field(0, 0, 1, "a number")

    #: Treat a bitrate below ``min_bitrate_threshold`` as a fault.
    enable_bitrate_monitoring: bool = switch_field(False)
    #: The lowest bitrate that is no fault, in bytes per second.
    min_bitrate_threshold: Share = number_field(62_500, 0, 1_000_000_000, "bytes per second")
    #: Length of a window. Damaged packets and continuity errors are counted in the same windows.
    bitrate_check_interval: Seconds = seconds_field(5, 0.5)
    #: Consecutive windows below the threshold that are a fault.
    bitrate_failover_threshold: Whole = number_field(3, 1, 1000)
    #: Time after the start of a source in which windows do not count.
    bitrate_monitoring_grace_period: Seconds = seconds_field(10)

    #: Interval of the summary of the source in use and of the search for a better source; 0 = never.
    health_interval: Seconds = seconds_field(60, 0, 86_400)
    #: Leave a source that shows signs of breaking.
    leave_suspect_sources: bool = switch_field(False)
    #: Time that the source in use must have run, and that a better source must not have failed, before failback;
    #: 0 = never.
    failback_seconds: Seconds = seconds_field(0, 0, 604_800)
    #: Request the next backup for a moment in each interval. The provider then sees two connections.
    probe_backups: bool = switch_field(False)

    #: Make all streams strict: silent sources are left sooner and avoided for longer.
    strict_live_ts: bool = switch_field(False)
    #: Strict streams: silence after which a source is left.
    strict_live_ts_circuit_breaker_timeout: Seconds = seconds_field(2, 0, 3600)
    #: Strict streams: time for which a silent source stays behind the others.
    strict_live_ts_circuit_breaker_cooldown: Seconds = seconds_field(60, 0, 86_400)


class Settings(MonitorSettings):
    """All settings. Times are seconds, sizes bytes.

    Objects keep this object and read a value when they need it, so that a reload reaches them.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, validate_default=True, hide_input_in_errors=True)

    #: TOML file with settings; options and the environment override it.
    config_file: Path | None = value_field(None, "the path of a TOML file")
    #: Twisted endpoints to listen on, instead of host and port.
    listen: Endpoints = value_field(
        (), "endpoints that begin with tcp:, tcp6:, ssl:, unix: or systemd:, as in tcp:8085:interface=127.0.0.1"
    )
    #: Address to listen on: an IPv4 or IPv6 address, or a host name.
    host: Host = value_field("0.0.0.0", "an IPv4 or IPv6 address or a host name")
    #: TCP port to listen on; 0 = any free port.
    port: Whole = number_field(8085, 0, 65535)
    log_level: LogLevel = value_field("info", "one of debug, info, warning, error, critical")
    #: Prefix that is accepted in front of every path, for a reverse proxy that does not strip it.
    root_path: PathPrefix = value_field("/m3u-proxy", "empty, or segments that each begin with '/' as in /m3u-proxy")
    #: Token for the management API; without a token the API is open to this machine and private networks only.
    api_token: SecretStr | None = value_field(None, "printable text")
    #: Host names of the API, besides addresses, localhost and names without a dot; ``*`` = any.
    allowed_hosts: AllowedHosts = value_field((), "host names, separated by commas, or *")
    #: Origins (``https://editor.example``) of web pages that may use the API.
    cors_origins: Origins = value_field((), "origins as in https://editor.example:8080, separated by commas")
    #: Reverse proxies with trusted ``X-Forwarded-*`` headers.
    trusted_proxies: Networks = value_field(
        ("127.0.0.1", "::1"), "addresses and networks as in 10.0.0.0/8, separated by commas, or none"
    )
    #: URL of the proxy for clients outside, with the prefix; empty = derive the URL from the request.
    public_url: PublicUrl = value_field("", "a URL without user and query as in https://tv.example/m3u-proxy")
    #: Allow providers in loopback and private networks. ``api`` = allow URLs registered through the API, and refuse
    #: redirects from outside into such networks.
    private_upstreams: PrivateUpstreams = value_field("api", "one of api, always, never")
    #: Validity of the players' URLs in answers to ``POST /streams``; 0 = unsigned URLs.
    player_url_lifetime: Seconds = seconds_field(0, high=31_536_000)
    #: Registered streams; 0 = no limit.
    max_streams: Whole = number_field(2000, 0, 1_000_000)
    #: Players of one stream; 0 = no limit.
    max_viewers_per_stream: Whole = number_field(0, 0, 1_000_000)
    #: Players with the same address, over all streams; 0 = no limit.
    max_viewers_per_address: Whole = number_field(0, 0, 1_000_000)
    #: Requests with a wrong token that one address may send per second.
    max_failed_tokens: Whole = number_field(5, 1, 1000)
    #: Timeout of a request, head and body, and of an idle connection between requests.
    request_timeout: Seconds = seconds_field(30, 1, 3600)
    #: Time for which connected players continue after the daemon received the signal to stop.
    shutdown_timeout: Seconds = seconds_field(0, 0, 300)
    #: Path of the documentation page; empty = off.
    redoc_url: PagePath = value_field("/redoc", "empty or a path as in /redoc")
    #: Path of the OpenAPI document; empty = off.
    openapi_url: PagePath = value_field("/openapi.json", "empty or a path as in /openapi.json, other than REDOC_URL")
    #: The only folder that is written to.
    state_dir: Path = Field(
        default_factory=lambda: user_state_path("m3uproxy"), json_schema_extra={"allowed": "the path of a folder"}
    )

    #: Time after which a stream without players is removed; 0 = never.
    stream_timeout: Seconds = seconds_field(60, high=31_536_000)
    #: User-Agent for providers, for streams that were registered without a user agent.
    default_user_agent: PrintableText = value_field(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/115.0.0.0 Safari/537.36",
        "printable ASCII text",
    )
    #: Timeout of the TCP connection to a provider.
    default_connection_timeout: Seconds = seconds_field(4, 0.1, 300)
    #: Timeout of the response head, from the connection on.
    first_byte_timeout: Seconds = seconds_field(6, 0.1, 300)
    #: Silence after which a live source counts as stalled; 0 = one hour.
    live_chunk_timeout_seconds: Seconds = seconds_field(3, 0, 3600)
    #: Time within which a player gets video or an error.
    start_timeout: Seconds = seconds_field(20, 1, 300)
    #: Verify the certificates of https providers.
    verify_tls: bool = switch_field(True)
    #: Providers (TOML only): name, hosts, account, max_connections, verify_tls.
    provider: Annotated[tuple[ProviderTable, ...], AfterValidator(check_provider_names)] = value_field(
        (), "tables [[provider]], each with a name of its own and hosts or account, and max_connections"
    )
    #: Time for which a stream waits for a free connection of its provider account.
    slot_wait: Seconds = seconds_field(3, 0, 60)
    #: If no connection is free, end the stream that only the requesting viewer watches.
    slot_takeover: bool = switch_field(True)
    #: Laps over all sources of a stream before the stream fails.
    stream_retry_attempts: Whole = number_field(3, 0, 1000)
    #: Pause between two laps.
    stream_retry_delay: Seconds = seconds_field(1.0, 0, 300)
    #: Make each pause between two laps 1.5 times as long as the previous pause.
    stream_retry_exponential_backoff: bool = switch_field(False)
    #: Changes to another source within one outage; 0 = no limit.
    max_failover_attempts: Whole = number_field(0, 0, 1000, "a whole number")
    #: Longest duration of an outage; 0 = only the number of laps counts.
    stream_total_timeout: Seconds = seconds_field(30, 0, 86_400)
    #: Send null packets to players while a source is replaced and nothing arrives.
    bridge_with_nulls: bool = switch_field(False)
    #: Time for which the provider's connection is kept after the last player left.
    linger: Seconds = seconds_field(0)

    #: Size of a stream's ring in seconds of video.
    ring_seconds: Seconds = seconds_field(10, 1, 600)
    #: Size of a stream's ring in bytes.
    ring_bytes: Bytes = bytes_field(32 * MIB, MIB, 4096 * MIB)
    #: Size of the rings of all streams together.
    ring_total_bytes: Bytes = bytes_field(512 * MIB, 16 * MIB, 65536 * MIB)
    #: Distance from the live edge at which a player starts, so that its buffer fills at once. The default is at most
    #: ``ring_seconds``, see :meth:`_limit_default_join`.
    join_seconds: Seconds = Field(
        default=3,
        validate_default=False,
        json_schema_extra={"allowed": "seconds from 0 to 600, and no more than RING_SECONDS"},
    )
    #: Time for which a first player waits for a random access point before it gets the bytes that there are.
    join_wait: Seconds = seconds_field(2, 0, 60)
    #: Action for a player that fell out of the ring: skip to the start of a new player, or disconnect (``evict``).
    lag_policy: LagPolicy = value_field("skip", "one of skip, evict")
    #: Players that continue when a new source has other codecs: words of their User-Agent, as in VLC, GStreamer. All
    #: others are disconnected, so that they start again.
    carry_on_agents: Words = value_field((), "words of User-Agents, separated by commas")
    #: Time after which a player whose connection accepted no bytes is disconnected.
    viewer_stall_timeout: Seconds = seconds_field(120, 1, 86_400)
    #: Silence after which the source of a film counts as stalled, while its player wants more.
    vod_stall_timeout: Seconds = seconds_field(10, 0.1, 3600)
    #: Longest pause of a player of a film.
    vod_pause_limit: Seconds = seconds_field(14_400, 60, 604_800)
    #: Size of the cache of first and last bytes of films, over all films.
    vod_cache_bytes: Bytes = bytes_field(64 * MIB, 0, 65536 * MIB)
    #: SO_SNDBUF of a player's connection.
    send_buffer: Bytes = bytes_field(512 * KIB, 16 * KIB, 64 * MIB)
    #: HLS: size of the cache of all streams together.
    hls_cache_bytes: Bytes = bytes_field(256 * MIB, 4 * MIB, 65536 * MIB)
    #: HLS: largest segment or playlist.
    hls_resource_bytes: Bytes = bytes_field(64 * MIB, MIB, 4096 * MIB)
    #: HLS: after the first answer of a source, request the URL that its redirects led to.
    use_sticky_session: bool = False
    #: HLS: fetch the newest segment of a live playlist before a player requests it.
    hls_prefetch: bool = False
    #: HLS as one transport stream: highest bandwidth of the variant in bit/s; 0 = the best variant.
    hls_join_bandwidth: Whole = number_field(0, 0, 1_000_000_000)
    #: HLS: connections to one host of a provider.
    hls_host_connections: Whole = number_field(8, 1, 1000)
    #: Interval in which received bytes are read and sent together.
    tick: Seconds = seconds_field(0.08, 0.005, 1)
    #: Write to the sockets of unencrypted players without the reactor's buffer.
    direct_write: bool = switch_field(True)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _replace_none(cls, value: object) -> object:
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
    def _make_absolute(cls, path: Path | None) -> Path | None:
        # twistd may change its directory when it becomes a daemon.
        return None if path is None else expand_home(path).absolute()

    @field_validator("join_seconds")
    @classmethod
    def _check_join(cls, seconds: float, others: ValidationInfo) -> float:
        if not 0 <= seconds <= 600:
            raise ValueError("not a time")
        ring = others.data.get("ring_seconds", seconds)
        if seconds > ring:
            raise SettingConflict("ring_seconds", ring)
        return seconds

    @field_validator("openapi_url")
    @classmethod
    def _check_pages_differ(cls, path: str, others: ValidationInfo) -> str:
        if path and path == others.data.get("redoc_url"):
            raise SettingConflict("redoc_url", path)
        return path

    @property
    def providers(self) -> tuple[ProviderEntry, ...]:
        """The providers, in the order of the TOML file."""
        return tuple(table.entry for table in self.provider)

    @model_validator(mode="after")
    def _limit_default_join(self) -> Settings:
        """Limit the default of ``join_seconds`` to ``ring_seconds``."""
        if "join_seconds" not in self.model_fields_set:
            self.__dict__["join_seconds"] = min(self.join_seconds, self.ring_seconds)
        return self
