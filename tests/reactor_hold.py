"""Check that no call of the package holds the reactor for too long.

The rule: no call takes more than 50 ms of the CPU time of the reactor's thread, because all players wait meanwhile.
CPU time is measured, so that a busy machine does not fail the check. Time of the garbage collector is left out,
because it depends on the heap of the test process.

A test runs in the same thread as the proxy, the test provider and the decoders. So a thread samples the stack of a long
call. A sample counts if it belongs to the package (:func:`owner_of`).
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs

#: CPU seconds that one call may take.
LIMIT = 0.05
#: Factor for runs under a tracer (coverage), which makes Python code slower.
TRACED = 4.0
_SAMPLE_INTERVAL = 0.005
_SAMPLED_AFTER = 0.02
_FOREIGN = ("/twisted/", "/lib/python3", "/pytest_twisted", "/greenlet/", __file__)


@attrs.frozen
class Hold:
    """A call that took too long: CPU seconds and the place where it was seen most often."""

    seconds: float
    place: str


def owner_of(frame: FrameType | None) -> str:
    """Return the file to which a call belongs: that of a test, if one is on the stack, else the outermost one.

    Files of Twisted and the standard library do not count. A test may go on in a callback of the package.
    """
    owner = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if "/m3uproxy/" in name or not any(part in name for part in _FOREIGN):
            owner = name
        if "/tests/" in name and name != __file__:
            return name
        frame = frame.f_back
    return owner


def is_of_the_package(path: str) -> bool:
    """Return True for files of the proxy; False for the test provider, tests and libraries."""
    return "/m3uproxy/" in path and "/m3uproxy/provider/" not in path and "/tests/" not in path


def place_of(frame: FrameType | None) -> str:
    """Return file, line and function of the innermost frame of the package."""
    while frame is not None:
        code = frame.f_code
        if is_of_the_package(code.co_filename):
            return f"{code.co_filename.partition('/m3uproxy/')[2]}:{frame.f_lineno} {code.co_name}"
        frame = frame.f_back
    return "unknown"


class ReactorHoldCheck:
    """A check of the calls that one reactor makes."""

    def __init__(self, reactor: Any) -> None:
        self.holds: list[Hold] = []
        self._reactor = reactor
        self._thread = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._thread)
        self._limit = LIMIT * (TRACED if is_traced() else 1.0)
        self._began: float | None = None
        self._collected = self._collection_began = 0.0
        self._places: Counter[str] = Counter()
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator[ReactorHoldCheck]:
        """Measure each event of a socket, each delayed call and each call from a thread while the block runs."""
        reactor = self._reactor
        names = ("_doReadOrWrite", "callLater", "callFromThread")
        originals = {name: getattr(reactor, name) for name in names}
        reactor._doReadOrWrite = self._measured(originals["_doReadOrWrite"])
        reactor.callLater = lambda delay, call, *args, **named: originals["callLater"](
            delay, _MeasuredCall(self, call), *args, **named
        )
        reactor.callFromThread = lambda call, *args, **named: originals["callFromThread"](
            _MeasuredCall(self, call), *args, **named
        )
        gc.callbacks.append(self._collecting)
        sampler = threading.Thread(target=self._sample, daemon=True)
        sampler.start()
        try:
            yield self
        finally:
            self._stopped.set()
            sampler.join()
            gc.callbacks.remove(self._collecting)
            for name in names:
                delattr(reactor, name)

    def measure(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Call a function and note it if it takes too long. A call within a measured call belongs to the outer one."""
        if self._began is not None:
            return function(*args, **named)
        self._places.clear()
        self._collected = 0.0
        self._began = began = time.thread_time()
        try:
            return function(*args, **named)
        finally:
            self._began = None
            took = time.thread_time() - began - self._collected
            if took > self._limit and self._places:
                self.holds.append(Hold(round(took, 3), self._places.most_common(1)[0][0]))

    def _measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: self.measure(function, *args, **named)

    def _collecting(self, phase: str, _info: object) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collection_began = time.thread_time()
        else:
            self._collected += time.thread_time() - self._collection_began

    def _sample(self) -> None:
        while not self._stopped.wait(_SAMPLE_INTERVAL):
            began = self._began
            if began is None or time.clock_gettime(self._clock) - began < _SAMPLED_AFTER:
                continue
            frame = sys._current_frames().get(self._thread)
            if is_of_the_package(owner_of(frame)):
                self._places[place_of(frame)] += 1


class _MeasuredCall:
    """A function that is measured. It looks like the original one to tests that list delayed calls."""

    def __init__(self, check: ReactorHoldCheck, function: Callable[..., Any]) -> None:
        self._check = check
        self._function = function

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._check.measure(self._function, *args, **named)

    def __repr__(self) -> str:
        return repr(self._function)


def is_traced() -> bool:
    """Return True under a tracer such as coverage."""
    monitoring = getattr(sys, "monitoring", None)
    return sys.gettrace() is not None or (monitoring is not None and monitoring.get_tool(1) is not None)
