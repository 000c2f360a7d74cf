"""Opening ports: invalid endpoints, error messages, closing."""

from __future__ import annotations

import socket

import pytest
from certificates import new_certificate
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor

from m3uproxy.daemon.listening import BACKLOG, ListenError, close_ports, open_ports


@pytest.fixture
def reactor():
    """Return a reactor of this test alone, which never runs."""
    made = SelectReactor()
    yield made
    made.iterate()
    assert made.removeAll() == []
    assert made.getDelayedCalls() == []


def open_all(reactor, *endpoints: str):
    return open_ports(reactor, "127.0.0.1", 0, endpoints, Factory())


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("tcp:http", "LISTEN: 'tcp:http' cannot be used: port must be a number from 0 to 65535"),
        ("tcp:-1", "LISTEN: 'tcp:-1' cannot be used: port must be a number from 0 to 65535"),
        ("tcp:1_8", "LISTEN: 'tcp:1_8' cannot be used: port must be a number from 0 to 65535"),
        (
            "tcp:70000:interface=127.0.0.1",
            "LISTEN: 'tcp:70000:interface=127.0.0.1' cannot be used: port must be a number from 0 to 65535",
        ),
        (
            "tcp6:interface=\\:\\:1:port=70000",
            "LISTEN: 'tcp6:interface=\\\\:\\\\:1:port=70000' cannot be used: port must be a number from 0 to 65535",
        ),
        ("ssl:70000", "LISTEN: 'ssl:70000' cannot be used: port must be a number from 0 to 65535"),
        ("unix:/x:mode=999", "LISTEN: 'unix:/x:mode=999' cannot be used: mode must be an octal number from 0 to 777"),
        ("unix:/x:7777777", "LISTEN: 'unix:/x:7777777' cannot be used: mode must be an octal number from 0 to 777"),
        ("unix:/x:lockfile=no", "LISTEN: 'unix:/x:lockfile=no' cannot be used: lockfile must be 0 or 1"),
        (
            "tcp:0:backlog=99999999999",
            "LISTEN: 'tcp:0:backlog=99999999999' cannot be used: backlog must be a number from 0 to 65535",
        ),
        (
            "systemd:domain=INET:index=first",
            "LISTEN: 'systemd:domain=INET:index=first' cannot be used: index must be a number from 0 to 65535",
        ),
        (
            "systemd:domain=INET\\",
            "LISTEN: 'systemd:domain=INET\\\\' cannot be used: an argument is out of range, or ends in a backslash",
        ),
        (
            "tcp:1:face=x",
            "LISTEN: 'tcp:1:face=x' cannot be used: "
            "an argument is unknown or missing (a colon in a value is written \\:)",
        ),
        ("tcp:", "LISTEN: 'tcp:' cannot be used: port must be a number from 0 to 65535"),
        ("tcp6:x", "LISTEN: 'tcp6:x' cannot be used: port must be a number from 0 to 65535"),
        ("ssl:1:privateKey=/no", "LISTEN: 'ssl:1:privateKey=/no' cannot be used: /no: No such file or directory"),
        (
            "ssl:1:privateKey=/dev/null",
            "LISTEN: 'ssl:1:privateKey=/dev/null' cannot be used: "
            "key and certificate cannot be read, or do not belong together",
        ),
        (
            "systemd:domain=INET:index=0",
            "LISTEN: 'systemd:domain=INET:index=0' cannot be used: the socket or the argument does not exist",
        ),
        (
            "systemd:domain=UNIX:index=0",
            "LISTEN: 'systemd:domain=UNIX:index=0' cannot be used: domain must be INET or INET6",
        ),
        ("unix:/no/such/folder", "LISTEN: 'unix:/no/such/folder' cannot be used: No such file or directory"),
        (
            "tcp:1:interface=192.0.2.1",
            "cannot listen on tcp:1:interface=192.0.2.1: Cannot assign requested address",
        ),
    ],
)
def test_invalid_endpoint_is_refused(reactor, endpoint, line):
    with pytest.raises(ListenError) as refused:
        open_all(reactor, endpoint)
    assert str(refused.value) == line


def test_key_of_another_certificate_is_refused(reactor, tmp_path):
    key, _ = new_certificate()
    _, certificate = new_certificate()
    (tmp_path / "both.pem").write_bytes(key + certificate)
    with pytest.raises(ListenError, match="key and certificate cannot be read, or do not belong together"):
        open_all(reactor, f"ssl:0:interface=127.0.0.1:privateKey={tmp_path / 'both.pem'}")


@pytest.mark.parametrize("order", [0, 1])
def test_failed_endpoint_closes_the_others(reactor, tmp_path, order):
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        both = [f"unix:{path}", f"tcp:{port}:interface=127.0.0.1"]
        with pytest.raises(ListenError, match="Address already in use"):
            open_all(reactor, *reversed(both) if order else both)
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_no_socket_is_kept(reactor, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ListenError, match="Address already in use"):
        open_all(reactor, f"unix:{path}:lockfile=0")
    assert path.read_text() == "mine"


def test_closing_always_succeeds(reactor, tmp_path):
    path = tmp_path / "socket"
    ports = open_all(reactor, f"unix:{path}", "tcp:0:interface=127.0.0.1")
    path.unlink()
    closed = []
    close_ports(ports).addCallback(closed.append)
    reactor.iterate()
    assert closed
    assert not ports[1].port.connected


def test_backlog_is_set(reactor):
    ports = open_all(reactor, "tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1:backlog=3")
    assert [port.port.backlog for port in ports] == [BACKLOG, 3]
    close_ports(ports)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("tcp:0:interface=127.0.0.1", "http://127.0.0.1:{port}/"),
        ("tcp6:0:interface=\\:\\:1", "http://[::1]:{port}/"),
    ],
)
def test_url_of_an_open_port(reactor, endpoint, url):
    [port] = open_all(reactor, endpoint)
    assert port.url == url.format(port=port.port.getHost().port)
    close_ports([port])
