"""The resolver of host names for the whole process: ``getaddrinfo`` in threads, of which no name takes all.

``getaddrinfo`` blocks its thread until the name server answers. If the server is dead, that is 5 to 40 seconds. So one
look-up for each name is under way at a time, and all who ask for the name wait for it. A failure is remembered for a
few seconds.

Many different dead names must not take all threads either. A name that has answered before may use any thread. A new
name leaves some of them free, and a name that failed last time leaves most of them free. If there is no thread for a
name, its look-up waits. It is then made even if all who asked have given up: the name may have recovered.

Addresses are not remembered: ``getaddrinfo`` does not tell for how long they are valid.

The threads are not those of the reactor. The reactor waits for its own threads before the process ends.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial
from threading import Thread
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..log import make_logger

log = make_logger()

#: Seconds for which a failure is remembered.
FAILURE_MEMORY = 3.0
#: Seconds for which a look-up waits for a thread. The request for the name ends earlier.
QUEUE_TIME = 60.0
#: Limit of the names that wait for a thread, and of the requests for one name.
MAX_WAITING = 1000
#: Limit of the names whose last outcome is remembered, for each outcome.
MAX_NAMES = 1024

#: An address as ``getaddrinfo`` returns it: family and socket address.
Found = tuple[int, tuple[Any, ...]]

_TYPES = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}

T = TypeVar("T")


class LastOutcome(Enum):
    """The outcome of a name's last look-up. While as many threads are in use as the value, such a name waits."""

    ANSWERED = 256
    NEW = 192
    FAILED = 64


@implementer(IHostResolution)
@attrs.define(eq=False)
class _LookupRequest:
    """A request for the addresses of a name."""

    name: str
    receiver: IResolutionReceiver
    port: int
    types: Sequence[type[IAddress]] | None
    transport: str
    cancelled: bool = False

    def cancel(self) -> None:
        """Tell the receiver nothing more. Other requests for the name are not affected."""
        self.cancelled = True

    def answer(self, addresses: Iterable[Found]) -> None:
        """Tell the receiver all addresses of the requested types."""
        if self.cancelled:
            return
        try:
            for family, address in addresses:
                kind = _TYPES.get(socket.AddressFamily(family))
                if kind is not None and (self.types is None or kind in self.types):
                    self.receiver.addressResolved(kind(self.transport, address[0], self.port, *address[2:]))
            self.receiver.resolutionComplete()
        except Exception:
            log.failure("cannot pass on the addresses of {name}", name=self.name)


@attrs.define(eq=False)
class _Lookup:
    """The look-up of a name, which waits for a thread (then it has a timer) or has one."""

    name: str
    requests: list[_LookupRequest] = attrs.field(factory=list)
    timer: IDelayedCall | None = None


class _Recent(Generic[T]):
    """A dictionary of names that forgets the oldest entries."""

    def __init__(self) -> None:
        self._entries: dict[str, T] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def get(self, name: str) -> T | None:
        """Return the entry of a name, or None."""
        return self._entries.get(name)

    def put(self, name: str, entry: T) -> None:
        """Set the entry of a name, as the newest."""
        self._entries.pop(name, None)
        self._entries[name] = entry
        if len(self._entries) > MAX_NAMES:
            del self._entries[next(iter(self._entries))]

    def discard(self, name: str) -> None:
        """Remove the entry of a name."""
        self._entries.pop(name, None)


def start_thread(run: Callable[[], None]) -> None:
    """
    Run a function in a thread that does not keep the process from ending.

    :raises RuntimeError: if the system allows no more threads.
    """
    Thread(target=run, name="look-up", daemon=True).start()


@implementer(IHostnameResolver)
class NameResolver:
    """The resolver. See the docstring of the module."""

    def __init__(self, reactor: Any, start: Callable[[Callable[[], None]], None] = start_thread) -> None:
        """
        Prepare a resolver, for ``reactor.installNameResolver``.

        :param reactor: provides ``IReactorTime`` and ``callFromThread``.
        :param start: runs a function in a thread of its own.
        """
        self._reactor = reactor
        self._start_thread = start
        self._under_way: dict[str, _Lookup] = {}
        self._queues: dict[LastOutcome, deque[_Lookup]] = {outcome: deque() for outcome in LastOutcome}
        self._answered: _Recent[None] = _Recent()
        self._failed: _Recent[float] = _Recent()
        self._threads = 0

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look up a name, or wait for the look-up that is under way."""
        request = _LookupRequest(hostName, resolutionReceiver, portNumber, addressTypes, transportSemantics)
        resolutionReceiver.resolutionBegan(request)
        name = hostName.lower()
        failed_at = self._failed.get(name)
        if failed_at is not None and self._reactor.seconds() - failed_at < FAILURE_MEMORY:
            request.answer(())
            return request
        lookup = self._under_way.get(name)
        if lookup is None:
            lookup = self._begin(name)
        if lookup is None or len(lookup.requests) >= MAX_WAITING:
            request.answer(())
        else:
            lookup.requests.append(request)
        return request

    def _begin(self, name: str) -> _Lookup | None:
        """Start the look-up of a name, or let it wait for a thread. Return None if neither is possible."""
        lookup = _Lookup(name)
        outcome = self._last_outcome(name)
        if self._threads < outcome.value:
            return lookup if self._start(lookup) else None
        queue = self._queues[outcome]
        if len(queue) >= MAX_WAITING:
            return None
        queue.append(lookup)
        self._under_way[name] = lookup
        lookup.timer = self._reactor.callLater(QUEUE_TIME, self._queued_too_long, lookup, queue)
        return lookup

    def _last_outcome(self, name: str) -> LastOutcome:
        if name in self._failed:
            return LastOutcome.FAILED
        return LastOutcome.ANSWERED if name in self._answered else LastOutcome.NEW

    def _start(self, lookup: _Lookup) -> bool:
        """Look a name up in a thread. Return False if there is none."""
        try:
            self._start_thread(partial(self._look_up, lookup))
        except RuntimeError as error:
            log.warn("cannot look up {name}: {error}", name=lookup.name, error=str(error))
            return False
        self._threads += 1
        self._under_way[lookup.name] = lookup
        return True

    def _look_up(self, lookup: _Lookup) -> None:
        """Call ``getaddrinfo``. This runs in a thread."""
        found: list[Found] = []
        try:
            for family, _, _, _, address in socket.getaddrinfo(lookup.name, 0, type=socket.SOCK_STREAM):
                found.append((family, address))
        except (OSError, UnicodeError):
            pass  # no such name, or no answer
        except Exception:
            failed = partial(log.failure, "looking up {name} failed", failure=Failure(), name=lookup.name)
            self._reactor.callFromThread(failed)
        self._reactor.callFromThread(self._looked_up, lookup, found)

    def _looked_up(self, lookup: _Lookup, found: Sequence[Found]) -> None:
        self._threads -= 1
        if found:
            self._failed.discard(lookup.name)
            self._answered.put(lookup.name, None)
        else:
            self._answered.discard(lookup.name)
            self._failed.put(lookup.name, self._reactor.seconds())
        self._answer(lookup, found)
        self._start_queued()

    def _answer(self, lookup: _Lookup, found: Sequence[Found]) -> None:
        del self._under_way[lookup.name]
        for request in lookup.requests:
            request.answer(found)

    def _start_queued(self) -> None:
        """Start look-ups that wait, those of names that have answered before first."""
        for outcome, queue in self._queues.items():
            while queue and self._threads < outcome.value:
                lookup = queue.popleft()
                if lookup.timer is not None:
                    lookup.timer.cancel()
                if not self._start(lookup):
                    self._answer(lookup, ())

    def _queued_too_long(self, lookup: _Lookup, queue: deque[_Lookup]) -> None:
        queue.remove(lookup)
        log.warn("cannot look up {name}: {n} look-ups are under way", name=lookup.name, n=self._threads)
        self._answer(lookup, ())
