"""The receive window, as the kernel reports it."""

from __future__ import annotations

import socket
import sys

import pytest

from m3uproxy.upstream.receive_window import DEFAULT_WINDOW, WIDE_WINDOW, widen_window, window_size


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs:
            yield ours, theirs


def buffered_bytes(ours: socket.socket, theirs: socket.socket) -> int:
    """Return the bytes that ``theirs`` can send while ``ours`` is not read, without those in its own buffer."""
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    theirs.settimeout(0.2)
    sent = 0
    try:
        while True:
            sent += theirs.send(bytes(1_024))
    except TimeoutError:
        pass
    return sent - theirs.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def exchange(ours: socket.socket, theirs: socket.socket) -> None:
    """Send and read a megabyte, so that the kernel sees a reader."""
    for _ in range(64):
        theirs.sendall(bytes(16_384))
        left = 16_384
        while left:
            left -= len(ours.recv(left))


def test_new_socket_has_the_default_window(pair) -> None:
    assert window_size(pair[0]) >= DEFAULT_WINDOW


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform != "linux", reason="the mark makes room on Linux only; elsewhere nothing is promised")
def test_kernel_buffers_the_stated_window(pair) -> None:
    widen_window(pair[0])
    exchange(*pair)
    promised = window_size(pair[0])
    assert DEFAULT_WINDOW < promised <= WIDE_WINDOW
    assert buffered_bytes(*pair) >= promised * 0.9


def test_one_byte_makes_the_socket_readable(pair) -> None:
    """The low-water mark is reset."""
    ours, theirs = pair
    widen_window(ours)
    theirs.sendall(b"x")
    ours.settimeout(5)
    assert ours.recv(1, socket.MSG_PEEK) == b"x"
    ours.setblocking(False)
    assert ours.recv(10) == b"x"


def test_closed_socket_has_the_default_window() -> None:
    closed = socket.socket()
    closed.close()
    widen_window(closed)
    assert window_size(closed) == DEFAULT_WINDOW
