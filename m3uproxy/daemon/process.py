"""The process around the reactor: clock, signals, file descriptors, memory."""

# mypy: allow-untyped-calls

from __future__ import annotations

import codecs
import ctypes
import gc
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory

from ..log import make_logger
from ..upstream.name_resolver import NameResolver

log = make_logger()

#: New objects before the garbage collector runs. The data path makes thousands of objects a second, without cycles.
GC_THRESHOLD = 20_000
#: ``M_MMAP_THRESHOLD`` of glibc's ``malloc.h``.
_M_MMAP_THRESHOLD = -3
#: File descriptors for other uses than players: providers, API clients, log, reactor.
RESERVED_DESCRIPTORS = 200
#: Requested file descriptors if the hard limit is infinite: the maximum of Linux by default.
MAX_DESCRIPTORS = 1_048_576
#: Below this number of file descriptors the daemon logs a warning.
FEW_DESCRIPTORS = 1200


def prepare_reactor(reactor: Any) -> None:
    """Set the clock, the name resolver and the logging of the reactor."""
    # Twisted's reactor uses the time of day. If the system time is changed, all timers fire at once or not at all.
    reactor.seconds = time.monotonic
    reactor.installNameResolver(NameResolver(reactor))
    # Each dial makes a factory; its start and stop are not worth a log line.
    Factory.noisy = False
    # Python would load the codec with the first host name, when it may no longer have the right to (--uid, --chroot).
    codecs.lookup("idna")


def obey_signals(reactor: Any, hurry: Callable[[], None], reload: Callable[[], None]) -> None:
    """Install the handlers: SIGTERM and SIGINT stop the reactor, a second one calls ``hurry``; SIGHUP calls ``reload``.

    With Twisted's own handlers the process would end by the signal after a clean stop, a failure for a supervisor.
    """
    received: list[int] = []
    on_a_terminal = _on_a_terminal()

    def stop(number: int) -> None:
        received.append(number)
        if len(received) == 1:
            log.info("received {signal}, stopping", signal=signal.Signals(number).name)
            reactor.stop()
        else:
            log.info("received another {signal}, ending at once", signal=signal.Signals(number).name)
            hurry()

    def reload_or_stop(number: int) -> None:
        # If the terminal of the process was closed, SIGHUP means stop.
        if on_a_terminal and not _on_a_terminal():
            stop(number)
        else:
            reload()

    def install(number: int, handler: Callable[[int], None]) -> None:
        signal.signal(number, lambda number, frame: reactor.callFromThread(handler, number))

    install(signal.SIGHUP, reload_or_stop)
    # The reactor installs its own handlers for these when it starts.
    reactor.callWhenRunning(install, signal.SIGTERM, stop)
    reactor.callWhenRunning(install, signal.SIGINT, stop)


def _on_a_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def settle_memory() -> None:
    """Exclude all loaded objects from garbage collection, and set up the allocator."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    _return_large_blocks()


def _return_large_blocks() -> None:
    """Make glibc allocate blocks over 128 KiB with mmap and return them to the system at once.

    glibc does so until the first such block is freed, then raises its threshold. After that, the read buffers of a
    source with a high bitrate lie between the blocks of its ring and fragment the heap: 2 MB for 30 MB of ring.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 131_072)
    except (OSError, AttributeError):
        pass  # another C library


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit: each player needs a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = MAX_DESCRIPTORS
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    except (ValueError, OSError):
        pass
    log.info("file descriptors for about {players} players", players=max(0, soft - RESERVED_DESCRIPTORS))
    if soft < FEW_DESCRIPTORS:
        log.warn("only {limit} file descriptors are allowed; raise the limit (ulimit -n)", limit=soft)
