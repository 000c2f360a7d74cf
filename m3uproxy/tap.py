"""``twistd m3uproxy``: the options, and the one place where objects are wired together.

``twistd`` loads this module to list its plugins' options, so what is costly or installs a reactor (the web side)
is imported when a service is made.
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

#: Seconds that viewers, providers and clients have to be gone once they are told; then the process ends anyway.
STOP_LIMIT = 10.0
#: Seconds between two looks whether anybody still watches, while the daemon waits for that before it stops.
LOOK = 0.1


def _parameters() -> list[list[str | None]]:
    """An option for each setting. Not for secrets: everybody on a machine sees the options of its processes."""
    defaults = Settings.model_construct()
    return [
        [name.replace("_", "-"), None, None, f"{allowed_values(name)} [{display_value(name, getattr(defaults, name))}]"]
        for name in Settings.model_fields
        if name not in {"listen", "config_file", *ONLY_IN_FILE} and not is_secret(name)
    ]


class Options(usage.Options):
    """Every setting, as far as it may be seen; all may also come from the environment, ``.env`` or a TOML file."""

    longdesc = (
        "Shares IPTV streams: one connection to the provider for any number of players. "
        "Every setting is also an environment variable; docs/settings.md says what each means. "
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
        """What the command line says, by the names of settings."""
        found: dict[str, object] = {name.replace("-", "_"): value for name, value in self.items() if value is not None}
        return {**found, "listen": tuple(self._endpoints)} if self._endpoints else found


class CannotStart(SystemExit, Exception):
    """Ends ``twistd`` with status 1 and one line.

    As a SystemExit it prints its text and no traceback; as an Exception it lets ``twistd`` remove its pid file and
    tell the process that waits for the daemon.
    """


class ProxyService(Service):
    """The running proxy."""

    def __init__(self, reactor: Any, settings: Settings, identity: Identity | None = None) -> None:
        """
        Wire everything; nothing is opened yet.

        :param identity: who the daemon will be once it has its ports, if it is root now.
        :raises StateError: if the state folder cannot be used.
        """
        from .core.http.outbound_policy import OutboundPolicy
        from .hls.fetcher import Fetcher
        from .hls.http_client import HlsHttpClient
        from .registry import Registry
        from .streams.http_resolver import HttpResolver
        from .upstream.connection_pool import ConnectionPool
        from .upstream.dialler import Dialler
        from .upstream.tcp_socket import SocketCounter
        from .upstream.url_check import UrlChecker
        from .web.access.gate import Gate
        from .web.api.app import Api
        from .web.media.hls_resource import HlsResource
        from .web.media.live_resource import StreamResource
        from .web.media.signed_urls import SignedUrls
        from .web.site import Root, Site

        self._reactor = reactor
        self._settings = settings
        self._sockets = SocketCounter()
        key = stream_key(settings.state_dir, identity)
        outbound = OutboundPolicy(settings.private_upstreams)
        tickets = SignedUrls(key, settings.player_url_lifetime, time.time) if settings.player_url_lifetime else None
        gate = Gate(settings, reactor)
        resolver = HttpResolver(reactor, self._sockets, outbound, settings.default_user_agent)
        self._lines = ConnectionPool(reactor, self._sockets, outbound, settings.hls_host_connections)
        self._fetcher = Fetcher(reactor, HlsHttpClient(self._lines), settings)
        dialler = Dialler(reactor, self._sockets, outbound)
        self._registry = Registry(reactor, dialler, settings, key, resolver=resolver, fetcher=self._fetcher)
        media = StreamResource(self._registry, settings, tickets)
        hls = HlsResource(self._registry, settings, tickets)
        probe = UrlChecker(reactor, self._sockets, outbound, settings.default_user_agent)
        api = Api(self._registry, settings, reactor, gate, probe, tickets).resource()
        self._site = Site(Root(settings.root_path, media, api, gate, hls), reactor, settings.request_timeout)
        self._identity = identity
        self._hurry: Deferred[None] = Deferred()
        self.ports: list[OpenPort] = []

    def privilegedStartService(self) -> None:
        """Take the ports, while still root if started as root."""
        settings = self._settings
        hand_over_log(self._identity)
        try:
            self.ports = open_ports(self._reactor, settings.host, settings.port, settings.listen, self._site)
        except ListenError as error:
            raise CannotStart(f"m3uproxy: {error}") from None

    def startService(self) -> None:
        """Begin to serve, and say where."""
        super().startService()
        self._registry.start()
        settle_memory()
        raise_descriptor_limit()
        for port in self.ports:
            log.info("listening on {url}", url=port.url)
        warn_if_open(self._settings)

    def hurry(self) -> None:
        """Stop waiting: what is still open ends with the process."""
        if not self._hurry.called:
            self._hurry.callback(None)

    def stopService(self) -> Deferred[None]:
        """Let nobody in, then end the viewers, then the upstreams, then what connections are left.

        A MultiService would do all of it at once. Fires within ``shutdown_timeout`` and ``STOP_LIMIT``, whatever
        happens, or when :meth:`hurry` is called.
        """
        super().stopService()
        stopped: Deferred[None] = Deferred.fromCoroutine(self._stop_in_order())
        stopped.addErrback(lambda failure: log.failure("stopping failed", failure=failure))
        stopped.addBoth(lambda _: self.hurry())
        limit = self._reactor.callLater(self._settings.shutdown_timeout + STOP_LIMIT, self._out_of_time)
        ended: Deferred[None] = Deferred()
        self._hurry.addCallback(lambda _: limit.active() and limit.cancel())
        self._hurry.addCallback(lambda _: ended.callback(None))
        return ended

    def _out_of_time(self) -> None:
        log.error("stopping takes too long, ending at once")
        self.hurry()

    async def _stop_in_order(self) -> None:
        from .web.responses import HTTPError
        from .web.site import Refusal

        # Connections that are open may still ask for something.
        self._site.resource = Refusal(HTTPError(503, "The server is stopping."))
        ports, self.ports = self.ports, []
        await close_ports(ports)
        await self._last_viewer_gone()
        await self._registry.stop()
        self._fetcher.stop()
        await self._lines.stop()
        await self._sockets.closed()
        await self._site.close()

    async def _last_viewer_gone(self) -> None:
        """Wait for that, as long as the operator wants."""
        deadline = self._reactor.seconds() + self._settings.shutdown_timeout
        while self._reactor.seconds() < deadline and any(stream.clients() for stream in self._registry.streams()):
            await deferLater(self._reactor, LOOK)


def makeService(options: Options) -> ProxyService:
    """Make the service that ``twistd`` runs.

    :raises CannotStart: if a setting or the state folder cannot be used.
    """
    from twisted.internet import reactor

    twistd: Mapping[str, Any] = options.parent or {}
    identity = later_identity(twistd)
    sources = SettingsLoader(options.given())
    try:
        loaded = sources.read()
        settings = loaded.settings
        set_level(settings.log_level)
        prepare_reactor(reactor)
        service = ProxyService(reactor, settings, identity)
    except (SettingsError, StateError) as error:
        raise CannotStart(f"m3uproxy: {error}") from None
    obey_signals(reactor, service.hurry, Reload(sources, settings, lambda: service.ports))
    for line in no_effect_notes({*loaded.without_effect}):
        log.info("{line}", line=line)
    return service
