"""The process around the reactor: time, signals, file descriptors, memory."""

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

log = make_logger()

#: Name resolution runs in threads, and each dead name server blocks one for seconds.
DNS_THREADS = 32
#: New objects before the collector looks for cycles: the data path makes none, and thousands of objects a second.
GC_THRESHOLD = 20_000
#: ``M_MMAP_THRESHOLD`` of glibc's ``malloc.h``.
_M_MMAP_THRESHOLD = -3
#: Descriptors that are not players' sockets: providers, API clients, log, reactor.
RESERVED_DESCRIPTORS = 200
#: What is asked for where there is no limit: the most that Linux gives a process as it is set up.
MANY_DESCRIPTORS = 1_048_576
#: Under this many descriptors the daemon says so at the start.
FEW_DESCRIPTORS = 1200


def prepare_reactor(reactor: Any) -> None:
    """Make the reactor fit for a daemon that measures silence."""
    # Twisted's reactor goes by the time of day: when that is set, every timer fires or none does.
    reactor.seconds = time.monotonic
    reactor.suggestThreadPoolSize(DNS_THREADS)
    # Each dial makes a factory, which would tell that it starts and stops.
    Factory.noisy = False
    # Python would load it when a host name is first encoded, and may have no right to by then (--uid, --chroot).
    codecs.lookup("idna")


def obey_signals(reactor: Any, hurry: Callable[[], None], reload: Callable[[], None]) -> None:
    """SIGTERM and SIGINT stop the reactor, the second one calls ``hurry``; SIGHUP calls ``reload``.

    Twisted would die of the signal again after a clean stop, which to a supervisor is no success.
    """
    told: list[int] = []
    on_a_terminal = _on_a_terminal()

    def stop(number: int) -> None:
        told.append(number)
        if len(told) == 1:
            log.info("received {signal}, stopping", signal=signal.Signals(number).name)
            reactor.stop()
        else:
            log.info("received another {signal}, ending at once", signal=signal.Signals(number).name)
            hurry()

    def hang_up(number: int) -> None:
        # The terminal that we ran on was closed: not meant for a daemon.
        if on_a_terminal and not _on_a_terminal():
            stop(number)
        else:
            reload()

    def install(number: int, meaning: Callable[[int], None]) -> None:
        signal.signal(number, lambda number, frame: reactor.callFromThread(meaning, number))

    install(signal.SIGHUP, hang_up)
    # The reactor installs its own for these when it starts.
    reactor.callWhenRunning(install, signal.SIGTERM, stop)
    reactor.callWhenRunning(install, signal.SIGINT, stop)


def _on_a_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def settle_memory() -> None:
    """What is loaded by now stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    _return_large_pieces()


def _return_large_pieces() -> None:
    """Have what is over 128 KiB allocated apart and given back to the system at once.

    glibc does so until the first such piece is freed, then raises its threshold. From then on the pieces that a source
    with a high bitrate is read in lie between the blocks of its ring and leave holes: 2 MB for 30 MB of ring.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 131_072)
    except (OSError, AttributeError):
        pass  # another C library


def raise_descriptor_limit() -> None:
    """Ask for as many file descriptors as we may have: each player takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = MANY_DESCRIPTORS
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    except (ValueError, OSError):
        pass
    log.info("room for {players} players", players=max(0, soft - RESERVED_DESCRIPTORS))
    if soft < FEW_DESCRIPTORS:
        log.warn("only {limit} file descriptors are allowed; raise the limit (ulimit -n)", limit=soft)
