"""A second connection beside the one in use, where there is room for it: to replace it, or to look at a backup.

Providers count connections. Where somebody said how many an account allows, there is room if one is free. Where nobody
did, there is room only at another host: one connection too many may cost the one that works.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.failover.machine import FailoverPolicy
from ..errors import SourceError
from ..interfaces import IDialler
from ..upstream.body_probe import probe_source
from ..upstream.dialler import DialTimeouts, SourceRequest
from ..upstream.slots import StreamSlot
from .candidate import StandbyConnection, StandbyOwner
from .read_scheduler import ReadScheduler


class Standby:
    """
    What one session has open beside its source.

    :ivar candidate: what is to replace it, if anything is.
    """

    def __init__(
        self,
        clock: IReactorTime,
        dialler: IDialler,
        tick: ReadScheduler,
        admission: StreamSlot,
        policy: FailoverPolicy,
        owner: StandbyOwner,
    ) -> None:
        """Nothing is open."""
        self._clock = clock
        self._dialler = dialler
        self._tick = tick
        self._admission = admission
        self._limits = DialTimeouts(policy.connect, policy.first_byte, policy.connect + policy.first_byte)
        self._owner = owner
        self.candidate: StandbyConnection | None = None

    @property
    def chosen(self) -> int | None:
        """The index of what is to replace it, if somebody chose that."""
        return self.candidate.index if self.candidate is not None and self.candidate.chosen else None

    def open(
        self,
        index: int,
        request: SourceRequest,
        used: SourceRequest,
        why: SourceError | None = None,
        chosen: bool = False,
    ) -> bool:
        """
        Open a source that is to replace the one in use, instead of another that was to.

        :param used: the source in use.
        :return: False if there is no room for it.
        """
        self.close()
        if not has_room(self._admission, request, used):
            return False
        slot = self._admission.second(request.account)
        self.candidate = StandbyConnection(self._clock, index, slot, self._owner, why, chosen)
        self.candidate.open(self._dialler, self._tick, request, self._limits)
        return True

    def probe_source(self, request: SourceRequest, used: SourceRequest) -> Deferred[None] | None:
        """Look whether a source would deliver (:func:`.scout.probe_source`); None if there is no room for that."""
        if self.candidate is not None or not has_room(self._admission, request, used):
            return None
        slot = self._admission.second(request.account)
        return probe_source(self._clock, self._dialler, request, self._limits, slot)

    def sources_change(self, before: tuple[SourceRequest, ...], after: tuple[SourceRequest, ...]) -> None:
        """What is to replace the one in use may have another index among other sources, or is none of them any more."""
        candidate = self.candidate
        if candidate is None or candidate.index < 0:
            return
        request = before[candidate.index]
        if request in after:
            candidate.index = after.index(request)
        else:
            self.close()

    def close(self) -> None:
        """Nothing is to replace the source any more."""
        candidate, self.candidate = self.candidate, None
        if candidate is not None:
            candidate.close()


def has_room(admission: StreamSlot, request: SourceRequest, used: SourceRequest) -> bool:
    """Whether a source may be opened beside the one in use."""
    if request.account is not None:
        return admission.has_room(request.account)
    return urlsplit(request.url).hostname != urlsplit(used.url).hostname
