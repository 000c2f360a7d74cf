"""The connection pool, with requests whose callbacks cancel and repeat others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from m3uproxy.core.http.redirects import first_hop
from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.slots.slot_table import SlotTable
from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream.connection_pool import ConnectionPool, ConnectionRequest, PooledConnection
from m3uproxy.upstream.slots import Slot, SlotAllocator
from m3uproxy.upstream.tcp_socket import SocketCounter

LOCATION = first_hop("http://a.example/", "", ()).location


class PoolRig:
    """A pool with one connection, which is in use, and requests that wait for it."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.pool = ConnectionPool(self.reactor, SocketCounter(), per_host=1)
        granted: list[Slot] = []
        allocator = SlotAllocator(self.reactor, SlotTable(), lambda stream: None)
        allocator.request(Account("acme", 1), "s").addCallback(granted.append)
        self.slot = granted[0]
        self.results: dict[str, object] = {}

    def acquire(self, name: str, slot: Slot | None = None) -> Deferred[PooledConnection]:
        acquired = self.pool.acquire(ConnectionRequest(LOCATION, True, slot=slot))
        acquired.addBoth(self.note, name)
        return acquired

    def note(self, result: object, name: str) -> None:
        self.results[name] = result.value if isinstance(result, Failure) else result


def stop(rig: PoolRig) -> None:
    rig.pool.stop()


def release_slot(rig: PoolRig) -> None:
    rig.slot.release(abort=True)


@pytest.mark.parametrize(("end", "reason"), [(stop, Reason.STOPPING), (release_slot, Reason.NO_SLOT)])
def test_failed_request_cancels_another_and_is_repeated(end: Callable[[PoolRig], None], reason: Reason) -> None:
    rig = PoolRig()
    slot = rig.slot if end is release_slot else None
    rig.acquire("in use", slot)
    first, second = rig.acquire("first", slot), rig.acquire("second", slot)
    rig.acquire("third", slot)
    assert list(rig.results) == ["in use"]

    def interfere(_: object) -> None:
        second.cancel()
        rig.acquire("again", slot)

    first.addCallback(interfere)
    end(rig)
    errors = {name: result for name, result in rig.results.items() if name != "in use"}
    assert isinstance(errors.pop("second"), CancelledError)
    assert set(errors) == {"first", "third", "again"}
    for error in errors.values():
        assert isinstance(error, SourceError)
        assert error.reason is reason
    assert errors["first"] is not errors["third"]


def test_cancelled_request_gets_no_connection() -> None:
    rig = PoolRig()
    rig.acquire("in use")
    first = rig.acquire("first")
    rig.acquire("second")
    first.cancel()
    in_use = rig.results["in use"]
    assert isinstance(in_use, PooledConnection)
    in_use.release(complete=False)
    assert isinstance(rig.results["first"], CancelledError)
    assert isinstance(rig.results["second"], PooledConnection)
