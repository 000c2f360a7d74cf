"""Settings of the daemon: their fields, their sources, their display.

Other packages import the names below from here.
"""

from .display import allowed, is_secret, shown
from .ignored import NO_EFFECT, remarks
from .loader import DEFAULT_FILE, LoadedSettings, SettingsError, SettingsLoader, apply_reload, load
from .model import FOR_NEW_STREAMS, KIB, MIB, NEED_RESTART, ONLY_IN_FILE, Settings

__all__ = [
    "DEFAULT_FILE",
    "FOR_NEW_STREAMS",
    "KIB",
    "MIB",
    "NEED_RESTART",
    "NO_EFFECT",
    "ONLY_IN_FILE",
    "LoadedSettings",
    "Settings",
    "SettingsError",
    "SettingsLoader",
    "allowed",
    "apply_reload",
    "is_secret",
    "load",
    "remarks",
    "shown",
]
