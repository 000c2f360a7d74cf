"""What a paused socket takes in, asked of the kernel itself."""

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


def taken(ours: socket.socket, theirs: socket.socket) -> int:
    """Bytes that ``theirs`` gets rid of while nobody reads, those in its own buffer not counted."""
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    theirs.settimeout(0.2)
    sent = 0
    try:
        while True:
            sent += theirs.send(bytes(1_024))
    except TimeoutError:
        pass
    return sent - theirs.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def swallow(ours: socket.socket, theirs: socket.socket) -> None:
    """Let the kernel see that what comes is read."""
    for _ in range(64):
        theirs.sendall(bytes(16_384))
        left = 16_384
        while left:
            left -= len(ours.recv(left))


def test_a_new_socket_has_room_for_what_every_system_has(pair) -> None:
    assert window_size(pair[0]) >= DEFAULT_WINDOW


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform != "linux", reason="the mark makes room on Linux only; elsewhere nothing is promised")
def test_the_kernel_takes_in_what_room_says(pair) -> None:
    widen_window(pair[0])
    swallow(*pair)
    promised = window_size(pair[0])
    assert DEFAULT_WINDOW < promised <= WIDE_WINDOW
    assert taken(*pair) >= promised * 0.9


def test_a_little_still_makes_it_readable(pair) -> None:
    """The mark is taken back: nobody waits for a quarter of a megabyte."""
    ours, theirs = pair
    widen_window(ours)
    theirs.sendall(b"x")
    ours.settimeout(5)
    assert ours.recv(1, socket.MSG_PEEK) == b"x"
    ours.setblocking(False)
    assert ours.recv(10) == b"x"


def test_what_is_no_socket_to_ask_has_the_least() -> None:
    closed = socket.socket()
    closed.close()
    widen_window(closed)
    assert window_size(closed) == DEFAULT_WINDOW
