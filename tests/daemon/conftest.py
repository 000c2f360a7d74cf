"""Fixtures of the daemon tests: daemons, a provider, certificates. All processes end with the test."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import new_certificate
from daemon_process import Daemon, free_port, plain_environment, wait_until

_HERE = Path(__file__).parent


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a daemon in its own folder: ``start(*options, dot_env=..., SETTING=...)``."""
    started: list[Daemon] = []

    def run(*options: str, **more) -> Daemon:
        folder = tmp_path / f"cwd{len(started)}" / "cwd"
        folder.mkdir(parents=True)
        dot_env = more.pop("dot_env", None)
        if dot_env is not None:
            (folder / ".env").write_text(dot_env)
        started.append(Daemon(folder, *options, **more))
        return started[-1]

    yield run
    for daemon in started:
        daemon.kill()


@pytest.fixture
def provider():
    """Start a provider; return the URL of its channel."""
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "m3uproxy.provider", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        env=plain_environment(),
    )

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, "the provider")
    yield f"http://127.0.0.1:{port}/live/demo.ts"
    child.terminate()
    child.wait(10)


@pytest.fixture
def write_certificate(tmp_path):
    """Return a function that writes a new key and certificate to the same two files and returns their paths."""

    def write() -> tuple[Path, Path]:
        key, certificate = new_certificate()
        key_file, certificate_file = tmp_path / "key.pem", tmp_path / "cert.pem"
        key_file.write_bytes(key)
        certificate_file.write_bytes(certificate)
        return key_file, certificate_file

    return write


def pytest_collection_modifyitems(items):
    """Mark all tests of this folder."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.daemon)
