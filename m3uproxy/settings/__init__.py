"""Settings of the daemon: their fields, their sources, their display.

Other packages import the names below from here.
"""

from .display import allowed_values, display_value, is_secret
from .ignored import NO_EFFECT, no_effect_notes
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
    "allowed_values",
    "apply_reload",
    "display_value",
    "is_secret",
    "load",
    "no_effect_notes",
]
