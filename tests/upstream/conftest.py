import pytest
import pytest_twisted
from scripted import Bench
from twisted.logger import globalLogPublisher


@pytest_twisted.async_yield_fixture
async def bench():
    """A bench, and after the test no socket, delayed call or reader that was not there before."""
    from twisted.internet import reactor

    calls, readers = set(reactor.getDelayedCalls()), set(reactor.getReaders())
    bench = Bench(reactor)
    yield bench
    await bench.stop()
    assert bench.sockets.open == 0
    left = set(reactor.getDelayedCalls()) - calls
    assert not left, left
    assert set(reactor.getReaders()) <= readers


@pytest.fixture
def errors():
    """Log events with a traceback."""
    seen = []

    def observe(event):
        if "log_failure" in event:
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)
