"""Errors of a source: the reason, and the HTTP status for a player."""

from __future__ import annotations

from enum import Enum
from typing import overload

import attrs


class Reason(Enum):
    """The reason of a failure. Logs and statistics show the value."""

    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect timeout"
    FIRST_BYTE_TIMEOUT = "first byte timeout"
    TLS = "tls"
    BAD_HEAD = "bad response head"
    BAD_STATUS = "bad status"
    BUSY = "provider says too many connections"
    REDIRECT_LOOP = "redirect loop"
    BAD_REDIRECT = "bad redirect"
    NOT_VIDEO = "not video"
    NOT_LIVE = "a file, not a live stream"
    OTHER_KIND = "another kind of stream"
    NOT_TRANSPORT_STREAM = "not a transport stream"
    ENDED = "ended"
    PROGRAMME_ENDED = "the programme has ended"
    TRUNCATED = "truncated"
    TOO_LARGE = "too large"
    FULL = "no memory left"
    RESET = "connection reset"
    STALLED = "stalled"
    CODECS = "other codecs than before"
    FORMAT = "another format than before"
    OTHER_FILE = "another file than before"
    LOW_BITRATE = "low bitrate"
    CONTENT = "bad content"
    SUSPECT = "about to fail"
    NO_SLOT = "no free connection to the provider"
    FORBIDDEN = "address not allowed"
    INTERNAL = "internal error"
    DELETED = "stream deleted"
    UNUSED = "no player reads it"
    STOPPING = "the proxy is stopping"


_PLAYER_STATUS = {
    Reason.CONNECT_TIMEOUT: 504,
    Reason.FIRST_BYTE_TIMEOUT: 504,
    Reason.STALLED: 504,
    Reason.BUSY: 503,
    Reason.NO_SLOT: 503,
    Reason.FULL: 503,
    Reason.STOPPING: 503,
    Reason.DELETED: 404,
}


@attrs.define(auto_exc=True)
class SourceError(Exception):
    """
    A source did not deliver, or stopped delivering.

    :ivar detail: text for people, free of secrets.
    :ivar status: HTTP status of the provider, if there was a response.
    :ivar retry_after: seconds for which the provider asks not to be requested again; None if it does not.
    :ivar length: bytes of the file, if a 416 states them.
    """

    reason: Reason
    detail: str = ""
    status: int | None = None
    length: int | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and attrs.astuple(self) == attrs.astuple(other)

    def __hash__(self) -> int:
        return hash(attrs.astuple(self))

    def detached(self) -> SourceError:
        """
        Return an equal error without traceback, context and cause.

        An error holds the frames that it was raised through, with all their variables. Each further raise adds frames.
        So an error that is stored, or raised for several requests, is detached first.
        """
        return attrs.evolve(self)

    @property
    def player_status(self) -> int:
        """The status for a player before the first byte: 504 timeout, 503 no free connection, 404 deleted, else 502."""
        return _PLAYER_STATUS.get(self.reason, 502)


class StoredError:
    """
    An attribute that stores a :class:`SourceError`, None at first, without frames: see :meth:`SourceError.detached`.

    Each read returns an error of its own, so raising it adds nothing to the stored one.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> StoredError: ...

    @overload
    def __get__(self, instance: object, owner: type) -> SourceError | None: ...

    def __get__(self, instance: object | None, owner: type) -> StoredError | SourceError | None:
        if instance is None:
            return self
        error: SourceError | None = instance.__dict__.get(self._name)
        return None if error is None else error.detached()

    def __set__(self, instance: object, error: SourceError | None) -> None:
        instance.__dict__[self._name] = None if error is None else error.detached()


class LimitReached(Exception):
    """A limit set by the operator is reached. The text names the limit, for people."""
