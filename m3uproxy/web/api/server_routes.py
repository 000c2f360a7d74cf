"""The routes about the proxy as a whole: health, features, players, statistics, lists of unsupported features."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import cast

from twisted.internet.interfaces import IReactorTime

from ... import __version__
from ...registry import HOUSEKEEPING_INTERVAL, Registry
from ...settings import Settings
from .endpoint import Route, View
from .response_types import (
    Broadcasts,
    Clients,
    DetailedStats,
    ErrorStats,
    FailoverStats,
    Health,
    Info,
    PerformanceStats,
    Running,
    Slots,
    Stats,
    StreamStats,
    Totals,
    Webhooks,
)
from .serialize import all_clients, all_streams, iso, totals


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _get(path: str, view: View, summary: str, tag: str, answer: type) -> Route:
    return Route(method="GET", path=path, view=view, summary=summary, tag=tag, answer=answer)


class ServerApi:
    """Routes about the proxy as a whole."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        clock: IReactorTime,
        wall: Callable[[], datetime] = _now,
    ) -> None:
        """
        Make the views.

        :param clock: the clock of the registry.
        :param wall: returns the time of day (UTC, aware).
        """
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._wall = wall

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            _get("/", self.running, "Check that the proxy runs", "server", Running),
            _get("/health", self.health, "Check that the proxy runs, with some numbers", "server", Health),
            _get("/info", self.info, "Return version, features and some settings", "server", Info),
            _get("/clients", self.clients, "List all players", "players", Clients),
            _get("/stats", self.stats, "Return all numbers, streams and players", "statistics", Stats),
            _get("/stats/clients", self.clients, "List all players", "statistics", Clients),
            _get("/stats/streams", self.streams, "List all streams", "statistics", StreamStats),
            _get("/stats/detailed", self.detailed, "Return numbers by subject", "statistics", DetailedStats),
            _get("/stats/performance", self.performance, "Return numbers of failures", "statistics", PerformanceStats),
            _get("/webhooks", self.webhooks, "List all webhooks; there are none", "unsupported", Webhooks),
            _get("/broadcast", self.broadcasts, "List all broadcasts; there are none", "unsupported", Broadcasts),
        ]

    def running(self) -> Running:
        """Return the state, the version and the totals."""
        stats = self._totals()
        return {
            "status": "running",
            "message": "m3uproxy is running; /docs describes its API.",
            "version": __version__,
            "uptime": stats["uptime_seconds"],
            "stats": stats,
        }

    def health(self) -> Health:
        """Return the state and the totals."""
        stats = self._totals()
        return {
            "status": "healthy",
            "root_path": self._settings.root_path,
            "version": __version__,
            "uptime_seconds": stats["uptime_seconds"],
            "active_streams": stats["active_streams"],
            "active_clients": stats["active_clients"],
            "total_bytes_served": stats["total_bytes_served"],
            "stats": stats,
        }

    def info(self) -> Info:
        """Return the features that controlling applications check. There is no transcoding and no Redis."""
        settings = self._settings
        return {
            "version": __version__,
            "ffmpeg_version": None,
            "streamlink_version": None,
            "ytdlp_version": None,
            "hardware_acceleration": {"enabled": False, "type": "cpu", "device": None, "ffmpeg_args": []},
            "redis": {
                "enabled": False,
                "pooling_enabled": False,
                "host": None,
                "port": None,
                "password": None,
                "db": None,
                "max_clients_per_stream": None,
                "stream_timeout": None,
                "sharing_strategy": None,
            },
            "transcoding": {"enabled": False, "profiles": {}},
            "configuration": {
                "default_user_agent": settings.default_user_agent,
                "client_timeout": settings.viewer_stall_timeout,
                "stream_timeout": settings.stream_timeout,
                "cleanup_interval": HOUSEKEEPING_INTERVAL,
                "max_retries": settings.stream_retry_attempts,
            },
            "worker": {"worker_id": "single", "heartbeat_interval": 30, "multi_worker_mode": False},
        }

    def clients(self) -> Clients:
        """Return all clients."""
        clients = all_clients(self._registry)
        return {"total_clients": len(clients), "clients": clients}

    def streams(self) -> StreamStats:
        """Return all streams."""
        streams = all_streams(self._registry)
        return {"total_streams": len(streams), "streams": streams}

    def stats(self) -> Stats:
        """Return all numbers twice, flat and nested: clients exist for both forms."""
        stats = self._totals()
        return {
            **stats,
            "proxy_stats": stats,
            "provider_slots": self._slots(),
            "streams": all_streams(self._registry),
            "clients": all_clients(self._registry),
        }

    def detailed(self) -> DetailedStats:
        """Return numbers by subject."""
        stats = self._totals()
        return {
            "proxy_stats": stats,
            "connection_pool_stats": {},
            "failover_stats": self._failovers(),
            "performance_metrics": {},
            "error_stats": self._errors(),
            "stream_count": stats["total_streams"],
            "client_count": stats["total_clients"],
        }

    def performance(self) -> PerformanceStats:
        """Return numbers about failures, with the time."""
        return {
            "connection_pool": {},
            "performance_metrics": {},
            "failover_stats": self._failovers(),
            "error_stats": self._errors(),
            "timestamp": iso(self._wall()),
        }

    def webhooks(self) -> Webhooks:
        """Return the empty list. Webhooks are unsupported, but controlling applications ask for the list."""
        return {"webhooks": []}

    def broadcasts(self) -> Broadcasts:
        """Return the empty list. Broadcasts are unsupported, but controlling applications ask for the list."""
        return {"broadcasts": [], "count": 0}

    def _slots(self) -> Slots:
        configured = [provider.counted_account for provider in self._settings.providers]
        return cast("Slots", self._registry.slots.report(configured))

    def _totals(self) -> Totals:
        return totals(self._registry, self._clock.seconds())

    def _failovers(self) -> FailoverStats:
        streams = self._registry.streams()
        return {
            "failover_attempts": sum(stream.history.failover_attempts for stream in streams),
            "streams_on_failover": sum(stream.source_index > 0 for stream in streams),
        }

    def _errors(self) -> ErrorStats:
        return {"error_count": sum(stream.history.error_count for stream in self._registry.streams())}
