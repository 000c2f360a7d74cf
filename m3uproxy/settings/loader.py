"""The sources of settings, in order of precedence.

A value comes from the first of: an option of ``twistd m3uproxy``, the environment, a file ``.env`` in the working
directory, a TOML file, the default. An environment variable has the name of its field, in capitals or not. An empty
variable counts as not set, because containers pass on such variables; exceptions are in ``EMPTY_IS_A_VALUE``. The
TOML file has the names in lower case. An unknown name is an error in the TOML file, and is ignored in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs
from dotenv import dotenv_values
from pydantic import ValidationError

from .display import describe_errors, display_value
from .field_types import expand_home
from .ignored import NO_EFFECT
from .model import EMPTY_IS_A_VALUE, NEED_RESTART, ONLY_IN_FILE, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The TOML file that is read if it exists and no other file is named.
DEFAULT_FILE = Path("/etc/m3uproxy/m3uproxy.toml")


class SettingsError(Exception):
    """A setting cannot be used. The text is one line: setting, value, origin, allowed values."""


@attrs.frozen
class LoadedSettings:
    """The settings in force, with their origins."""

    settings: Settings
    #: Origin of each setting that was given, by name; the others are defaults.
    origins: Mapping[str, str]
    #: Origin of each given setting that has no effect, by name.
    without_effect: Mapping[str, str]


@attrs.frozen
class _Source:
    """A source of settings: options, environment, or a file."""

    name: str
    values: Mapping[str, object]

    def origin(self, setting: str) -> str:
        """Return the origin of a setting, for errors."""
        return f"option --{setting.replace('_', '-')}" if self.name == "option" else self.name

    def known_values(self) -> Iterator[tuple[str, object]]:
        """Yield the settings with known names that count as set."""
        for name, value in self.values.items():
            if name in ONLY_IN_FILE and isinstance(value, str):
                continue
            empty = value == "" and name not in EMPTY_IS_A_VALUE
            if not empty and (name in Settings.model_fields or name in NO_EFFECT):
                yield name, value


class SettingsLoader:
    """Reads the settings. The places are fixed at the start, so that a reload reads the same files."""

    def __init__(self, options: Mapping[str, object]) -> None:
        """
        Remember the options and the working directory.

        :param options: values from the command line, by field name; they take precedence.
        """
        self._options = dict(options)
        self._folder = Path.cwd()

    def read(self) -> LoadedSettings:
        """Read all sources and return the settings.

        :raises SettingsError: if a value cannot be used, or a file cannot be read.
        """
        sources = [
            _Source("option", self._options),
            _Source("environment", {name.lower(): value for name, value in os.environ.items()}),
            _Source(".env", _read_dot_env(self._folder / ".env")),
        ]
        file = self._toml_file(sources)
        if file is not None:
            sources.append(_Source(str(file), _read_toml(file)))
        values: dict[str, Any] = {} if file is None else {"config_file": file}
        origins: dict[str, str] = {}
        for source in reversed(sources):
            for name, value in source.known_values():
                values[name] = value
                origins[name] = source.origin(name)
        known = {name: value for name, value in values.items() if name in Settings.model_fields}
        try:
            settings = Settings.model_validate(known)
        except ValidationError as error:
            raise SettingsError(describe_errors(error, origins)) from None
        return LoadedSettings(
            settings,
            {name: origin for name, origin in origins.items() if name in Settings.model_fields},
            {name: origin for name, origin in origins.items() if name in NO_EFFECT},
        )

    def _toml_file(self, sources: list[_Source]) -> Path | None:
        for source in sources:
            named = source.values.get("config_file")
            if named:
                return self._folder / _home(str(named))
        return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _home(path: str) -> Path:
    try:
        return expand_home(Path(path))
    except ValueError as error:
        raise SettingsError(f"CONFIG_FILE: {path!r} cannot be read: {error}") from None


def _read_dot_env(path: Path) -> dict[str, object]:
    try:
        found = dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env: cannot be read: {_why(error)}") from None
    return {name.lower(): value for name, value in found.items() if value is not None}


def _read_toml(path: Path) -> dict[str, object]:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a NUL in it is a ValueError
        raise SettingsError(f"CONFIG_FILE: {str(path)!r} cannot be read: {_why(error)}") from None
    try:
        values: dict[str, object] = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"CONFIG_FILE: {str(path)!r} is not TOML: {_why(error)}") from None
    names = {*Settings.model_fields, *NO_EFFECT} - {"config_file"}
    for name in values:
        if name in names:
            continue
        near = get_close_matches(name.lower(), sorted(names), n=1, cutoff=0)
        raise SettingsError(f"{path}: {name!r} is not a setting; the closest one is {near[0]!r}")
    return values


def _why(error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(why.split())


def load(options: Mapping[str, object]) -> Settings:
    """Return the settings in force.

    :param options: values from the command line, by field name; they take precedence.
    :raises SettingsError: if a value cannot be used, or a file cannot be read.
    """
    return SettingsLoader(options).read().settings


def apply_reload(settings: Settings, fresh: Settings) -> tuple[list[str], list[str]]:
    """Copy to ``settings`` the values of ``fresh`` that can change while the daemon runs.

    The object is frozen and shared. This function is the only exception: all holders of the object see the new values.

    :return: the changes that were made and the changes that need a restart, as lines without secrets.
    """
    changed, waiting = [], []
    for name in Settings.model_fields:
        old, new = getattr(settings, name), getattr(fresh, name)
        if old == new:
            continue
        line = f"{name.upper()}: {display_value(name, old)!r} -> {display_value(name, new)!r}"
        if name in NEED_RESTART:
            waiting.append(line)
        else:
            settings.__dict__[name] = new
            changed.append(line)
    settings.model_fields_set.clear()
    settings.model_fields_set.update(fresh.model_fields_set)
    return changed, waiting
