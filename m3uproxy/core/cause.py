"""Kinds of failure of a source, and what follows from each for the source itself.

:class:`m3uproxy.errors.Reason` says in many words what happened, for people; here the words are sorted by what is to
be done about it. What is done is up to :mod:`m3uproxy.core.sources`.
"""

from __future__ import annotations

from enum import Enum

import attrs

from ..errors import Reason, SourceError


class Cause(Enum):
    """Kinds of failure that differ in what is to be done."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused by the provider"
    BUSY = "too many connections"
    BROKEN = "provider error"
    NOT_VIDEO = "not video"
    UNUSABLE = "unusable"
    ENDED = "ended"
    STALLED = "stalled"
    LOW_BITRATE = "low bitrate"
    CONTENT = "content fault"
    SUSPECT = "suspect"
    NO_SLOT = "no free connection"
    OURS = "internal error"


@attrs.frozen
class Treatment:
    """
    What follows from a cause.

    :ivar cool_down: seconds of quarantine after the first failure; twice as many after each further one.
    :ivar longest: where that growth ends.
    :ivar redial: whether a source that ran well before is tried again before any other.
    """

    cool_down: float
    longest: float
    redial: bool = False


#: A provider needs seconds to notice that a connection of ours is gone; a wrong password stays wrong for longer.
TREATMENTS = {
    Cause.UNREACHABLE: Treatment(2, 60),
    Cause.REFUSED: Treatment(30, 600),
    Cause.BUSY: Treatment(5, 60),
    Cause.BROKEN: Treatment(5, 120),
    Cause.NOT_VIDEO: Treatment(30, 600),
    Cause.UNUSABLE: Treatment(60, 600),
    Cause.ENDED: Treatment(2, 60, redial=True),
    Cause.STALLED: Treatment(10, 300),
    Cause.LOW_BITRATE: Treatment(30, 600),
    Cause.CONTENT: Treatment(30, 600),
    Cause.SUSPECT: Treatment(60, 600),
    Cause.NO_SLOT: Treatment(3, 3),
    Cause.OURS: Treatment(1, 30, redial=True),
}

#: Causes that concern an account, so that its other sources need not be asked either.
OF_ACCOUNT = frozenset({Cause.BUSY, Cause.NO_SLOT})

#: Causes that are found in what a source delivers. A source is left for them only for a better one.
OF_WHAT_CAME = frozenset({Cause.LOW_BITRATE, Cause.CONTENT, Cause.SUSPECT})

_CAUSES = {
    Reason.DNS: Cause.UNREACHABLE,
    Reason.REFUSED: Cause.UNREACHABLE,
    Reason.UNREACHABLE: Cause.UNREACHABLE,
    Reason.CONNECT_TIMEOUT: Cause.UNREACHABLE,
    Reason.FIRST_BYTE_TIMEOUT: Cause.UNREACHABLE,
    Reason.TLS: Cause.BROKEN,
    Reason.BAD_HEAD: Cause.BROKEN,
    Reason.BAD_STATUS: Cause.BROKEN,
    Reason.BUSY: Cause.BUSY,
    Reason.NO_SLOT: Cause.NO_SLOT,
    Reason.LOW_BITRATE: Cause.LOW_BITRATE,
    Reason.CONTENT: Cause.CONTENT,
    Reason.SUSPECT: Cause.SUSPECT,
    Reason.CODECS: Cause.CONTENT,
    Reason.FORMAT: Cause.CONTENT,
    Reason.OTHER_FILE: Cause.CONTENT,
    Reason.REDIRECT_LOOP: Cause.UNUSABLE,
    Reason.BAD_REDIRECT: Cause.UNUSABLE,
    Reason.NOT_VIDEO: Cause.NOT_VIDEO,
    Reason.NOT_LIVE: Cause.UNUSABLE,
    Reason.NOT_TRANSPORT_STREAM: Cause.UNUSABLE,
    Reason.ENDED: Cause.ENDED,
    Reason.TRUNCATED: Cause.ENDED,
    Reason.TOO_LARGE: Cause.UNUSABLE,
    Reason.FULL: Cause.OURS,
    Reason.RESET: Cause.ENDED,
    Reason.STALLED: Cause.STALLED,
    Reason.FORBIDDEN: Cause.UNUSABLE,
    Reason.INTERNAL: Cause.OURS,
    Reason.DELETED: Cause.OURS,
    Reason.STOPPING: Cause.OURS,
}


def cause_of(error: SourceError) -> Cause:
    """The kind of a failure: of a provider's HTTP status, 4xx says that asking again is of little use."""
    if error.reason is Reason.BAD_STATUS and error.status is not None and 400 <= error.status < 500:
        return Cause.REFUSED
    return _CAUSES[error.reason]
