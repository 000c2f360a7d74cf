"""SIGTERM: nobody is let in, viewers are served on for as long as the operator wants, and then it ends."""

from __future__ import annotations

import signal
import socket
import time

import pytest
from daemon_process import PATIENCE


@pytest.fixture
def viewer(start, provider):
    """A daemon with somebody who watches."""
    opened: list[socket.socket] = []

    def watch(**environment: str):
        daemon = start(**environment)
        path = daemon.ask("/streams", {"url": provider})["stream_endpoint"]
        connection = socket.create_connection(daemon.address(), timeout=PATIENCE)
        opened.append(connection)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        return daemon, connection

    yield watch
    for connection in opened:
        connection.close()


def refused(address) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def read_for(connection: socket.socket, seconds: float) -> int:
    """Bytes that come in that time; raises OSError if the connection ends."""
    deadline, received = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("ended")
        received += len(piece)
    return received


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_once_by_default(viewer, number):
    daemon, connection = viewer()
    began = time.monotonic()
    daemon.signal(number)
    assert daemon.end() == ""
    assert time.monotonic() - began < 5
    assert daemon.process.returncode == 0
    with pytest.raises(ConnectionResetError):
        read_for(connection, PATIENCE)


def test_viewers_are_served_on_and_nobody_else_is_let_in(viewer):
    daemon, connection = viewer(SHUTDOWN_TIMEOUT="60")
    with socket.create_connection(daemon.address(), timeout=PATIENCE) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        address = daemon.address()
        daemon.signal(signal.SIGTERM)
        daemon.said("received SIGTERM, stopping")
        assert read_for(connection, 1.0) > 10_000
        assert refused(address)
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 503")
        assert daemon.process.poll() is None
        connection.close()
        assert daemon.end() == ""
    assert daemon.process.returncode == 0


def test_no_longer_than_the_limit(viewer):
    daemon, connection = viewer(SHUTDOWN_TIMEOUT="1")
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    with pytest.raises(ConnectionError):
        read_for(connection, PATIENCE)
    assert 0.8 < time.monotonic() - began < 5
    assert daemon.end() == ""
    assert daemon.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(viewer, number):
    daemon, connection = viewer(SHUTDOWN_TIMEOUT="60")
    daemon.signal(signal.SIGTERM)
    daemon.said("received SIGTERM, stopping")
    assert read_for(connection, 0.3) > 0
    daemon.process.send_signal(number)
    began = time.monotonic()
    assert daemon.end() == ""
    assert time.monotonic() - began < 3
    assert daemon.process.returncode == 0
    assert "Traceback" not in daemon.log.read_text()
