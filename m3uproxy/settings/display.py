"""Settings as text and as JSON for people, without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ByteSize, SecretStr, ValidationError

from ..core.http.redact import REDACTED, redact
from .field_types import SettingConflict, UnusableValue
from .model import MIB, Settings

#: Characters of a value that are shown.
_MAX_LENGTH = 200


def is_secret(name: str) -> bool:
    """Return whether a setting is a secret: a token or a password."""
    return name.endswith(("token", "password"))


def display_value(name: str, value: object) -> str:
    """Return a value as one line; secrets are cut, also secrets in URLs."""
    if value is None:
        return ""
    if is_secret(name) or isinstance(value, SecretStr):
        return REDACTED
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ByteSize) and value % MIB == 0:
        return f"{value // MIB}MiB"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return ", ".join(display_value(name, item) for item in value)
    return _without_urls(str(value))


def json_value(name: str, value: object) -> object:
    """Return a value for JSON: numbers, booleans and lists keep their type; secrets are cut."""
    if value is None or (isinstance(value, (bool, int, float)) and not is_secret(name)):
        return value
    if isinstance(value, (tuple, list)):
        return [display_value(name, item) for item in value]
    return display_value(name, value)


def _without_urls(text: str) -> str:
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s,]*", lambda found: redact(found[0]), text)


def allowed_values(name: str) -> str:
    """Return the description of the values that a setting allows."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else "text"


def describe_errors(error: ValidationError, origins: Mapping[str, str]) -> str:
    """
    Return one line on all invalid settings: setting, value, origin, allowed values.

    :param origins: origin by name of the setting; a missing name is a default.
    """
    lines: dict[str, str] = {}
    for item in error.errors(include_url=False):
        name = str(item["loc"][0])
        reason = _reason(item.get("ctx", {}).get("error"), origins)
        lines.setdefault(
            name, f"{_given(name, item['input'], origins)} cannot be used{reason}; allowed: {allowed_values(name)}"
        )
    return "; ".join(lines.values())


def _given(name: str, value: Any, origins: Mapping[str, str]) -> str:
    return f"{name.upper()}: {display_value(name, value)[:_MAX_LENGTH]!r} ({origins.get(name, 'default')})"


def _reason(error: object, origins: Mapping[str, str]) -> str:
    """Return the reason of a refusal, if the allowed values do not explain it."""
    if isinstance(error, UnusableValue):
        return f": {error}"
    if isinstance(error, SettingConflict):
        return f" with {_given(error.other, error.value, origins)}"
    return ""
