"""The selection of streams by their metadata.

Metadata belongs to the controlling application: strings that are compared, but not interpreted. The application counts
streams by them to keep within the limits of its providers. Therefore a stream is *active* only while it has clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from .base import Stream

#: The metadata field that exclusions compare: the application's own name of a channel.
CHANNEL = "id"


def active(streams: Iterable[Stream]) -> list[Stream]:
    """Return the streams with clients."""
    return [stream for stream in streams if stream.clients()]


def matching(streams: Iterable[Stream], field: str, value: str) -> list[Stream]:
    """Return the streams whose ``field`` is ``value``. A stream without the field matches an empty value."""
    return [stream for stream in streams if stream.spec.metadata.get(field, "") == value]


def having(streams: Iterable[Stream], field: str, value: str) -> list[Stream]:
    """Return the matching streams that have the field. Deletions use it, so that a stream must be named explicitly."""
    return [stream for stream in matching(streams, field, value) if field in stream.spec.metadata]


def counted(streams: Sequence[Stream], field: str, values: str) -> dict[str, int]:
    """
    Return the number of streams that match each value.

    :param values: separated by commas. Surrounding blanks and empty values are ignored.
    """
    wanted = dict.fromkeys(value for value in map(str.strip, values.split(",")) if value)
    counts = dict.fromkeys(wanted, 0)
    for stream in streams:
        value = stream.spec.metadata.get(field)
        if value in counts:
            counts[value] += 1
    return counts


@attrs.frozen
class Excluded:
    """A stream that is not deleted because its channel is excluded."""

    stream: Stream


@attrs.frozen
class Watched:
    """A stream that is not deleted because it has clients."""

    stream: Stream
    clients: int


def spared(stream: Stream, exclude_channel: str | None, force: bool) -> Excluded | Watched | None:
    """
    Return the reason for which a matching stream is not deleted; None if it is deleted.

    :param exclude_channel: the application's name of a channel that is kept.
    :param force: delete streams with clients, too.
    """
    if excluded(stream, exclude_channel):
        return Excluded(stream)
    clients = len(stream.clients())
    return Watched(stream, clients) if clients and not force else None


def excluded(stream: Stream, channel: str | None) -> bool:
    """Return whether a stream has the excluded channel."""
    return bool(channel) and stream.spec.metadata.get(CHANNEL) == channel


def oldest(streams: Iterable[Stream], exclude_channel: str | None) -> Stream | None:
    """Return the stream that was registered first, with or without clients."""
    left = [stream for stream in streams if not excluded(stream, exclude_channel)]
    return min(left, key=lambda stream: stream.created_at, default=None)
