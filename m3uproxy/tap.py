"""``twistd m3uproxy``: the options, and the one place where objects are wired together.

``twistd`` loads this module to list its plugins' options, so what is costly or installs a reactor (the web side)
is imported when a service is made.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import gc
import resource
import signal
import time
from ipaddress import ip_address
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.python import usage

from .log import make_logger, set_level
from .settings import Settings, SettingsError, load
from .state import StateError, stream_key

log = make_logger()

#: Name resolution runs in threads, and each dead name server blocks one for seconds.
DNS_THREADS = 32
#: New objects before the collector looks for cycles: the data path makes none, and thousands of objects a second.
GC_THRESHOLD = 20_000
#: Connections that may wait to be accepted, for when a popular programme begins.
BACKLOG = 1024
#: Descriptors that are not players' sockets: providers, API clients, log, reactor.
RESERVED_DESCRIPTORS = 200
#: What is asked for where there is no limit: the most that Linux gives a process as it is set up.
MANY_DESCRIPTORS = 1_048_576
#: Under this many descriptors the daemon says so at the start.
FEW_DESCRIPTORS = 1200


class Options(usage.Options):
    """The settings that change from start to start; all others come from the environment or ``.env``."""

    longdesc = (
        "Shares IPTV streams: one connection to the provider for any number of players. "
        "Every setting is also an environment variable, see the README."
    )
    optParameters = [
        ["host", None, None, "Address to listen on [127.0.0.1]"],
        ["port", None, None, "Port to listen on [8085]"],
        ["log-level", None, None, "debug, info, warning, error or critical [info]"],
        ["state-dir", None, None, "Folder for what must outlive a restart"],
        ["root-path", None, None, "Prefix accepted before every path [/m3u-proxy]"],
    ]

    def given(self) -> dict[str, str]:
        """What the command line says, by the names of settings."""
        return {name.replace("-", "_"): value for name, value in self.items() if value is not None}


class CannotStart(SystemExit, Exception):
    """Ends ``twistd`` with status 1 and one line.

    As a SystemExit it prints its text and no traceback; as an Exception it lets ``twistd`` remove its pid file and
    tell the process that waits for the daemon.
    """


class ProxyService(Service):
    """The running proxy."""

    def __init__(self, reactor: Any, settings: Settings) -> None:
        """
        Wire everything; nothing is opened yet.

        :raises StateError: if the state folder cannot be used.
        """
        from .fanout.registry import Registry
        from .upstream.dial import Dialler
        from .upstream.sockets import SocketCount
        from .web.api import Api
        from .web.gate import Gate
        from .web.site import Root, Site
        from .web.stream import StreamResource

        self._reactor = reactor
        self._settings = settings
        self._sockets = SocketCount()
        self._registry = Registry(reactor, Dialler(reactor, self._sockets), settings, stream_key(settings.state_dir))
        media = StreamResource(self._registry, settings)
        gate = Gate(settings, reactor)
        api = Api(self._registry, settings, reactor, gate).resource()
        self._site = Site(Root(settings.root_path, media, api), reactor)
        self._port: Any = None

    def privilegedStartService(self) -> None:
        """Take the port, while still root if started as root."""
        host, port = self._settings.host, self._settings.port
        try:
            self._port = self._reactor.listenTCP(port, self._site, backlog=BACKLOG, interface=host)
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotStart(f"m3uproxy: cannot listen on {_authority(host, port)}: {why}") from None

    def startService(self) -> None:
        """Begin to serve, and say where."""
        super().startService()
        self._registry.start()
        # What is loaded by now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        _raise_descriptor_limit()
        address = self._port.getHost()
        log.info("listening on http://{authority}/", authority=_authority(address.host, address.port))
        if self._settings.api_token is None and not _is_loopback(self._settings.host):
            log.warn("no API_TOKEN is set: anybody who reaches {host} can manage streams", host=address.host)

    def stopService(self) -> Deferred[None]:
        """Let nobody in, then end the viewers, then the upstreams, then what connections are left.

        A MultiService would do all of it at once.
        """
        super().stopService()
        stopped: Deferred[None] = Deferred.fromCoroutine(self._stop_in_order())
        stopped.addErrback(lambda failure: log.failure("stopping failed", failure=failure))
        return stopped

    async def _stop_in_order(self) -> None:
        if self._port is not None:
            port, self._port = self._port, None
            await maybeDeferred(port.stopListening)
        await self._registry.stop()
        await self._sockets.closed()
        await self._site.close()


def makeService(options: Options) -> ProxyService:
    """Make the service that ``twistd`` runs.

    :raises CannotStart: if a setting or the state folder cannot be used.
    """
    from twisted.internet import reactor

    try:
        settings = load(options.given())
        set_level(settings.log_level)
        _prepare_reactor(reactor)
        return ProxyService(reactor, settings)
    except (SettingsError, StateError) as error:
        raise CannotStart(f"m3uproxy: {error}") from None


def _prepare_reactor(reactor: Any) -> None:
    """Make the reactor fit for a daemon that measures silence and is told to stop by SIGTERM."""
    # Twisted's reactor goes by the time of day: when that is set, every timer fires or none does.
    reactor.seconds = time.monotonic
    reactor.suggestThreadPoolSize(DNS_THREADS)
    # Each dial makes a factory, which would tell that it starts and stops.
    Factory.noisy = False
    # Twisted would die of the signal again after a clean stop; to a supervisor that is no success. The reactor
    # installs its own handlers first, when it starts.
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, lambda number, frame: reactor.callFromThread(reactor.stop))


def _raise_descriptor_limit() -> None:
    """Ask for as many file descriptors as we may have: each player takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = MANY_DESCRIPTORS
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    except (ValueError, OSError):
        pass
    log.info("room for {players} players", players=max(0, soft - RESERVED_DESCRIPTORS))
    if soft < FEW_DESCRIPTORS:
        log.warn("only {limit} file descriptors are allowed; raise the limit (ulimit -n)", limit=soft)


def _authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
