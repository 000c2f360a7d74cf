"""Which streams are meant by a piece of metadata.

Metadata belongs to the controlling application: strings that we compare and never interpret. It counts streams by
them to keep within what its providers allow, so a stream is *active* exactly while a player is connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from .base import Stream

#: The field that exclusions go by: the application's own name of a channel.
CHANNEL = "id"


def active(streams: Iterable[Stream]) -> list[Stream]:
    """Those that somebody watches."""
    return [stream for stream in streams if stream.clients()]


def matching(streams: Iterable[Stream], field: str, value: str) -> list[Stream]:
    """Those whose ``field`` is ``value``. One that lacks the field matches an empty value."""
    return [stream for stream in streams if stream.spec.metadata.get(field, "") == value]


def having(streams: Iterable[Stream], field: str, value: str) -> list[Stream]:
    """The same without those that lack the field: what is to be deleted must be named."""
    return [stream for stream in matching(streams, field, value) if field in stream.spec.metadata]


def counted(streams: Sequence[Stream], field: str, values: str) -> dict[str, int]:
    """How many streams match each of ``values``.

    :param values: separated by commas; blanks around them and empty ones do not count.
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
    """A stream that is spared because its channel was named."""

    stream: Stream


@attrs.frozen
class Watched:
    """A stream that is spared because somebody watches."""

    stream: Stream
    clients: int


def spared(stream: Stream, exclude_channel: str | None, force: bool) -> Excluded | Watched | None:
    """Why a stream that matches is not deleted; None if it is.

    :param exclude_channel: the application's name of a channel that goes on.
    :param force: delete also what is being watched.
    """
    if excluded(stream, exclude_channel):
        return Excluded(stream)
    clients = len(stream.clients())
    return Watched(stream, clients) if clients and not force else None


def excluded(stream: Stream, channel: str | None) -> bool:
    """Whether a stream is that of the channel that goes on."""
    return bool(channel) and stream.spec.metadata.get(CHANNEL) == channel


def oldest(streams: Iterable[Stream], exclude_channel: str | None) -> Stream | None:
    """The one that was registered first, watched or not."""
    left = [stream for stream in streams if not excluded(stream, exclude_channel)]
    return min(left, key=lambda stream: stream.created_at, default=None)
