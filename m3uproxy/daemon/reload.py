"""SIGHUP: settings and certificates are read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from ..log import LogLevel, make_logger, set_level
from ..settings import Settings, SettingsError, SettingsLoader, apply_reload
from .listening import ListenError, OpenPort

log = make_logger()

#: The first one shows most.
_LEVELS = get_args(LogLevel)


def warn_if_open(settings: Settings) -> None:
    """Say so if nobody is asked for a token."""
    if settings.api_token is None:
        log.warn("no API_TOKEN is set: the API answers whoever asks from this machine or a private network")


class Reload:
    """To be called when the settings may have changed."""

    def __init__(self, sources: SettingsLoader, settings: Settings, ports: Callable[[], list[OpenPort]]) -> None:
        """
        Do nothing yet.

        :param settings: the object that everybody holds; it is changed in place.
        :param ports: what is open now.
        """
        self._sources = sources
        self._settings = settings
        self._ports = ports

    def __call__(self) -> None:
        """Read all again. What cannot be used is logged, and the old stays."""
        try:
            fresh = self._sources.read().settings
        except SettingsError as error:
            log.error("settings not reloaded, the old ones stay: {why}", why=error)
        else:
            self._renew_settings(fresh)
        for port in self._ports():
            self._renew_certificate(port)

    def _renew_settings(self, fresh: Settings) -> None:
        had_token, level = self._settings.api_token is not None, self._settings.log_level
        changed, waiting = apply_reload(self._settings, fresh)
        # A quieter level begins after what there is to say about it.
        if _LEVELS.index(self._settings.log_level) < _LEVELS.index(level):
            set_level(self._settings.log_level)
        log.info("settings reloaded, {n} changed", n=len(changed))
        for line in changed:
            log.info("now {line}", line=line)
        for line in waiting:
            log.warn("takes a restart: {line}", line=line)
        if had_token:
            warn_if_open(self._settings)
        set_level(self._settings.log_level)

    def _renew_certificate(self, port: OpenPort) -> None:
        if port.certificate is None:
            return
        try:
            port.renew_certificate()
        except ListenError as error:
            log.error("certificate not reloaded, the old one stays: {why}", why=error)
        else:
            log.info("certificate reloaded for {url}", url=port.url)
