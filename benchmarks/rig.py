"""Rig of the benchmarks: C programs, child processes pinned to CPUs, and process statistics of the kernel.

The server under test has a CPU of its own. Source, players and this program share another CPU, so their cost does not
affect that of the server. All traffic stays on 127.0.0.1, on ports that the kernel selects.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "c"
BUILD = HERE / "build"
PROGRAMS = ("floor", "source", "players")
START_SECONDS = 30.0


class BenchError(Exception):
    """The benchmark cannot run on this machine, or a run is invalid. The text gives the reason."""


def require_machine() -> tuple[int, int]:
    """Pin this process and choose the CPUs.

    :return: CPU of the server, CPU of all other processes.
    :raises BenchError: not Linux, or fewer than two usable CPUs.
    """
    if not sys.platform.startswith("linux"):
        raise BenchError(f"the benchmark needs Linux (epoll, timerfd, CPU affinity); this is {sys.platform}")
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise BenchError("the benchmark needs two CPUs: one for the server, one for source and players")
    os.sched_setaffinity(0, {cpus[1]})
    return cpus[0], cpus[1]


def build() -> None:
    """Compile the programs that are missing or older than a C file.

    :raises BenchError: the compiler (``CC``, default ``cc``) is missing or fails.
    """
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise BenchError(f"no C compiler: {compiler!r} not found; install one or set CC")
    BUILD.mkdir(exist_ok=True)
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    for program in PROGRAMS:
        binary = BUILD / program
        if binary.exists() and binary.stat().st_mtime > newest:
            continue
        command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(SOURCES / f"{program}.c")]
        if subprocess.run(command, check=False).returncode != 0:
            raise BenchError(f"could not compile: {' '.join(command)}")


@contextmanager
def child(
    command: Sequence[str],
    cpu: int,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """Run a process on a CPU until the end of the block. An error includes its standard error.

    :raises BenchError: the process ended before the block.
    """
    own = os.sched_getaffinity(0)
    with tempfile.TemporaryFile("w+") as log:
        os.sched_setaffinity(0, {cpu})  # the child inherits the CPU before its first instruction, for all threads
        try:
            process = subprocess.Popen(command, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=log, text=True)
        finally:
            os.sched_setaffinity(0, own)
        try:
            yield process
        except BaseException as error:
            if process.poll() is not None and isinstance(error, Exception):
                raise BenchError(_obituary(process, log)) from error
            raise
        else:
            if process.poll() not in (None, 0):
                raise BenchError(_obituary(process, log))
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _obituary(process: subprocess.Popen[str], log: IO[str]) -> str:
    log.seek(0)
    last = log.read()[-2000:].strip()
    return f"{process.args!r} ended with status {process.returncode}: {last or 'it wrote nothing'}"


def announced_port(process: subprocess.Popen[str]) -> int:
    """Read the port from the first line of a C program.

    :raises BenchError: the program printed no port.
    """
    assert process.stdout is not None
    words = process.stdout.readline().split()
    if len(words) != 2:
        process.wait(5)
        raise BenchError("the program did not say its port")
    return int(words[1])


def line_of(process: subprocess.Popen[str]) -> str:
    """Request a report from players on their standard input and return its line.

    :raises BenchError: the players have ended.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise BenchError("the players ended early")
    return line


def free_port() -> int:
    """Return a free port, for a program that cannot use port 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until a program listens.

    :raises BenchError: the program does not listen in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise BenchError(f"nothing listens on port {port}")


def ask(port: int, method: str, path: str, body: object = None) -> Any:
    """Send a JSON request to 127.0.0.1 and return the JSON of the answer.

    :raises BenchError: another status than 200 and 201.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status not in (200, 201):
        raise BenchError(f"{method} {path}: {response.status} {answer[:300]!r}")
    return json.loads(answer)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process and all its threads, ended ones included, in nanosecond steps.

    The clock id is that of ``clock_getcpuclockid(3)`` on Linux. ``/proc/<pid>/stat`` counts in steps of 10 ms.
    """
    return time.clock_gettime(~pid << 3 | 2)


def resident_bytes(pid: int) -> int:
    """Return the memory of a process (RSS) in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class SourceStats:
    """Connections to live streams: open now, most at a time, total."""

    open: int
    peak: int
    total: int


@dataclass(frozen=True)
class Source:
    """A running provider."""

    port: int

    def url(self, channel: int, rate: int = 8_000_000, burst: float = 0) -> str:
        """Return the URL of a channel.

        :param rate: bits per second; 0 is unpaced.
        :param burst: seconds of the past at the start of a connection.
        """
        return f"http://127.0.0.1:{self.port}/live/{channel}.ts?rate={rate}&burst={burst:g}"

    def stats(self) -> SourceStats:
        """Return the current counts."""
        return SourceStats(**ask(self.port, "GET", "/stats"))

    def left_after(self, seconds: float) -> int:
        """Wait until no connection is open, at most ``seconds``.

        :return: number of open connections.
        """
        deadline = time.monotonic() + seconds
        while (count := self.stats().open) and time.monotonic() < deadline:
            time.sleep(0.05)
        return count


@contextmanager
def source(cpu: int, tick_ms: float) -> Iterator[Source]:
    """Start a provider that writes every ``tick_ms`` milliseconds."""
    with child([str(BUILD / "source"), f"{tick_ms:g}"], cpu) as process:
        yield Source(announced_port(process))
