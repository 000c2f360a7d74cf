"""Kinds of settings: types that read what the environment writes, and fields that know what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

from . import field_types as checks


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
