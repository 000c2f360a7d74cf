"""Stopping: the ports close, players continue for ``SHUTDOWN_TIMEOUT``, then the process ends."""

from __future__ import annotations

import signal
import socket
import time

import pytest
from daemon_process import TIMEOUT


@pytest.fixture
def play(start, provider):
    """Return a function that starts a daemon with a player and returns both."""
    opened: list[socket.socket] = []

    def watch(**environment: str):
        daemon = start(**environment)
        path = daemon.ask("/streams", {"url": provider})["stream_endpoint"]
        connection = socket.create_connection(daemon.address(), timeout=TIMEOUT)
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
    """Return the number of bytes received in that time. Raise OSError if the connection ends."""
    deadline, received = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("ended")
        received += len(piece)
    return received


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_once_by_default(play, number):
    daemon, connection = play()
    began = time.monotonic()
    daemon.signal(number)
    assert daemon.end() == ""
    assert time.monotonic() - began < 5
    assert daemon.process.returncode == 0
    with pytest.raises(ConnectionResetError):
        read_for(connection, TIMEOUT)


def test_players_continue_and_new_connections_are_refused(play):
    daemon, connection = play(SHUTDOWN_TIMEOUT="60")
    with socket.create_connection(daemon.address(), timeout=TIMEOUT) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        address = daemon.address()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for_log("received SIGTERM, stopping")
        assert read_for(connection, 1.0) > 10_000
        assert refused(address)
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 503")
        assert daemon.process.poll() is None
        connection.close()
        assert daemon.end() == ""
    assert daemon.process.returncode == 0


def test_players_are_disconnected_at_the_limit(play):
    daemon, connection = play(SHUTDOWN_TIMEOUT="1")
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    with pytest.raises(ConnectionError):
        read_for(connection, TIMEOUT)
    assert 0.8 < time.monotonic() - began < 5
    assert daemon.end() == ""
    assert daemon.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_stops_at_once(play, number):
    daemon, connection = play(SHUTDOWN_TIMEOUT="60")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("received SIGTERM, stopping")
    assert read_for(connection, 0.3) > 0
    daemon.process.send_signal(number)
    began = time.monotonic()
    assert daemon.end() == ""
    assert time.monotonic() - began < 3
    assert daemon.process.returncode == 0
    assert "Traceback" not in daemon.log.read_text()
