"""Streams and clients as JSON objects: ``StreamObject`` and ``ClientObject`` of the wire contract."""

from __future__ import annotations

import re
from datetime import datetime
from typing import cast

from ...registry import Registry
from ...streams.base import ClientInfo, Stream
from ...streams.spec import StreamSpec
from .response_types import ClientObject, HealthObject, Match, SourceObject, StreamObject, Totals

#: Words in the names of headers with credentials. The list may hide too many headers, but must not miss one.
_SECRET = re.compile(r"auth|cookie|token|key|secret|pass|session|credential|signature", re.IGNORECASE)
#: Values of metadata that mean no.
_FALSE = frozenset({"", "0", "false", "no", "off"})


def iso(moment: datetime) -> str:
    """Return ISO 8601 text with microseconds and offset, because clients parse with a fixed pattern."""
    return moment.isoformat(timespec="microseconds")


def redacted_headers(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return headers with ``***`` in place of credentials."""
    return {name: "***" if _SECRET.search(name) else value for name, value in headers}


def is_transcoded(spec: StreamSpec) -> bool:
    """Return whether the metadata of a stream says that its player gets a transcoded stream."""
    return spec.metadata.get("transcoding", "").lower() not in _FALSE


def stream_type(stream: Stream, transcoded: str = "Transcoding") -> str:
    """Return the kind of a stream for people.

    :param transcoded: word for a transcoded stream; clients know one in listings and another one in failovers.
    """
    return transcoded if is_transcoded(stream.spec) else stream.kind.value


def stream_object(stream: Stream) -> StreamObject:
    """Return a stream as a JSON object."""
    spec = stream.spec
    return {
        "stream_id": stream.id,
        "original_url": spec.url,
        "current_url": stream.current_url,
        "user_agent": spec.user_agent,
        "client_count": len(stream.clients()),
        "total_bytes_served": stream.bytes_served,
        "total_segments_served": stream.segments_served,
        "error_count": stream.history.error_count,
        "is_active": True,
        "has_failover": bool(spec.failover_urls or spec.failover_resolver_url),
        "failover_urls": list(spec.failover_urls),
        "failover_resolver_url": spec.failover_resolver_url,
        "current_failover_index": stream.source_index,
        "failover_attempts": stream.history.failover_attempts,
        "last_failover_time": iso(stream.history.last_failover) if stream.history.last_failover else None,
        "stream_type": stream_type(stream),
        "created_at": iso(stream.created_at),
        "last_access": iso(stream.last_access),
        "metadata": dict(spec.metadata),
        "headers": redacted_headers(spec.headers),
        "health": cast("HealthObject | None", stream.health()),
        "sources": cast("list[SourceObject]", stream.sources()),
    }


def match_object(stream: Stream) -> Match:
    """Return a stream that was found by its metadata as a JSON object."""
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
    """Return a client of ``stream`` as a JSON object. Only connected clients are known."""
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
    """Return all streams."""
    return [stream_object(stream) for stream in registry.streams()]


def all_clients(registry: Registry) -> list[ClientObject]:
    """Return all clients of all streams."""
    return [client_object(client, stream) for stream in registry.streams() for client in stream.clients()]


def totals(registry: Registry, now: float) -> Totals:
    """Return the seven numbers that clients call ``stats``.

    :param now: seconds of the registry's clock.
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
