"""Formats of settings: each function returns the text as it is kept, or raises ValueError.

What is allowed is said by the field (``settings_fields``), not by these errors. Where that does not tell why a value
is refused, a :class:`UnusableValue` or a :class:`SettingConflict` adds it.

Kinds of settings: types that read what the environment writes, and fields that know what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

from . import field_types as checks

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_DEFAULT_PORTS = {"http": 80, "https": 443}

#: The kinds of Twisted endpoints that can be listened on.
ENDPOINT_KINDS = ("tcp", "tcp6", "ssl", "unix", "systemd")

#: How paths of the API begin, now and in what it will take up: no setting may claim one of them.
_OF_THE_API = frozenset(
    "streams stream hls clients stats health info static docs test-connection webhooks broadcast transcode"
    " validate-cookies-file favicon.ico".split()
)
#: What else stands behind the prefix, as started.
_BEHIND_THE_PREFIX = _OF_THE_API | {"redoc", "openapi.json"}


class UnusableValue(ValueError):
    """A value is of the right format and yet cannot be used; the text says why."""


class SettingConflict(ValueError):
    """A value does not go with that of another setting."""

    def __init__(self, other: str, value: object) -> None:
        super().__init__(other)
        self.other = other
        self.value = value


def host(text: str) -> str:
    """An address, with or without the brackets of a URL, or a host name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        # Digits and dots alone are a mistyped address, not a name.
        if not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
            raise ValueError("not a host") from None
    return text


def allowed_host(text: str) -> str:
    """A host as it is compared: in lower case, without the dot at the end; or ``*``."""
    return text if text == "*" else host(text.rstrip(".").lower())


def path(text: str) -> str:
    """Empty, or segments that each begin with a slash; a slash at the end goes."""
    text = text.rstrip("/")
    if not _PATH.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise ValueError("not a path")
    return text


def home(path: Path) -> Path:
    """A path whose ``~`` or ``~user`` at its beginning is written out."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise UnusableValue("nobody of that name has a home here") from None


def prefix(text: str) -> str:
    """A path that paths of the API can stand behind: taken for one of them it would hide the others."""
    text = path(text)
    _refuse_those(text, _BEHIND_THE_PREFIX, "and would no longer be found")
    return text


def page(text: str) -> str:
    """Empty, or a path of its own: it is open to everybody, and what it replaces would be, too."""
    if text and not text.strip("/"):
        raise UnusableValue("/ is a path of the API")
    text = path(text)
    _refuse_those(text, _OF_THE_API, "and not free")
    return text


def _refuse_those(text: str, segments: frozenset[str], why: str) -> None:
    first = text.split("/")[1] if text else ""
    if first in segments:
        raise UnusableValue(f"/{first} is a path of the API {why}")


def number(value: object) -> object:
    """A number, or text that Python would not read in its own way: there 1_8 is 18, and ``true`` (of TOML) is 1."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise ValueError("not a number")
    return value


def network(text: str) -> str:
    """An address or a network; bits of a network beyond its mask go."""
    return str(ip_network(text, strict=False)) if "/" in text else str(ip_address(text))


def origin(text: str) -> str:
    """What a browser sends as ``Origin`` (RFC 6454 section 6.2): no path, no default port, in lower case."""
    parts = _web_url(text)
    if parts.path not in ("", "/"):
        raise ValueError("not an origin")
    return f"{parts.scheme}://{_authority(parts)}"


def public_url(text: str) -> str:
    """Empty, or a URL that paths can be appended to."""
    if not text:
        return text
    parts = _web_url(text)
    return f"{parts.scheme}://{_authority(parts)}{path(parts.path)}"


def _web_url(text: str) -> SplitResult:
    """The parts of a URL that has neither user, query nor fragment."""
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc or set(text) & set("?#"):
        raise ValueError("not a URL of that kind")
    return parts


def _authority(parts: SplitResult) -> str:
    """Host and port; ``parts.port`` raises ValueError if it is none, and nothing is reached at port 0."""
    if parts.port == 0:
        raise ValueError("not a port")
    name = host(parts.hostname or "")
    name = f"[{name}]" if ":" in name else name
    return name if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{name}:{parts.port}"


def endpoint(text: str) -> str:
    """A Twisted endpoint of a kind that we can serve players on; the rest of it is judged when it is opened."""
    kind, colon, _ = text.partition(":")
    if kind not in ENDPOINT_KINDS or not colon:
        raise ValueError("not an endpoint")
    return text


def printable(text: str) -> str:
    """What can stand in a header."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("not printable")
    return text


def words(value: object) -> object:
    """A list as the environment writes it."""
    if not isinstance(value, str):
        return value
    return tuple(re.split(r"[\s,]+", value.strip(", "))) if value.strip(", ") else ()


def each(check: Callable[[str], str]) -> Any:
    """A list of words of one format; a word that comes twice is kept once."""
    return AfterValidator(lambda words: tuple(dict.fromkeys(map(check, words))))


Words = Annotated[tuple[str, ...], BeforeValidator(words)]
Whole = Annotated[int, BeforeValidator(checks.number)]
Seconds = Annotated[float, BeforeValidator(checks.number)]
Share = Annotated[float, BeforeValidator(checks.number)]
Bytes = Annotated[ByteSize, BeforeValidator(checks.number)]


def limited(default: float, low: float, high: float, unit: str = "a whole number") -> Any:
    """A number between limits, both included."""
    allowed = f"{unit} from {low:g} to {high:g}" if high < 1e6 else f"{unit} from {low:g} to {high:.0f}"
    return Field(default=default, ge=low, le=high, json_schema_extra={"allowed": allowed})


def seconds(default: float, low: float = 0, high: float = 3600) -> Any:
    """A time."""
    return limited(default, low, high, "seconds")


def of_bytes(default: int, low: int, high: int) -> Any:
    """A size."""
    allowed = f"a number of bytes from {low} to {high}, or one with a unit as in 32MiB"
    return Field(default=ByteSize(default), ge=low, le=high, json_schema_extra={"allowed": allowed})


def one_of(default: Any, allowed: str) -> Any:
    """Anything else; ``allowed`` is what a complaint says."""
    return Field(default=default, json_schema_extra={"allowed": allowed})
