"""The servers that are compared: the C floor or a textbook relay, and m3uproxy as its users start it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from benchmarks.rig import BUILD, BenchError, announced_port, ask, child, free_port, resident_bytes, wait_for_port


class Provider(Protocol):
    """What servers play from: the C source, or an origin of files."""

    @property
    def port(self) -> int:
        """Where it listens."""


@dataclass(frozen=True)
class Server:
    """A running server.

    :ivar register: takes the URL of a channel and returns the path at which this server plays it.
    :ivar joins_at_key: it promises that a viewer starts at PAT and random access point.
    :ivar idle_bytes: its memory (RSS) before any stream.
    :ivar asks_once: it promises to ask for what a playlist names once, however many players ask.
    """

    name: str
    pid: int
    port: int
    register: Callable[[str], str]
    joins_at_key: bool
    idle_bytes: int
    asks_once: bool = False


StartServer = Callable[[int, Provider], AbstractContextManager[Server]]


def floor(flush_ms: float) -> StartServer:
    """The C relay, flushed every ``flush_ms`` milliseconds (0: as data comes)."""

    @contextmanager
    def start(cpu: int, source: Provider) -> Iterator[Server]:
        with child([str(BUILD / "floor"), str(source.port), f"{flush_ms:g}"], cpu) as process:
            port = announced_port(process)
            yield Server("floor", process.pid, port, path_and_query, False, resident_bytes(process.pid))

    return start


@contextmanager
def textbook(cpu: int, source: Provider) -> Iterator[Server]:
    """A relay in plain Twisted (:mod:`benchmarks.textbook`)."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.textbook", str(source.port)]
    with child(command, cpu, cwd=root) as process:
        yield Server("textbook", process.pid, announced_port(process), path_and_query, False, 0)


def path_and_query(url: str) -> str:
    """Of a URL, for servers that are told nothing of what they play."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def twistd() -> str:
    """The ``twistd`` to start: ``TWISTD`` from the environment, else the one beside this Python."""
    path = os.environ.get("TWISTD") or str(Path(sys.executable).parent / "twistd")
    if not Path(path).exists():
        raise BenchError(f"no twistd at {path}: install m3uproxy into this environment or set TWISTD")
    return path


def m3uproxy(name: str = "m3uproxy", program: str | None = None) -> StartServer:
    """Return a starter of ``twistd m3uproxy`` with its defaults; ``program`` is the ``twistd`` of another version."""

    @contextmanager
    def start(cpu: int, source: Provider) -> Iterator[Server]:
        with _daemon(name, program or twistd(), cpu) as server:
            yield server

    return start


@contextmanager
def _daemon(name: str, program: str, cpu: int) -> Iterator[Server]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="m3uproxy-bench-") as folder:
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "error", "ROOT_PATH": "", "STATE_DIR": folder}
        command = [program, "-n", "--pidfile=", "m3uproxy"]
        with child(
            command, cpu, env={**os.environ, **settings}, cwd=Path(folder), stdout=subprocess.DEVNULL
        ) as process:
            wait_for_port(port, process)
            time.sleep(0.3)  # what a daemon still does just after it listens is not a stream's cost

            def register(url: str) -> str:
                return str(ask(port, "POST", "/streams", {"url": url})["stream_endpoint"])

            yield Server(name, process.pid, port, register, True, resident_bytes(process.pid), asks_once=True)
