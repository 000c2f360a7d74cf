"""What tests share: their own modules (``wire``, fakes) are found from any folder under ``tests``."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# CI uses the same examples in each run, so that a failure can be reproduced; elsewhere examples are random.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("default", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run exhaustive tests untraced: coverage makes them three times slower, and other tests run the same lines."""
    tracer = sys.gettrace() if item.get_closest_marker("exhaustive") else None
    if tracer is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session", autouse=True)
def secret_log():
    """Check that the log of the whole run holds no secret."""
    from secret_log_check import SecretLogCheck
    from twisted.logger import globalLogPublisher

    check = SecretLogCheck()
    globalLogPublisher.addObserver(check)
    yield check
    globalLogPublisher.removeObserver(check)
    assert check.leaks == []


@pytest.fixture(autouse=True)
def reactor_hold(request):
    """Check that no call of the package holds the reactor for more than 50 ms, in tests with sockets and decoders."""
    markers = {mark.name for mark in request.node.iter_markers()}
    if not markers & {"slow", "media"} or "capacity" in markers:
        yield None
        return
    from reactor_hold import ReactorHoldCheck
    from twisted.internet import reactor

    if not hasattr(reactor, "_doReadOrWrite"):
        yield None
        return
    with ReactorHoldCheck(reactor).running() as check:
        yield check
    assert check.holds == []


@pytest.fixture(scope="session", autouse=True)
def no_kept_exception():
    """
    Check that the package keeps no exception for the whole run.

    Each raise would add a traceback entry to it, whose frames hold all their variables.
    """
    from kept_exceptions import kept_exceptions

    yield
    assert list(kept_exceptions()) == []
