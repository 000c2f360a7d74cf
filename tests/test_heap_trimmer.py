"""Returning unused memory to the system, on a clock with a thread pool that the test runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

import m3uproxy
from m3uproxy.daemon.heap_trimmer import INTERVAL, SETTLING_TIME, HeapTrimmer, malloc_trim


class ThreadClock(Clock):
    """A clock that is also a thread pool. The test runs the work of the threads."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[Callable[[], None]] = []

    def getThreadPool(self) -> ThreadClock:
        return self

    def callInThreadWithCallback(self, done, function, *args) -> None:
        def run() -> None:
            try:
                result = (True, function(*args))
            except Exception:
                from twisted.python.failure import Failure

                result = (False, Failure())
            done(*result)

        self.work.append(run)

    def callFromThread(self, function, *args) -> None:
        function(*args)

    def count(self, trimmer: HeapTrimmer, players: int, seconds: int) -> int:
        """Let some seconds pass and run the threads. Return the number of trims."""
        trims = 0
        for _ in range(seconds):
            self.advance(1)
            trimmer.players_counted(players)
            work, self.work = self.work, []
            trims += len(work)
            for run in work:
                run()
        return trims


def test_heap_is_trimmed_after_the_last_player_and_while_caches_become_empty() -> None:
    clock = ThreadClock()
    trimmer = HeapTrimmer(clock, lambda: 1)
    assert clock.count(trimmer, 0, 100) == 0
    assert clock.count(trimmer, 3, 100) == 0
    assert clock.count(trimmer, 0, 1) == 1
    assert clock.count(trimmer, 0, round(SETTLING_TIME)) == SETTLING_TIME // INTERVAL - 1
    assert clock.count(trimmer, 0, 1000) == 0


def test_players_that_come_and_go_cause_no_more_trims() -> None:
    clock = ThreadClock()
    trimmer = HeapTrimmer(clock, lambda: 1)
    trims = sum(clock.count(trimmer, second % 2, 1) for second in range(100))
    assert trims <= 100 / INTERVAL + 1


def test_trims_do_not_overlap() -> None:
    clock = ThreadClock()
    trimmer = HeapTrimmer(clock, lambda: 1)
    trimmer.players_counted(1)
    for _ in range(60):
        clock.advance(1)
        trimmer.players_counted(0)
    assert len(clock.work) == 1


def test_failure_is_logged_and_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ThreadClock()
    trimmer = HeapTrimmer(clock, lambda: 1 / 0)
    clock.count(trimmer, 1, 1)
    with capturedLogs() as events:
        assert clock.count(trimmer, 0, 20) == 2
    assert [event["log_format"] for event in events] == ["returning unused memory failed"] * 2
    monkeypatch.setattr("m3uproxy.daemon.heap_trimmer.ctypes.CDLL", lambda _: object())
    assert malloc_trim() is None
    other = HeapTrimmer(clock)
    clock.count(other, 1, 1)
    assert clock.count(other, 0, 20) == 0


#: The heap of a test process has holes, which blocks of the test would fill. So a fresh process measures.
_MEASURE = """
from m3uproxy.daemon.heap_trimmer import malloc_trim

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

trim, blocks, kept = malloc_trim(), [], []
for number in range(1000):
    blocks.append(bytes([number % 256]) * 60_000)
    kept.append(bytes([number % 256]) * 2000)
blocks.clear()
before = resident()
if trim is not None:
    trim()
print(-1 if trim is None else before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_memory_is_returned() -> None:
    package = str(Path(m3uproxy.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package}
    answer = subprocess.run(
        [sys.executable, "-c", _MEASURE], env=environment, capture_output=True, text=True, check=True
    )
    returned = int(answer.stdout)
    if returned == -1:
        pytest.skip("another C library")
    assert returned > 30_000_000
