"""Servers that are compared: the C floor, a textbook relay, and m3uproxy with its defaults."""

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
    """The source of a server: the C source, or an origin of files."""

    @property
    def port(self) -> int:
        """Port that the provider listens on."""


@dataclass(frozen=True)
class Server:
    """A running server.

    :ivar register: takes the URL of a channel and returns its path on this server.
    :ivar joins_at_key: the server promises to start viewers at PAT and random access point.
    :ivar idle_bytes: memory (RSS) without a stream.
    :ivar asks_once: the server promises to request each resource of a playlist once, whatever the number of players.
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
    """Return a starter of the C relay.

    :param flush_ms: flush interval in milliseconds; 0: flush all data at once.
    """

    @contextmanager
    def start(cpu: int, source: Provider) -> Iterator[Server]:
        with child([str(BUILD / "floor"), str(source.port), f"{flush_ms:g}"], cpu) as process:
            port = announced_port(process)
            yield Server("floor", process.pid, port, path_and_query, False, resident_bytes(process.pid))

    return start


@contextmanager
def textbook(cpu: int, source: Provider) -> Iterator[Server]:
    """Start a relay in plain Twisted (:mod:`benchmarks.textbook`)."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.textbook", str(source.port)]
    with child(command, cpu, cwd=root) as process:
        yield Server("textbook", process.pid, announced_port(process), path_and_query, False, 0)


def path_and_query(url: str) -> str:
    """Return path and query of a URL, for servers without registration."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def twistd() -> str:
    """Return the ``twistd`` to start: ``TWISTD`` from the environment, else that of this Python.

    :raises BenchError: the program does not exist.
    """
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
            time.sleep(0.3)  # startup work after listening is not a cost of streams

            def register(url: str) -> str:
                return str(ask(port, "POST", "/streams", {"url": url})["stream_endpoint"])

            yield Server(name, process.pid, port, register, True, resident_bytes(process.pid), asks_once=True)
