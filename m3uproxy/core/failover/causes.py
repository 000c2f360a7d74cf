"""Causes of failure: the kinds of failure of a source, and the consequence of each for the source.

:class:`m3uproxy.errors.Reason` describes a failure for people, in many words. A cause groups the reasons with the same
consequence. :mod:`m3uproxy.core.failover.sources` carries the consequence out.

Some failures are no fault of the source: the proxy is short of memory or of connections, is stopping, or has closed a
body that no player reads. :func:`is_own_fault` decides that for all. Such a failure is neither counted nor followed by
a quarantine. An internal error is counted: usually the data of the source caused it, and another source may avoid it.
"""

from __future__ import annotations

from enum import Enum

import attrs

from ...errors import Reason, SourceError


class FailureCause(Enum):
    """Kinds of failure that differ in their consequence. The value is shown in the statistics."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused by the provider"
    BUSY = "too many connections"
    BROKEN = "provider error"
    NOT_VIDEO = "not video"
    TOO_LARGE = "too large"
    UNUSABLE = "unusable"
    ENDED = "ended"
    PROGRAMME = "a programme, not a channel"
    STALLED = "stalled"
    LOW_BITRATE = "low bitrate"
    CONTENT = "content fault"
    SUSPECT = "suspect"
    NO_SLOT = "no free connection"
    INTERNAL = "internal error"
    OURS = "limit of the proxy"


@attrs.frozen
class CausePolicy:
    """
    The consequence of a cause.

    :ivar cool_down: seconds of quarantine after the first failure; they double with each further one.
    :ivar longest: the longest quarantine in seconds.
    :ivar redial: whether a source that ran well before is redialled before any other is tried.
    :ivar final: whether the source would fail again, so that it is not tried again in this outage.
    """

    cool_down: float
    longest: float
    redial: bool = False
    final: bool = False


#: A provider needs seconds to notice that a connection is closed; a wrong password stays wrong for longer.
CAUSE_POLICIES = {
    FailureCause.UNREACHABLE: CausePolicy(2, 60),
    FailureCause.REFUSED: CausePolicy(30, 600),
    FailureCause.BUSY: CausePolicy(5, 60),
    FailureCause.BROKEN: CausePolicy(5, 120),
    FailureCause.NOT_VIDEO: CausePolicy(30, 600),
    FailureCause.TOO_LARGE: CausePolicy(60, 600, final=True),
    FailureCause.UNUSABLE: CausePolicy(60, 600),
    FailureCause.ENDED: CausePolicy(2, 60, redial=True),
    FailureCause.PROGRAMME: CausePolicy(30, 600, final=True),
    FailureCause.STALLED: CausePolicy(10, 300),
    FailureCause.LOW_BITRATE: CausePolicy(30, 600),
    FailureCause.CONTENT: CausePolicy(30, 600),
    FailureCause.SUSPECT: CausePolicy(60, 600),
    FailureCause.NO_SLOT: CausePolicy(3, 3),
    FailureCause.INTERNAL: CausePolicy(1, 30, redial=True),
    FailureCause.OURS: CausePolicy(1, 1, redial=True),
}

#: Causes that lie in this proxy. They never count against a source. For ``OURS``, the cool-down of the policy is the
#: wait before the same source is dialled again; for ``NO_SLOT``, the time for which other accounts are preferred.
OWN_CAUSES = frozenset({FailureCause.NO_SLOT, FailureCause.OURS})

#: Causes that concern an account, so that its other sources are not tried either.
ACCOUNT_CAUSES = frozenset({FailureCause.BUSY, FailureCause.NO_SLOT})

#: Causes found in the content. They end a source only if there is a better one.
CONTENT_CAUSES = frozenset({FailureCause.LOW_BITRATE, FailureCause.CONTENT, FailureCause.SUSPECT})

_CAUSES = {
    Reason.DNS: FailureCause.UNREACHABLE,
    Reason.REFUSED: FailureCause.UNREACHABLE,
    Reason.UNREACHABLE: FailureCause.UNREACHABLE,
    Reason.CONNECT_TIMEOUT: FailureCause.UNREACHABLE,
    Reason.FIRST_BYTE_TIMEOUT: FailureCause.UNREACHABLE,
    Reason.TLS: FailureCause.BROKEN,
    Reason.BAD_HEAD: FailureCause.BROKEN,
    Reason.BAD_STATUS: FailureCause.BROKEN,
    Reason.BUSY: FailureCause.BUSY,
    Reason.NO_SLOT: FailureCause.NO_SLOT,
    Reason.LOW_BITRATE: FailureCause.LOW_BITRATE,
    Reason.CONTENT: FailureCause.CONTENT,
    Reason.SUSPECT: FailureCause.SUSPECT,
    Reason.CODECS: FailureCause.CONTENT,
    Reason.FORMAT: FailureCause.CONTENT,
    Reason.OTHER_FILE: FailureCause.CONTENT,
    Reason.REDIRECT_LOOP: FailureCause.UNUSABLE,
    Reason.BAD_REDIRECT: FailureCause.UNUSABLE,
    Reason.NOT_VIDEO: FailureCause.NOT_VIDEO,
    Reason.NOT_LIVE: FailureCause.UNUSABLE,
    Reason.NOT_TRANSPORT_STREAM: FailureCause.UNUSABLE,
    Reason.ENDED: FailureCause.ENDED,
    Reason.PROGRAMME_ENDED: FailureCause.PROGRAMME,
    Reason.TRUNCATED: FailureCause.ENDED,
    Reason.TOO_LARGE: FailureCause.TOO_LARGE,
    Reason.FULL: FailureCause.OURS,
    Reason.RESET: FailureCause.ENDED,
    Reason.STALLED: FailureCause.STALLED,
    Reason.FORBIDDEN: FailureCause.UNUSABLE,
    Reason.INTERNAL: FailureCause.INTERNAL,
    Reason.DELETED: FailureCause.OURS,
    Reason.UNUSED: FailureCause.OURS,
    Reason.STOPPING: FailureCause.OURS,
}


def cause_of(error: SourceError) -> FailureCause:
    """Return the cause of an error. A 4xx status is REFUSED, because another request is of little use."""
    if error.reason is Reason.BAD_STATUS and error.status is not None and 400 <= error.status < 500:
        return FailureCause.REFUSED
    return _CAUSES[error.reason]


def is_own_fault(error: SourceError) -> bool:
    """Return whether a failure is no fault of the source."""
    return cause_of(error) in OWN_CAUSES
