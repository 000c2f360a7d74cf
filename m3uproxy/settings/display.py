"""Settings as people read them: what is secret is cut."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ByteSize, SecretStr, ValidationError

from ..core.http.redact import REDACTED, redact
from .field_types import SettingConflict, UnusableValue
from .model import MIB, Settings

#: More of a value than this is not shown.
_LONGEST = 200


def is_secret(name: str) -> bool:
    """Whether a setting is one that nobody may see."""
    return name.endswith(("token", "password"))


def shown(name: str, value: object) -> str:
    """A value as one line: secrets cut, also those inside of URLs."""
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
        return ", ".join(shown(name, one) for one in value)
    return _without_urls(str(value))


def as_json(name: str, value: object) -> object:
    """The same for JSON: numbers, switches and lists stay what they are."""
    if value is None or (isinstance(value, (bool, int, float)) and not is_secret(name)):
        return value
    if isinstance(value, (tuple, list)):
        return [shown(name, one) for one in value]
    return shown(name, value)


def _without_urls(text: str) -> str:
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s,]*", lambda found: redact(found[0]), text)


def allowed(name: str) -> str:
    """What a setting may be."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else "text"


def complaints(error: ValidationError, origins: Mapping[str, str]) -> str:
    """One line on all that is wrong: setting, value, where it came from, what is allowed.

    :param origins: by name of the setting; what is missing is a default.
    """
    lines: dict[str, str] = {}
    for one in error.errors(include_url=False):
        name = str(one["loc"][0])
        why = _why(one.get("ctx", {}).get("error"), origins)
        lines.setdefault(name, f"{_given(name, one['input'], origins)} cannot be used{why}; allowed: {allowed(name)}")
    return "; ".join(lines.values())


def _given(name: str, value: Any, origins: Mapping[str, str]) -> str:
    return f"{name.upper()}: {shown(name, value)[:_LONGEST]!r} ({origins.get(name, 'default')})"


def _why(error: object, origins: Mapping[str, str]) -> str:
    """What there is to say besides what is allowed."""
    if isinstance(error, UnusableValue):
        return f": {error}"
    if isinstance(error, SettingConflict):
        return f" with {_given(error.other, error.value, origins)}"
    return ""
