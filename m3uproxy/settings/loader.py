"""Settings: where they are read from, and which source wins.

A value comes from the first of: an option of ``twistd m3uproxy``, the environment, a file ``.env`` in the working
directory, a TOML file, the default. A variable of the environment has the name of its field, in capitals or not. One
that is set but empty counts as not set (containers pass those on), except where empty has a meaning. The TOML file
has the names in lower case; a name in it that is unknown is an error, one in the environment is somebody else's.
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

from . import field_types as checks
from .display import complaints, shown
from .ignored import NO_EFFECT
from .model import EMPTY_SAYS_SOMETHING, NEED_RESTART, ONLY_IN_FILE, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The TOML file that is read if there is one and no other is named.
DEFAULT_FILE = Path("/etc/m3uproxy/m3uproxy.toml")


class SettingsError(Exception):
    """A setting cannot be used. The text is one line: which setting, its value, where from, what is allowed."""


@attrs.frozen
class LoadedSettings:
    """What was found."""

    settings: Settings
    #: Where each setting comes from that was given, by its name; the others are defaults.
    origins: Mapping[str, str]
    #: The same for names that are known and have no effect.
    without_effect: Mapping[str, str]


@attrs.frozen
class _Source:
    """One place that settings come from."""

    name: str
    values: Mapping[str, object]

    def origin(self, setting: str) -> str:
        """As an error names it."""
        return f"option --{setting.replace('_', '-')}" if self.name == "option" else self.name

    def given(self) -> Iterator[tuple[str, object]]:
        """What is known and not empty."""
        for name, value in self.values.items():
            if name in ONLY_IN_FILE and isinstance(value, str):
                continue
            empty = value == "" and name not in EMPTY_SAYS_SOMETHING
            if not empty and (name in Settings.model_fields or name in NO_EFFECT):
                yield name, value


class SettingsLoader:
    """The places that settings are read from. They are settled at the start, so that a reload reads the same files."""

    def __init__(self, options: Mapping[str, object]) -> None:
        """
        Settle where to read; nothing is read yet.

        :param options: what was given on the command line, by field name; it wins over everything else.
        """
        self._options = dict(options)
        self._folder = Path.cwd()

    def read(self) -> LoadedSettings:
        """The settings that the sources give now.

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
            for name, value in source.given():
                values[name] = value
                origins[name] = source.origin(name)
        known = {name: value for name, value in values.items() if name in Settings.model_fields}
        try:
            settings = Settings.model_validate(known)
        except ValidationError as error:
            raise SettingsError(complaints(error, origins)) from None
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
        return checks.home(Path(path))
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
    """The settings in force.

    :param options: what was given on the command line, by field name; it wins over everything else.
    :raises SettingsError: if a value cannot be used, or a file cannot be read.
    """
    return SettingsLoader(options).read().settings


def apply_reload(settings: Settings, fresh: Settings) -> tuple[list[str], list[str]]:
    """Have ``settings`` say what ``fresh`` says, as far as that can change while the daemon runs.

    The object is shared and frozen; this is the one exception, so that all who hold it see the new values.

    :return: what changed, and what would need a restart, as lines without secrets.
    """
    changed, waiting = [], []
    for name in Settings.model_fields:
        old, new = getattr(settings, name), getattr(fresh, name)
        if old == new:
            continue
        line = f"{name.upper()}: {shown(name, old)!r} -> {shown(name, new)!r}"
        if name in NEED_RESTART:
            waiting.append(line)
        else:
            settings.__dict__[name] = new
            changed.append(line)
    return changed, waiting
