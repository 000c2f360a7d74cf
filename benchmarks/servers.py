"""The servers that are compared: the C floor or a textbook relay, and m3uproxy as its users start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.rig import BUILD, BenchError, Source, announced_port, ask, child, resident_bytes

START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A running server.

    :ivar register: takes the URL of a channel and returns the path at which this server plays it.
    :ivar joins_at_key: it promises that a viewer starts at PAT and random access point.
    :ivar idle_bytes: its memory (RSS) before any stream.
    """

    name: str
    pid: int
    port: int
    register: Callable[[str], str]
    joins_at_key: bool
    idle_bytes: int


StartServer = Callable[[int, Source], AbstractContextManager[Server]]


def floor(flush_ms: float) -> StartServer:
    """The C relay, flushed every ``flush_ms`` milliseconds (0: as data comes)."""

    @contextmanager
    def start(cpu: int, source: Source) -> Iterator[Server]:
        with child([str(BUILD / "floor"), str(source.port), f"{flush_ms:g}"], cpu) as process:
            port = announced_port(process)
            yield Server("floor", process.pid, port, _path_and_query, False, resident_bytes(process.pid))

    return start


@contextmanager
def textbook(cpu: int, source: Source) -> Iterator[Server]:
    """A relay in plain Twisted (:mod:`benchmarks.textbook`)."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.textbook", str(source.port)]
    with child(command, cpu, cwd=root) as process:
        yield Server("textbook", process.pid, announced_port(process), _path_and_query, False, 0)


def _path_and_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def twistd() -> str:
    """The ``twistd`` to start: ``TWISTD`` from the environment, else the one beside this Python."""
    path = os.environ.get("TWISTD") or str(Path(sys.executable).parent / "twistd")
    if not Path(path).exists():
        raise BenchError(f"no twistd at {path}: install m3uproxy into this environment or set TWISTD")
    return path


@contextmanager
def m3uproxy(cpu: int, source: Source) -> Iterator[Server]:
    """``twistd m3uproxy`` with its defaults, in an empty folder."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="m3uproxy-bench-") as folder:
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "error", "ROOT_PATH": "", "STATE_DIR": folder}
        command = [twistd(), "-n", "--pidfile=", "m3uproxy"]
        with child(
            command, cpu, env={**os.environ, **settings}, cwd=Path(folder), stdout=subprocess.DEVNULL
        ) as process:
            _wait_for(port, process)
            time.sleep(0.3)  # what a daemon still does just after it listens is not a stream's cost

            def register(url: str) -> str:
                return f"/stream/{ask(port, 'POST', '/streams', {'url': url})['stream_id']}"

            yield Server("m3uproxy", process.pid, port, register, True, resident_bytes(process.pid))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise BenchError(f"nothing listens on port {port}")
