"""Streams and clients as listings show them: the contract's ``StreamObject`` and ``ClientObject``."""

from __future__ import annotations

import re
from datetime import datetime
from typing import cast

from ...registry import Registry
from ...streams.base import ClientInfo, Stream
from ...streams.spec import StreamSpec
from .response_types import ClientObject, HealthObject, Match, SourceObject, StreamObject, Totals

#: In the name of a header whose value lets its bearer in somewhere. Rather one too many.
_SECRET = re.compile(r"auth|cookie|token|key|secret|pass|session|credential|signature", re.IGNORECASE)


#: What applications may mean by no.
_FALSE = frozenset({"", "0", "false", "no", "off"})


def iso(moment: datetime) -> str:
    """ISO 8601, always with microseconds and offset: clients parse with a fixed pattern."""
    return moment.isoformat(timespec="microseconds")


def shown_headers(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Headers for people to see: credentials show as ``***``."""
    return {name: "***" if _SECRET.search(name) else value for name, value in headers}


def is_transcoded(spec: StreamSpec) -> bool:
    """Whether the application says of a stream that what plays is transcoded."""
    return spec.metadata.get("transcoding", "").lower() not in _FALSE


def stream_type(stream: Stream, transcoded: str = "Transcoding") -> str:
    """The kind of a stream for people.

    :param transcoded: what a transcoded one is called: clients know two words, for listings and for failovers.
    """
    return transcoded if is_transcoded(stream.spec) else stream.kind.value


def stream_object(stream: Stream) -> StreamObject:
    """One stream."""
    spec = stream.spec
    return {
        "stream_id": stream.id,
        "original_url": spec.url,
        "current_url": stream.current_url,
        "user_agent": spec.user_agent,
        "client_count": len(stream.clients()),
        "total_bytes_served": stream.bytes_served,
        "total_segments_served": stream.segments_served,
        "error_count": stream.error_count,
        "is_active": True,
        "has_failover": bool(spec.failover_urls or spec.failover_resolver_url),
        "failover_urls": list(spec.failover_urls),
        "failover_resolver_url": spec.failover_resolver_url,
        "current_failover_index": stream.source_index,
        "failover_attempts": stream.failover_attempts,
        "last_failover_time": iso(stream.last_failover) if stream.last_failover else None,
        "stream_type": stream_type(stream),
        "created_at": iso(stream.created_at),
        "last_access": iso(stream.last_access),
        "metadata": dict(spec.metadata),
        "headers": shown_headers(spec.headers),
        "health": cast("HealthObject | None", stream.health()),
        "sources": cast("list[SourceObject]", stream.sources()),
    }


def match(stream: Stream) -> Match:
    """A stream that was looked for by its metadata."""
    return {
        "stream_id": stream.id,
        "client_count": len(stream.clients()),
        "metadata": dict(stream.spec.metadata),
        "last_access": iso(stream.last_access),
        "is_active": True,
        "url": stream.current_url,
        "stream_type": stream_type(stream),
    }


def client_object(client: ClientInfo, stream: Stream) -> ClientObject:
    """One client of ``stream``. Only those that are connected are known at all."""
    return {
        "client_id": client.client_id,
        "stream_id": stream.id,
        "user_agent": client.user_agent,
        "ip_address": client.ip_address,
        "username": client.username,
        "bytes_served": client.bytes_served,
        "segments_served": client.segments_served,
        "created_at": iso(client.created_at),
        "last_access": iso(client.last_access),
        "is_connected": True,
    }


def all_streams(registry: Registry) -> list[StreamObject]:
    """Every stream."""
    return [stream_object(stream) for stream in registry.streams()]


def all_clients(registry: Registry) -> list[ClientObject]:
    """Every client of every stream."""
    return [client_object(client, stream) for stream in registry.streams() for client in stream.clients()]


def totals(registry: Registry, now: float) -> Totals:
    """The seven numbers that clients call ``stats``.

    :param now: seconds, by the clock that the registry goes by.
    """
    counts = [len(stream.clients()) for stream in registry.streams()]
    clients = sum(counts)
    return {
        "total_streams": len(counts),
        "active_streams": sum(map(bool, counts)),
        "total_clients": clients,
        "active_clients": clients,
        "total_bytes_served": registry.bytes_served,
        "total_segments_served": registry.segments_served,
        "uptime_seconds": int(now - registry.started),
    }
