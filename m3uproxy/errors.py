"""Why a source failed, and what a player is told about it."""

from __future__ import annotations

from enum import Enum

import attrs


class Reason(Enum):
    """One word for each way a provider lets us down; the value is what logs and statistics show."""

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
    NOT_TRANSPORT_STREAM = "not a transport stream"
    ENDED = "ended"
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
    STOPPING = "the proxy is stopping"


#: A provider that is at its limit of connections says so with one of these (429 is the standard's, 458 and
#: 509 are what IPTV panels send, 503 is what load balancers in front of them send).
BUSY_STATUSES = frozenset({429, 458, 503, 509})

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
    """A source did not deliver, or stopped delivering.

    ``detail`` is for people and must already be free of secrets; ``status`` is the provider's own HTTP status
    where there was one; ``length`` are the bytes of the file where a 416 tells them; ``media_type`` is what a film is
    that was taken for a live stream.
    """

    reason: Reason
    detail: str = ""
    status: int | None = None
    length: int | None = None
    media_type: str | None = None

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value

    @property
    def player_status(self) -> int:
        """What a player that has not had a byte yet is answered: 504 timeout, 503 no slot, else 502."""
        return _PLAYER_STATUS.get(self.reason, 502)


def bad_status(status: int) -> SourceError:
    """The failure that a provider's own HTTP status amounts to."""
    reason = Reason.BUSY if status in BUSY_STATUSES else Reason.BAD_STATUS
    return SourceError(reason, f"HTTP {status}", status)


class LimitReached(Exception):
    """The operator's limit on something is reached. The text says which, for people."""
