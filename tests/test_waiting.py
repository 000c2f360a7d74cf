"""Requests that wait for one result, and callbacks that interfere with each other."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from m3uproxy.errors import Reason, SourceError
from m3uproxy.waiting import WaitingRequests


def results(request: Deferred[int]) -> list[object]:
    found: list[object] = []
    request.addBoth(lambda result: found.append(result.value if isinstance(result, Failure) else result))
    return found


def test_all_requests_get_the_result_and_later_ones_wait() -> None:
    waiting: WaitingRequests[int] = WaitingRequests()
    found = [results(waiting.wait()) for _ in range(3)]
    waiting.succeed(7)
    assert found == [[7]] * 3
    assert len(waiting) == 0
    later = results(waiting.wait())
    assert later == []
    waiting.fail(SourceError(Reason.FULL))
    assert later == [SourceError(Reason.FULL)]


def test_each_request_fails_with_an_error_of_its_own() -> None:
    waiting: WaitingRequests[int] = WaitingRequests()
    first, second = results(waiting.wait()), results(waiting.wait())
    waiting.fail(SourceError(Reason.FULL))
    assert first == second
    assert first[0] is not second[0]


@pytest.mark.parametrize("fails", [False, True])
def test_callback_cancels_another_request_waits_again_and_fires_again(fails: bool) -> None:
    waiting: WaitingRequests[int] = WaitingRequests()
    first, second, third = waiting.wait(), waiting.wait(), waiting.wait()
    again: list[Deferred[int]] = []

    def interfere(result: object) -> None:
        second.cancel()
        again.append(waiting.wait())
        waiting.succeed(2)

    first.addBoth(interfere)
    of_second, of_third = results(second), results(third)
    if fails:
        waiting.fail(SourceError(Reason.FULL))
    else:
        waiting.succeed(1)
    assert [type(each) for each in of_second] == [CancelledError]
    assert of_third == [SourceError(Reason.FULL) if fails else 1]
    assert results(again[0]) == [2]


def test_cancelled_request_is_forgotten() -> None:
    waiting: WaitingRequests[int] = WaitingRequests()
    request = waiting.wait()
    found = results(request)
    request.cancel()
    waiting.succeed(1)
    assert [type(each) for each in found] == [CancelledError]
    assert len(waiting) == 0
