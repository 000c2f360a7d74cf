"""What an operator can set: one frozen object, filled and checked in one place.

A value comes from the first of: an option of ``twistd m3uproxy``, the environment, a file ``.env`` in the
working directory, the default. An environment variable has the name of its field in capitals. One that is set
but empty counts as not set (containers pass those on), except ``ROOT_PATH``, where empty has a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_state_path
from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
LagPolicy = Literal["skip", "evict"]
PrivateUpstreams = Literal["api", "always", "never"]

KIB = 1024
MIB = 1024 * KIB

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _words(value: object) -> object:
    """A list as the environment writes it."""
    return tuple(re.split(r"[\s,]+", value.strip(", "))) if isinstance(value, str) and value.strip(", ") else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class SettingsError(Exception):
    """A setting cannot be used. The text is one line: which setting, its value, what is allowed."""


def _limited(default: float, low: float, high: float, unit: str) -> Any:
    allowed = f"{unit} from {low:g} to {high:g}"
    return Field(default=default, ge=low, le=high, json_schema_extra={"allowed": allowed})


def _seconds(default: float, low: float = 0, high: float = 3600) -> Any:
    return _limited(default, low, high, "seconds")


def _bytes(default: int, low: int, high: int) -> Any:
    allowed = f"a number of bytes from {low} to {high}, or one with a unit as in 32MiB"
    return Field(default=ByteSize(default), ge=low, le=high, json_schema_extra={"allowed": allowed})


def _one_of(default: Any, allowed: str) -> Any:
    return Field(default=default, json_schema_extra={"allowed": allowed})


class Settings(BaseSettings):
    """Every setting that exists. Times are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    #: Address to listen on: an IPv4 or IPv6 address, or a host name.
    host: str = _one_of("127.0.0.1", "an IPv4 or IPv6 address or a host name")
    #: TCP port to listen on; 0 takes any free one.
    port: int = _limited(8085, 0, 65535, "a whole number")
    log_level: LogLevel = _one_of("info", "one of debug, info, warning, error, critical")
    #: Prefix that is accepted in front of every path, for a reverse proxy that does not strip it.
    root_path: str = _one_of("/m3u-proxy", "empty, or segments that each begin with '/' as in /m3u-proxy")
    #: The management API asks for it; ``None`` leaves the API open.
    api_token: SecretStr | None = None
    #: Names by which the API may be asked for, besides addresses, localhost and names without a dot; ``*`` allows all.
    allowed_hosts: Words = _one_of((), "host names, separated by commas, or *")
    #: Origins (``https://editor.example``) whose web pages may use the API.
    cors_origins: Words = _one_of((), "origins as in https://editor.example:8080, separated by commas")
    #: Reverse proxies whose ``X-Forwarded-*`` headers are believed.
    trusted_proxies: Words = _one_of(
        ("127.0.0.1", "::1"), "addresses and networks as in 10.0.0.0/8, separated by commas"
    )
    #: Where the proxy is reached from outside, prefix included; empty for what the request says.
    public_url: str = _one_of("", "a URL as in https://tv.example/m3u-proxy")
    #: Whether providers (and redirects) may lie in loopback and private networks: ``api`` allows what is registered
    #: through the API and refuses to be led there from outside.
    private_upstreams: PrivateUpstreams = _one_of("api", "one of api, always, never")
    #: How long the URLs of players stay valid that ``POST /streams`` answers; 0 leaves them unsigned.
    player_url_lifetime: float = _seconds(0, high=31_536_000)
    #: Registered streams; 0 for no limit.
    max_streams: int = _limited(2000, 0, 1_000_000, "a whole number")
    #: Players of one stream, and of all streams from one address; 0 for no limit.
    max_viewers_per_stream: int = _limited(0, 0, 1_000_000, "a whole number")
    max_viewers_per_address: int = _limited(0, 0, 1_000_000, "a whole number")
    #: Requests with a wrong token that one address may send per second.
    max_failed_tokens: int = _limited(5, 1, 1000, "a whole number")
    #: A request, head and body, is complete within this, and a connection idles no longer between requests.
    request_timeout: float = _seconds(30, 1, 3600)
    #: How long viewers are served on when the daemon is told to stop.
    shutdown_timeout: float = _seconds(0, 0, 300)
    #: Paths of the generated documentation; empty switches it off.
    redoc_url: str = _one_of("/redoc", "empty or a path")
    openapi_url: str = _one_of("/openapi.json", "empty or a path")
    #: The one folder that is written to.
    state_dir: Path = Field(default_factory=lambda: user_state_path("m3uproxy"))

    #: How long a stream that nobody plays stays registered; 0 for ever.
    stream_timeout: float = _seconds(60, high=31_536_000)
    #: Sent to providers for streams that were registered without a user agent of their own.
    default_user_agent: str = _one_of(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/115.0.0.0 Safari/537.36",
        "printable ASCII text",
    )
    #: Until the provider's TCP connection stands.
    default_connection_timeout: float = _seconds(4, 0.1, 300)
    #: From there until the response head.
    first_byte_timeout: float = _seconds(6, 0.1, 300)
    #: Silence after which a live source counts as stalled; 0 for an hour.
    live_chunk_timeout_seconds: float = _seconds(3, 0, 3600)
    #: A player that asked for a stream is answered within this, with video or with an error.
    start_timeout: float = _seconds(20, 1, 300)
    #: Laps over all sources of a stream before it is given up.
    stream_retry_attempts: int = _limited(3, 0, 1000, "a whole number")
    #: Pause between two laps.
    stream_retry_delay: float = _seconds(1.0, 0, 300)
    #: The longest an outage may last; 0 leaves only the number of laps.
    stream_total_timeout: float = _seconds(30, 0, 86_400)
    #: How long the provider's connection is kept after the last player left.
    linger: float = _seconds(0)

    #: How much of a stream is held for its viewers: in seconds of video, and in bytes.
    ring_seconds: float = _seconds(10, 1, 600)
    ring_bytes: ByteSize = _bytes(32 * MIB, MIB, 4096 * MIB)
    #: The same over all streams together.
    ring_total_bytes: ByteSize = _bytes(512 * MIB, 16 * MIB, 65536 * MIB)
    #: How far behind the live edge a player starts, so that its own buffer fills at once.
    join_seconds: float = _seconds(3, 0, 600)
    #: How long a first player waits for a random access point before it gets what there is.
    join_wait: float = _seconds(2, 0, 60)
    #: A viewer that fell out of the ring skips to where a joiner would start, or is evicted.
    lag_policy: LagPolicy = _one_of("skip", "one of skip, evict")
    #: A viewer whose connection took nothing for this long is evicted.
    viewer_stall_timeout: float = _seconds(120, 1, 86_400)
    #: SO_SNDBUF of a viewer's connection.
    send_buffer: ByteSize = _bytes(512 * KIB, 16 * KIB, 64 * MIB)
    #: How long pieces are gathered before they are read or sent together.
    tick: float = _seconds(0.06, 0.005, 1)
    #: Write to the sockets of plain TCP viewers without the reactor's buffer in between.
    direct_write: bool = _one_of(True, "true or false")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != "" or name == "root_path"}

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            return str(ip_address(bare))
        except ValueError:
            # Digits and dots alone are a mistyped address, not a name.
            if not _HOST_NAME.fullmatch(host) or re.fullmatch(r"[\d.]+", host):
                raise ValueError("not a host") from None
        return host

    @field_validator("log_level", mode="before")
    @classmethod
    def _normalise_level(cls, level: object) -> object:
        level = level.lower() if isinstance(level, str) else level
        return "warning" if level == "warn" else level

    @field_validator("root_path")
    @classmethod
    def _normalise_root_path(cls, path: str) -> str:
        path = path.rstrip("/")
        if not _ROOT_PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise ValueError("not a path")
        return path

    @field_validator("default_user_agent")
    @classmethod
    def _check_user_agent(cls, agent: str) -> str:
        if not (agent.isascii() and agent.isprintable()):
            raise ValueError("not printable")
        return agent

    @field_validator("state_dir")
    @classmethod
    def _absolute_state_dir(cls, path: Path) -> Path:
        # twistd changes its directory when it becomes a daemon.
        return path.expanduser().absolute()

    @model_validator(mode="after")
    def _check_join(self) -> Settings:
        if self.join_seconds > self.ring_seconds:
            raise ValueError(
                f"JOIN_SECONDS: '{self.join_seconds:g}' is more than RING_SECONDS "
                f"({self.ring_seconds:g}) holds; allowed: at most that"
            )
        return self


def _complaint(error: Any) -> str:
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    name = str(error["loc"][0])
    return f"{name.upper()}: {str(error['input'])!r} cannot be used; allowed: {_allowed(name)}"


def _allowed(name: str) -> str:
    field: FieldInfo | None = Settings.model_fields.get(name)
    extra = field.json_schema_extra if field is not None else None
    return str(extra["allowed"]) if isinstance(extra, dict) else "text"


def load(options: Mapping[str, object]) -> Settings:
    """The settings in force.

    :param options: what was given on the command line, by field name; it wins over everything else.
    :raises SettingsError: if a value cannot be used, or ``.env`` cannot be read.
    """
    try:
        return Settings(**options)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_complaint(one) for one in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env: cannot be read: {error}") from None
