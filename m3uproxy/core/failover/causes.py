"""Causes of failure: the kinds of failure of a source, and the consequence of each for the source.

:class:`m3uproxy.errors.Reason` describes a failure for people, in many words. A cause groups the reasons with the same
consequence. :mod:`m3uproxy.core.failover.sources` carries the consequence out.

Some failures are no fault of the source: the proxy is short of memory or of connections, is stopping, or has closed a
body that no player reads. :func:`is_own_fault` decides that for all. Such a failure is neither counted nor followed by
a quarantine. An internal error is counted: usually the data of the source caused it, and another source may avoid it.

**Statuses.** :func:`status_error` is the one place that says what an HTTP status of a provider means, for live streams,
films, playlists and segments. A provider with too many connections of an account says so with many statuses. Some of
them have other meanings as well. These count only while the provider may still count a connection of this proxy.
"""

from __future__ import annotations

from enum import Enum

import attrs

from ...errors import Reason, SourceError


class FailureCause(Enum):
    """Kinds of failure that differ in their consequence. The value is shown in the statistics."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused by the provider"
    NOT_FOUND = "not found"
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
    :ivar tries: failures after which the same holds for a source that has not delivered; 0 for no limit.
    """

    cool_down: float
    longest: float
    redial: bool = False
    final: bool = False
    tries: int = 0


#: A provider needs seconds to notice that a connection is closed; a wrong password stays wrong for longer.
CAUSE_POLICIES = {
    FailureCause.UNREACHABLE: CausePolicy(2, 60),
    FailureCause.REFUSED: CausePolicy(30, 600, tries=2),
    FailureCause.NOT_FOUND: CausePolicy(30, 600, tries=1),
    FailureCause.BUSY: CausePolicy(0.5, 3),
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
    Reason.OTHER_KIND: FailureCause.UNUSABLE,
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


#: Statuses for too many connections, whatever connections this proxy has: 429 is the standard one, IPTV panels send the
#: others.
BUSY_STATUSES = frozenset({429, 453, 456, 458, 509, 884})
#: Statuses that mean the same while the provider may count a connection of this proxy; see :func:`status_error`.
BUSY_IF_COUNTED = frozenset({401, 403, 503})
#: Seconds between two requests to an account with too many connections; the last value repeats.
BUSY_DELAYS = (0.5, 1.0, 2.0, 3.0)
_STATUS_CAUSES = {404: FailureCause.NOT_FOUND, 410: FailureCause.NOT_FOUND}


def status_error(status: int, counted: bool = False, retry_after: float | None = None) -> SourceError:
    """
    Return the error for the HTTP status of a provider.

    :param counted: whether the provider may count another connection of this proxy to the account
        (:class:`m3uproxy.core.slots.account_usage.AccountUsage`).
    :param retry_after: seconds for which the provider asks not to be requested again.
    """
    busy = status in BUSY_STATUSES or (counted and status in BUSY_IF_COUNTED)
    reason = Reason.BUSY if busy else Reason.BAD_STATUS
    return SourceError(reason, f"HTTP {status}", status, retry_after=retry_after)


def busy_delay(refusals: int) -> float:
    """Return the seconds before an account with too many connections is asked again.

    :param refusals: the number of refusals before.
    """
    return BUSY_DELAYS[min(refusals, len(BUSY_DELAYS) - 1)]


def cause_of(error: SourceError) -> FailureCause:
    """Return the cause of an error."""
    if error.reason is Reason.BAD_STATUS and error.status is not None and 400 <= error.status < 500:
        return _STATUS_CAUSES.get(error.status, FailureCause.REFUSED)
    return _CAUSES[error.reason]


def is_own_fault(error: SourceError) -> bool:
    """Return whether a failure is no fault of the source."""
    return cause_of(error) in OWN_CAUSES
