"""``twistd m3uproxy``: the options, the construction of all objects, ordered start and stop.

``twistd`` loads this module to list the options of its plugins. So modules that are costly or install a reactor (the
web side) are imported when a service is made.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python import usage

from .daemon.listening import ListenError, OpenPort, close_ports, open_ports
from .daemon.privileges import Identity, hand_over_log, later_identity
from .daemon.process import obey_signals, prepare_reactor, raise_descriptor_limit, settle_memory
from .daemon.reload import Reload, warn_if_open
from .daemon.state import StateError, stream_key
from .log import make_logger, set_level
from .settings import (
    ONLY_IN_FILE,
    Settings,
    SettingsError,
    SettingsLoader,
    allowed_values,
    display_value,
    is_secret,
    no_effect_notes,
)

log = make_logger()

#: Seconds for the connections of players, providers and API clients to close; then the process ends anyway.
STOP_LIMIT = 10.0
#: Interval in seconds of the check for connected players while the daemon waits for them before it stops.
POLL_INTERVAL = 0.1


def _parameters() -> list[list[str | None]]:
    """Return an option for each setting except secrets, because the options of processes are visible to all users."""
    defaults = Settings.model_construct()
    return [
        [name.replace("_", "-"), None, None, f"{allowed_values(name)} [{display_value(name, getattr(defaults, name))}]"]
        for name in Settings.model_fields
        if name not in {"listen", "config_file", *ONLY_IN_FILE} and not is_secret(name)
    ]


class Options(usage.Options):
    """The settings except secrets. All settings can also come from the environment, ``.env`` or a TOML file."""

    longdesc = (
        "Shares IPTV streams: one connection to the provider for any number of players. "
        "Every setting is also an environment variable; docs/settings.md explains all settings. "
        "Reloads on SIGHUP, rotates its log on SIGUSR1, stops on SIGTERM."
    )
    optParameters = [["config-file", None, None, "TOML file with settings"], *_parameters()]

    def __init__(self) -> None:
        super().__init__()
        self._endpoints: list[str] = []

    def opt_config(self, path: str) -> None:
        """TOML file with settings [/etc/m3uproxy/m3uproxy.toml]"""
        self["config-file"] = path

    def opt_listen(self, endpoint: str) -> None:
        """Twisted endpoint to listen on, instead of host and port; may be given several times"""
        self._endpoints.append(endpoint)

    def given(self) -> dict[str, object]:
        """Return the settings of the command line, by name."""
        found: dict[str, object] = {name.replace("-", "_"): value for name, value in self.items() if value is not None}
        return {**found, "listen": tuple(self._endpoints)} if self._endpoints else found


class CannotStart(SystemExit, Exception):
    """Ends ``twistd`` with status 1 and one line.

    As a SystemExit it prints its text without a traceback. As an Exception it makes ``twistd`` remove its pid file and
    inform the process that waits for the daemon.
    """


class ProxyService(Service):
    """The running proxy."""

    def __init__(self, reactor: Any, settings: Settings, identity: Identity | None = None) -> None:
        """
        Construct all objects; ports are opened later.

        :param identity: user that the daemon will change to when its ports are open, if it is root now.
        :raises StateError: if the state folder cannot be used.
        """
        from .core.http.outbound_policy import OutboundPolicy
        from .daemon.heap_trimmer import HeapTrimmer
        from .hls.fetcher import Fetcher
        from .hls.http_client import HlsHttpClient
        from .registry import Registry
        from .streams.http_resolver import HttpResolver
        from .upstream.account_turns import AccountTurns
        from .upstream.connection_pool import ConnectionPool
        from .upstream.dialler import Dialler
        from .upstream.tcp_socket import SocketCounter
        from .upstream.url_check import UrlChecker
        from .web.access.gate import Gate
        from .web.access.own_url import public_prefix
        from .web.api.app import Api
        from .web.media.hls_resource import HlsResource
        from .web.media.live_resource import StreamResource
        from .web.media.signed_urls import SignedUrls
        from .web.site import Root, Site

        self._reactor = reactor
        self._settings = settings
        self._sockets = SocketCounter()
        key = stream_key(settings.state_dir, identity)
        policy = OutboundPolicy(settings.private_upstreams)
        signed_urls = SignedUrls(key, settings.player_url_lifetime, time.time) if settings.player_url_lifetime else None
        gate = Gate(settings, reactor)
        resolver = HttpResolver(reactor, self._sockets, policy, settings.default_user_agent)
        self._connection_pool = ConnectionPool(reactor, self._sockets, policy, settings.hls_host_connections)
        self._accounts = AccountTurns(reactor)
        self._fetcher = Fetcher(reactor, HlsHttpClient(self._connection_pool, self._accounts), settings)
        dialler = Dialler(reactor, self._sockets, policy, self._accounts)
        trimmer = HeapTrimmer(reactor)
        self._registry = Registry(
            reactor,
            dialler,
            settings,
            key,
            resolver=resolver,
            fetcher=self._fetcher,
            players_counted=trimmer.players_counted,
        )
        media = StreamResource(self._registry, settings, signed_urls)
        hls = HlsResource(self._registry, settings, signed_urls)
        url_checker = UrlChecker(reactor, self._sockets, policy, settings.default_user_agent)
        api = Api(self._registry, settings, reactor, gate, url_checker, signed_urls).resource()
        root = Root(settings.root_path, media, api, gate, hls, lambda: public_prefix(settings))
        self._site = Site(root, reactor, settings.request_timeout)
        self._identity = identity
        self._hurry: Deferred[None] = Deferred()
        self.ports: list[OpenPort] = []

    def privilegedStartService(self) -> None:
        """Open the ports, with root rights if started as root."""
        settings = self._settings
        hand_over_log(self._identity)
        try:
            self.ports = open_ports(self._reactor, settings.host, settings.port, settings.listen, self._site)
        except ListenError as error:
            raise CannotStart(f"m3uproxy: {error}") from None

    def startService(self) -> None:
        """Start housekeeping, prepare the process, and log the ports."""
        super().startService()
        self._registry.start()
        settle_memory()
        raise_descriptor_limit()
        for port in self.ports:
            log.info("listening on {url}", url=port.url)
        warn_if_open(self._settings)

    def hurry(self) -> None:
        """Stop waiting for open connections; they end with the process."""
        if not self._hurry.called:
            self._hurry.callback(None)

    def stopService(self) -> Deferred[None]:
        """Close the ports, then the players, then the providers, then all other connections.

        A MultiService would stop all at once. The Deferred fires within ``shutdown_timeout`` plus ``STOP_LIMIT``
        seconds in any case, or when :meth:`hurry` is called.
        """
        super().stopService()
        stopped: Deferred[None] = Deferred.fromCoroutine(self._stop_in_order())
        stopped.addErrback(lambda failure: log.failure("stopping failed", failure=failure))
        stopped.addBoth(lambda _: self.hurry())
        limit = self._reactor.callLater(self._settings.shutdown_timeout + STOP_LIMIT, self._stop_timed_out)
        ended: Deferred[None] = Deferred()
        self._hurry.addCallback(lambda _: limit.active() and limit.cancel())
        self._hurry.addCallback(lambda _: ended.callback(None))
        return ended

    def _stop_timed_out(self) -> None:
        log.error("stopping took too long, ending now with open connections")
        self.hurry()

    async def _stop_in_order(self) -> None:
        from .web.responses import HTTPError
        from .web.site import Refusal

        # Open connections may still send requests.
        self._site.resource = Refusal(HTTPError(503, "The server is stopping."))
        ports, self.ports = self.ports, []
        await close_ports(ports)
        await self._wait_for_players()
        await self._registry.stop()
        self._fetcher.stop()
        self._accounts.stop()
        await self._connection_pool.stop()
        await self._sockets.closed()
        await self._site.close()

    async def _wait_for_players(self) -> None:
        """Wait until no player is connected, for ``shutdown_timeout`` at most."""
        deadline = self._reactor.seconds() + self._settings.shutdown_timeout
        while self._reactor.seconds() < deadline and any(stream.clients() for stream in self._registry.streams()):
            await deferLater(self._reactor, POLL_INTERVAL)


def makeService(options: Options) -> ProxyService:
    """Make the service that ``twistd`` runs.

    :raises CannotStart: if a setting or the state folder cannot be used.
    """
    from twisted.internet import reactor

    twistd: Mapping[str, Any] = options.parent or {}
    identity = later_identity(twistd)
    loader = SettingsLoader(options.given())
    try:
        loaded = loader.read()
        settings = loaded.settings
        set_level(settings.log_level)
        prepare_reactor(reactor)
        service = ProxyService(reactor, settings, identity)
    except (SettingsError, StateError) as error:
        raise CannotStart(f"m3uproxy: {error}") from None
    obey_signals(reactor, service.hurry, Reload(loader, settings, lambda: service.ports))
    for line in no_effect_notes({*loaded.without_effect}):
        log.info("{line}", line=line)
    return service
