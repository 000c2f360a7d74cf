"""The objects that all streams share, and the rules that follow from the settings and a registration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import attrs
from twisted.internet.interfaces import IReactorTime

from ..core.failover.machine import FailoverPolicy
from ..core.http.source_headers import merged_headers, split_headers
from ..core.http.source_request import SourceRequest
from ..core.slots.accounts import account_of, entry_of
from ..interfaces import IResolver
from ..settings import Settings
from ..upstream.slots import SlotAllocator
from .monitor_rules import MonitorRules, is_strict, monitor_rules
from .spec import StreamSpec


@attrs.frozen
class StreamContext:
    """
    The objects that all streams share.

    :ivar clock: measures intervals and sets timers.
    :ivar wall: returns the time of day (UTC, aware), for people.
    :ivar slots: grants the connections of provider accounts.
    :ivar settings: the settings of the process; a reload changes them in place.
    :ivar resolver: asks applications for the next source of a stream; None if resolvers are not used.
    """

    clock: IReactorTime
    wall: Callable[[], datetime]
    slots: SlotAllocator
    settings: Settings
    resolver: IResolver | None

    def request(self, spec: StreamSpec, url: str) -> SourceRequest:
        """Return the request for one source of a stream."""
        return source_request(spec, url, self.settings)

    def requests(self, spec: StreamSpec) -> tuple[SourceRequest, ...]:
        """Return the requests for all sources of a registration, in its order."""
        return source_requests(spec, self.settings)

    def monitor_rules(self, spec: StreamSpec) -> MonitorRules:
        """Return the rules by which the source of a stream is monitored."""
        return monitor_rules(self.settings, spec)

    def live_policy(self, spec: StreamSpec) -> FailoverPolicy:
        """Return the failover policy of a live stream."""
        return failover_policy(self.settings, is_strict(self.settings, spec))


def source_request(spec: StreamSpec, url: str, settings: Settings) -> SourceRequest:
    """Return the request for one source of a stream, with the provider account that it counts for."""
    url, headers = split_headers(url)
    account = account_of(url, settings.providers, spec.provider, spec.max_connections)
    entry = entry_of(url, settings.providers, spec.provider)
    by_precedence = (spec.verify_tls, entry.verify_tls if entry else None, settings.verify_tls)
    return SourceRequest(
        url,
        spec.user_agent,
        merged_headers(headers, spec.headers),
        next(value for value in by_precedence if value is not None),
        account,
        verify_tls_elsewhere=settings.verify_tls,
    )


def source_requests(spec: StreamSpec, settings: Settings) -> tuple[SourceRequest, ...]:
    """Return the requests for all sources of a registration, in its order."""
    return tuple(source_request(spec, url, settings) for url in spec.sources)


def failover_policy(settings: Settings, strict: bool = False) -> FailoverPolicy:
    """
    Return the limits of an outage.

    The limit of the start is 95 % of ``START_TIMEOUT``, so that the answer with the error is within it.

    :param strict: the stream is strict: a source that stalled is avoided for longer.
    """
    made = FailoverPolicy(
        laps=max(1, settings.stream_retry_attempts),
        backoff=settings.stream_retry_delay,
        start=settings.start_timeout * 0.95,
        total=settings.stream_total_timeout,
        connect=settings.default_connection_timeout,
        first_byte=settings.first_byte_timeout,
        backoff_growth=1.5 if settings.stream_retry_exponential_backoff else 1.0,
        max_changes=settings.max_failover_attempts,
        quick=settings.live_chunk_timeout_seconds or settings.first_byte_timeout,
        failback=settings.failback_seconds,
    )
    cool_down = settings.strict_live_ts_circuit_breaker_cooldown
    return attrs.evolve(made, stall_cool_down=cool_down) if strict else made
