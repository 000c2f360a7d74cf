"""Settings of the daemon: their fields, their sources, their display.

The names below are what the other packages use.
"""

from .loader import (
    DEFAULT_FILE,
    KIB,
    MIB,
    LagPolicy,
    LoadedSettings,
    LogLevel,
    PrivateUpstreams,
    Settings,
    SettingsError,
    SettingsLoader,
    apply_reload,
    load,
)

__all__ = [
    "DEFAULT_FILE",
    "KIB",
    "MIB",
    "LagPolicy",
    "LoadedSettings",
    "LogLevel",
    "PrivateUpstreams",
    "Settings",
    "SettingsError",
    "SettingsLoader",
    "apply_reload",
    "load",
]
