"""Types of settings: conversion of the text of the environment, validation, and the description of allowed values.

A validator returns the value as it is stored, or raises ValueError. Its text is not shown: the field's description of
allowed values is. If that does not explain the refusal, :class:`UnusableValue` or :class:`SettingConflict` adds to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_DEFAULT_PORTS = {"http": 80, "https": 443}

#: Kinds of Twisted endpoints that can be listened on.
ENDPOINT_KINDS = ("tcp", "tcp6", "ssl", "unix", "systemd")

#: First segments of the API's paths, present and planned. A setting must not use one of them.
_API_SEGMENTS = frozenset(
    "streams stream hls clients stats health info static docs test-connection webhooks broadcast transcode"
    " validate-cookies-file favicon.ico".split()
)
#: First segments of all paths behind the prefix, with the default documentation pages.
_SEGMENTS_BEHIND_PREFIX = _API_SEGMENTS | {"redoc", "openapi.json"}


class UnusableValue(ValueError):
    """A value has the right format but cannot be used; the text says why."""


class SettingConflict(ValueError):
    """A value contradicts the value of another setting."""

    def __init__(self, other: str, value: object) -> None:
        super().__init__(other)
        self.other = other
        self.value = value


# validators


def check_number(value: object) -> object:
    """
    Return the value, unless pydantic would read a number where an operator wrote none.

    pydantic reads ``1_8`` as 18, and ``true`` (of TOML) as 1.
    """
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise ValueError("not a number")
    return value


def split_words(value: object) -> object:
    """Split text at commas and white space, the form of a list in the environment."""
    if not isinstance(value, str):
        return value
    return tuple(re.split(r"[\s,]+", value.strip(", "))) if value.strip(", ") else ()


def check_host(text: str) -> str:
    """Return an address, without the brackets that it has in a URL, or a host name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        # Digits and dots alone are a mistyped address, not a name.
        if not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
            raise ValueError("not a host") from None
    return text


def check_allowed_host(text: str) -> str:
    """Return a host in the form that requests are compared with: lower case, no final dot; or ``*``."""
    return text if text == "*" else check_host(text.rstrip(".").lower())


def check_network(text: str) -> str:
    """Return an address, or a network without the bits beyond its mask."""
    return str(ip_network(text, strict=False)) if "/" in text else str(ip_address(text))


def check_origin(text: str) -> str:
    """Return a web origin (RFC 6454 section 6.2) as browsers send it: lower case, no path, no default port."""
    parts = _web_url(text)
    if parts.path not in ("", "/"):
        raise ValueError("not an origin")
    return f"{parts.scheme}://{_authority(parts)}"


def check_public_url(text: str) -> str:
    """Return an empty text, or a URL without a final slash, so that paths can be appended."""
    if not text:
        return text
    parts = _web_url(text)
    return f"{parts.scheme}://{_authority(parts)}{check_path(parts.path)}"


def _web_url(text: str) -> SplitResult:
    """Split a URL that has neither user, query nor fragment."""
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc or set(text) & set("?#"):
        raise ValueError("not a URL of that kind")
    return parts


def _authority(parts: SplitResult) -> str:
    """Return host and port. Raise ValueError for port 0 and, as ``parts.port`` does, for an invalid port."""
    if parts.port == 0:
        raise ValueError("not a port")
    name = check_host(parts.hostname or "")
    name = f"[{name}]" if ":" in name else name
    return name if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{name}:{parts.port}"


def check_path(text: str) -> str:
    """Return an empty text, or segments that each begin with a slash; a final slash is removed."""
    text = text.rstrip("/")
    if not _PATH.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise ValueError("not a path")
    return text


def check_prefix(text: str) -> str:
    """Return a path prefix. The prefix must not look like a path of the API: it would hide that path."""
    text = check_path(text)
    _refuse_segments(text, _SEGMENTS_BEHIND_PREFIX, "and would no longer be found")
    return text


def check_page(text: str) -> str:
    """
    Return an empty text, or the path of a documentation page.

    Pages need no token and replace a route of the same path. So the path must not be one of the API.
    """
    if text and not text.strip("/"):
        raise UnusableValue("/ is a path of the API")
    text = check_path(text)
    _refuse_segments(text, _API_SEGMENTS, "and not free")
    return text


def _refuse_segments(text: str, segments: frozenset[str], why: str) -> None:
    first = text.split("/")[1] if text else ""
    if first in segments:
        raise UnusableValue(f"/{first} is a path of the API {why}")


def check_endpoint(text: str) -> str:
    """Return a Twisted endpoint of a kind that can serve players; its arguments are checked when it is opened."""
    kind, colon, _ = text.partition(":")
    if kind not in ENDPOINT_KINDS or not colon:
        raise ValueError("not an endpoint")
    return text


def check_printable(text: str) -> str:
    """Return text that can be the value of a header: printable ASCII."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("not printable")
    return text


def expand_home(path: Path) -> Path:
    """Replace ``~`` or ``~user`` at the beginning of a path by the home directory."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise UnusableValue("the home directory of that user is unknown") from None


def _each_word(check: Callable[[str], str]) -> Any:
    """Return a validator of lists that checks each word and removes duplicates."""
    return AfterValidator(lambda words: tuple(dict.fromkeys(map(check, words))))


# types

Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]
Endpoints = Annotated[Words, _each_word(check_endpoint)]
AllowedHosts = Annotated[Words, _each_word(check_allowed_host)]
Origins = Annotated[Words, _each_word(check_origin)]
Networks = Annotated[Words, _each_word(check_network)]

Host = Annotated[str, AfterValidator(check_host)]
PathPrefix = Annotated[str, AfterValidator(check_prefix)]
PagePath = Annotated[str, AfterValidator(check_page)]
PublicUrl = Annotated[str, AfterValidator(check_public_url)]
PrintableText = Annotated[str, AfterValidator(check_printable)]

Whole = Annotated[int, BeforeValidator(check_number)]
Seconds = Annotated[float, BeforeValidator(check_number)]
Share = Annotated[float, BeforeValidator(check_number)]
Bytes = Annotated[ByteSize, BeforeValidator(check_number)]


# fields


def number_field(default: float, low: float, high: float, unit: str = "a whole number") -> Any:
    """Return a field for a number from ``low`` to ``high``, both included."""
    allowed = f"{unit} from {low:g} to {high:g}" if high < 1e6 else f"{unit} from {low:g} to {high:.0f}"
    return Field(default=default, ge=low, le=high, json_schema_extra={"allowed": allowed})


def seconds_field(default: float, low: float = 0, high: float = 3600) -> Any:
    """Return a field for a duration in seconds."""
    return number_field(default, low, high, "seconds")


def bytes_field(default: int, low: int, high: int) -> Any:
    """Return a field for a size in bytes."""
    allowed = f"a number of bytes from {low} to {high}, or one with a unit as in 32MiB"
    return Field(default=ByteSize(default), ge=low, le=high, json_schema_extra={"allowed": allowed})


def switch_field(default: bool) -> Any:
    """Return a field that is on or off."""
    return value_field(default, "true or false")


def value_field(default: Any, allowed: str) -> Any:
    """
    Return a field of another type.

    :param allowed: description of the allowed values, for error messages and for the options of ``twistd``.
    """
    return Field(default=default, json_schema_extra={"allowed": allowed})
