"""``--listen``: several endpoints, IPv6, TLS, Unix sockets, sockets of systemd, errors."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys

from daemon_process import HERE, TIMEOUT, TWISTD, free_port, plain_environment

TLS = ssl._create_unverified_context()


def ask(connection: socket.socket, path: str = "/health") -> dict:
    """Send a GET on a connection that stays open; return the JSON."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    [length] = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while len(body) < length:
        body += connection.recv(65536)
    return json.loads(body)


def connect_tls(port: int) -> ssl.SSLSocket:
    return TLS.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT))


def play(connection: socket.socket, path: str, packets: int = 100) -> None:
    """Play a stream and check that video arrives."""
    connection.settimeout(TIMEOUT)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 188 * packets:
        piece = connection.recv(65536)
        assert piece, received[:500]
        received += piece
    assert received.startswith(b"HTTP/1.1 200")
    assert received.partition(b"\r\n\r\n")[2][: 188 * packets : 188] == b"G" * packets


def test_several_endpoints_replace_host_and_port(start):
    ports = [free_port(), free_port()]
    daemon = start(
        "--listen",
        f"tcp:{ports[0]}:interface=127.0.0.1",
        "--listen",
        f"tcp6:{ports[1]}:interface=\\:\\:1",
        PORT=str(free_port()),
    )
    daemon.wait_for_log(rf"listening on http://127\.0\.0\.1:{ports[0]}/")
    daemon.wait_for_log(rf"listening on http://\[::1\]:{ports[1]}/")
    for host, port in (("127.0.0.1", ports[0]), ("::1", ports[1])):
        with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
            assert ask(connection)["status"] == "healthy"
    assert daemon.log.read_text().count("listening on") == 2
    assert daemon.stop() == 0


def test_ipv6_endpoint_accepts_ipv4(start):
    port = free_port()
    daemon = start(LISTEN=f"tcp6:{port}")
    daemon.base()
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
            assert ask(connection)["status"] == "healthy"


def test_certificate_is_replaced_without_disconnecting(start, write_certificate, tmp_path):
    key, certificate = write_certificate()
    port = free_port()
    daemon = start("--listen", f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={certificate}")
    daemon.wait_for_log(rf"listening on https://127\.0\.0\.1:{port}/")
    first = certificate.read_text()
    with connect_tls(port) as old:
        assert ask(old)["status"] == "healthy"
        assert ssl.DER_cert_to_PEM_cert(old.getpeercert(True)) == first
        write_certificate()
        with connect_tls(port) as unaware:
            assert ssl.DER_cert_to_PEM_cert(unaware.getpeercert(True)) == first
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("certificate reloaded for https://")
        with connect_tls(port) as new:
            assert ssl.DER_cert_to_PEM_cert(new.getpeercert(True)) == certificate.read_text() != first
            assert ask(new)["status"] == "healthy"
        assert ask(old)["status"] == "healthy"

        second = certificate.read_text()
        key.write_text("not a key")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log(r"#error\] certificate not reloaded, the old one stays: LISTEN: ")
        with connect_tls(port) as still:
            assert ssl.DER_cert_to_PEM_cert(still.getpeercert(True)) == second
        assert ask(old)["status"] == "healthy"
    assert daemon.stop() == 0


def test_video_over_tls_and_a_unix_socket(start, provider, write_certificate, tmp_path):
    key, certificate = write_certificate()
    port, path = free_port(), tmp_path / "proxy.sock"
    daemon = start(
        "--listen",
        f"tcp:{free_port()}:interface=127.0.0.1",
        "--listen",
        f"unix:{path}:mode=600",
        "--listen",
        f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={certificate}",
    )
    stream = daemon.ask("/streams", {"url": provider})["stream_endpoint"]
    assert path.stat().st_mode & 0o777 == 0o600
    with connect_tls(port) as secure, socket.socket(socket.AF_UNIX) as local:
        local.connect(str(path))
        play(secure, stream)
        play(local, stream, packets=300)
    assert daemon.stop() == 0
    assert not path.exists()
    assert not list(tmp_path.glob("proxy.sock*"))


def test_socket_of_systemd(tmp_path):
    """The process gets an open port as descriptor 3 with its own process id, as from systemd."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        descriptor = opened.fileno()
        code = (
            f"import os, sys; os.dup2({descriptor}, 3); os.environ['LISTEN_PID'] = str(os.getpid());"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        given = {"STATE_DIR": str(tmp_path / "state"), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "m3uproxy.socket"}
        arguments = ["-n", "--pidfile=", "m3uproxy", "--listen", "systemd:domain=INET:index=0"]
        child = subprocess.Popen(
            [sys.executable, "-c", code, TWISTD, *arguments],
            pass_fds=[descriptor],
            cwd=tmp_path,
            env={**plain_environment(), "PYTHONPATH": HERE, **given},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            with socket.create_connection(opened.getsockname(), timeout=TIMEOUT) as connection:
                connection.settimeout(TIMEOUT)
                assert ask(connection)["status"] == "healthy"
        finally:
            child.terminate()
            _, errors = child.communicate(timeout=TIMEOUT)
        assert (child.returncode, errors) == (0, b"")


def test_invalid_endpoint_is_reported_in_one_line(start):
    daemon = start("--listen", "ssl:0:privateKey=/dev/null")
    daemon.end()
    assert daemon.process.returncode == 1
    [logged] = [line for line in daemon.log.read_text().splitlines() if "m3uproxy: " in line]
    assert "m3uproxy: LISTEN: 'ssl:0:privateKey=/dev/null' cannot be used: key and certificate cannot be read" in logged
    assert "Traceback" not in daemon.log.read_text()


def test_invalid_port_is_reported_in_one_line(start):
    daemon = start("--listen", "tcp:70000:interface=127.0.0.1")
    daemon.end()
    assert daemon.process.returncode == 1
    assert "cannot be used: port must be a number from 0 to 65535" in daemon.log.read_text()
    assert "Traceback" not in daemon.log.read_text()


def test_failed_endpoint_closes_the_others(start, tmp_path):
    path = tmp_path / "proxy.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = start("--listen", f"unix:{path}", "--listen", f"tcp:{port}:interface=127.0.0.1")
        daemon.end()
    assert daemon.process.returncode == 1
    assert f"cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use" in daemon.log.read_text()
    assert not list(tmp_path.glob("proxy.sock*"))


def test_stale_unix_socket_is_replaced(start, tmp_path):
    path = tmp_path / "proxy.sock"
    daemon = start("--listen", f"unix:{path}")
    daemon.wait_for_log("listening on unix:")
    daemon.kill()
    assert path.exists()
    second = start("--listen", f"unix:{path}")
    second.wait_for_log("listening on unix:")
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(str(path))
        assert ask(local)["status"] == "healthy"
