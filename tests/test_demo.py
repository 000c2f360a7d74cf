"""``python -m m3uproxy.demo`` (``make run``): plays and leaves no process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

import m3uproxy
from m3uproxy.settings import Settings

pytestmark = pytest.mark.daemon

HERE = str(Path(m3uproxy.__file__).parents[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def start(tmp_path):
    started: list[subprocess.Popen] = []

    def run(port: int, provider_port: int) -> subprocess.Popen:
        plain = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "m3uproxy.demo", "--provider-port", str(provider_port)],
                cwd=tmp_path,
                env={**plain, "PYTHONPATH": HERE, "PORT": str(port)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=40)


def read_until(process: subprocess.Popen, pattern: str) -> re.Match[str]:
    output = ""
    for line in process.stdout:
        output += line
        if found := re.search(pattern, output):
            return found
    raise AssertionError(output + process.stderr.read())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_demo_plays_and_stops(start, ending):
    port, provider_port = free_port(), free_port()
    process = start(port, provider_port)
    url = read_until(process, r"Play +(http://\S+)")[1]
    read_until(process, "Ctrl-C")
    with urlopen(url, timeout=15) as video:
        assert video.headers["Content-Type"] == "video/mp2t"
        assert video.read(188 * 200)[::188] == b"G" * 200
    process.send_signal(ending)
    assert process.wait(40) == 0
    assert process.stderr.read() == ""
    for each in (port, provider_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", each))


@pytest.mark.parametrize("taken", ["proxy", "provider"])
def test_port_in_use_is_reported_in_one_line(start, taken):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = start(port, free_port()) if taken == "proxy" else start(free_port(), port)
        assert process.wait(40) == 1
    errors = process.stderr.read()
    assert re.fullmatch(rf"demo: port {port} on 127\.0\.0\.1: Address already in use; [^\n]*\n", errors)
