"""Reload of settings and certificates on SIGHUP."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from ..log import LogLevel, make_logger, set_level
from ..settings import Settings, SettingsError, SettingsLoader, apply_reload
from .listening import ListenError, OpenPort

log = make_logger()

#: Log levels, the most verbose first.
_LEVELS = get_args(LogLevel)


def warn_if_open(settings: Settings) -> None:
    """Log a warning if the API needs no token."""
    if settings.api_token is None:
        log.warn("no API_TOKEN is set: the API is open to this machine and private networks")


class Reload:
    """Reads settings and certificates again when called."""

    def __init__(self, loader: SettingsLoader, settings: Settings, ports: Callable[[], list[OpenPort]]) -> None:
        """
        Remember the objects to reload.

        :param settings: the shared object, which is changed in place.
        :param ports: returns the open ports.
        """
        self._loader = loader
        self._settings = settings
        self._ports = ports

    def __call__(self) -> None:
        """Reload settings and certificates. If a value is invalid, it is logged and the old values stay."""
        try:
            fresh = self._loader.read().settings
        except SettingsError as error:
            log.error("settings not reloaded, the old ones stay: {why}", why=error)
        else:
            self._reload_settings(fresh)
        for port in self._ports():
            self._reload_certificate(port)

    def _reload_settings(self, fresh: Settings) -> None:
        had_token, level = self._settings.api_token is not None, self._settings.log_level
        changed, waiting = apply_reload(self._settings, fresh)
        # If the new level is more verbose, set it before the changes are logged; otherwise after.
        if _LEVELS.index(self._settings.log_level) < _LEVELS.index(level):
            set_level(self._settings.log_level)
        log.info("settings reloaded, {n} changed", n=len(changed))
        for line in changed:
            log.info("setting changed: {line}", line=line)
        for line in waiting:
            log.warn("setting ignored until restart: {line}", line=line)
        if had_token:
            warn_if_open(self._settings)
        set_level(self._settings.log_level)

    def _reload_certificate(self, port: OpenPort) -> None:
        if port.certificate is None:
            return
        try:
            port.renew_certificate()
        except ListenError as error:
            log.error("certificate not reloaded, the old one stays: {why}", why=error)
        else:
            log.info("certificate reloaded for {url}", url=port.url)
