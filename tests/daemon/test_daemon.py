"""The daemon in the foreground, as an operator runs it."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError

import pytest
from daemon_process import TIMEOUT, free_port


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_daemon_runs_stops_and_leaves_only_its_key(start):
    daemon = start()
    host, port = daemon.address()
    assert host == "127.0.0.1"
    assert daemon.ask("/health")["status"] == "healthy"
    assert daemon.ask("/m3u-proxy/health")["status"] == "healthy"
    name = daemon.ask("/streams", {"url": "http://127.0.0.1:9/live/1.ts"})["stream_id"]
    assert daemon.ask(f"/streams/{name}")["stream"]["original_url"] == "http://127.0.0.1:9/live/1.ts"
    idle = socket.create_connection((host, port))
    daemon.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert daemon.end() == ""
    assert time.monotonic() - began < 5
    assert daemon.process.returncode == 0
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))
    left = {str(path.relative_to(daemon.folder)) for path in daemon.folder.rglob("*")}
    assert left == {"state", "state/stream-id.key"}
    assert oct((daemon.folder / "state").stat().st_mode)[-3:] == "700"
    assert not [line for line in daemon.log.read_text().splitlines() if re.search(r"#(error|critical)|Traceback", line)]


def test_daemon_has_no_child_processes(start):
    daemon = start()
    daemon.ask("/health")
    assert children_of(daemon.process.pid) == []


def test_stream_ids_survive_a_restart(start, tmp_path):
    shared = {"STATE_DIR": str(tmp_path / "shared")}
    body = {"url": "http://127.0.0.1:9/live/1.ts"}
    assert start(**shared).ask("/streams", body) == start(**shared).ask("/streams", body)


def test_waiting_player_does_not_delay_the_stop(start):
    """The provider accepts the connection and sends nothing, so the player waits."""
    with socket.create_server(("127.0.0.1", 0)) as provider:
        daemon = start()
        url = f"http://127.0.0.1:{provider.getsockname()[1]}/live/1.ts"
        path = daemon.ask("/streams", {"url": url})["stream_endpoint"]
        host, port = daemon.address()
        with socket.create_connection((host, port), timeout=TIMEOUT) as player:
            player.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            provider.settimeout(TIMEOUT)
            call, _ = provider.accept()
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.end() == ""
            assert daemon.process.returncode == 0
            assert player.recv(65536).startswith(b"HTTP/1.1 50")
            call.close()


def test_options_win_over_the_environment_over_dot_env(start):
    daemon = start("--root-path", "/option", dot_env="ROOT_PATH=/file\nAPI_TOKEN=fromfile\n", ROOT_PATH="/environment")
    with pytest.raises(HTTPError, match="401"):
        daemon.ask("/health")
    health = daemon.ask("/option/health", headers={"X-API-Token": "fromfile"})
    assert health["root_path"] == "/option"


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(start, host):
    daemon = start("--host", host)
    assert daemon.base().startswith("http://[::1]:")
    assert daemon.ask("/health")["status"] == "healthy"


def test_port_in_use_is_logged_in_one_line(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        daemon = start(PORT=port, twistd_options=())
        assert daemon.end() == ""
    assert daemon.process.returncode == 1
    lines = [line for line in daemon.log.read_text().splitlines() if "UnixAppLogger#info" not in line]
    [line] = lines
    assert line.endswith(f"m3uproxy: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert not (daemon.folder / "twistd.pid").exists()


@pytest.mark.parametrize(
    ("options", "environment", "line"),
    [
        ((), {"PORT": "http"}, "PORT: 'http' (environment) cannot be used; allowed: a whole number from 0 to 65535"),
        (
            ("--port", "70000"),
            {},
            "PORT: '70000' (option --port) cannot be used; allowed: a whole number from 0 to 65535",
        ),
        ((), {"STATE_DIR": "/dev/null/x"}, "STATE_DIR: '/dev/null/x' cannot be used: Not a directory"),
    ],
)
def test_invalid_setting_is_reported_in_one_line(start, options, environment, line):
    daemon = start(*options, **environment)
    assert daemon.end() == f"m3uproxy: {line}\n"
    assert daemon.process.returncode == 1
    assert "Traceback" not in daemon.log.read_text()


def test_open_api_is_logged_as_a_warning(start):
    daemon = start(HOST="0.0.0.0")
    daemon.base()
    time.sleep(0.1)
    assert "no API_TOKEN is set" in daemon.log.read_text()


def test_log_level_applies_to_our_messages(start):
    daemon = start(LOG_LEVEL="error", PORT=str(free_port()))
    deadline = time.monotonic() + TIMEOUT
    while "starting on" not in daemon.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.1)
    assert "m3uproxy.tap" not in daemon.log.read_text()


def test_log_holds_no_token(start):
    daemon = start(API_TOKEN="geheim")
    assert daemon.ask("/health?api_token=geheim")["status"] == "healthy"
    with pytest.raises(HTTPError, match="403"):
        daemon.ask("/health?api_token=falsch")
    daemon.process.terminate()
    daemon.end()
    log = daemon.log.read_text()
    assert "geheim" not in log
    assert "falsch" not in log


@pytest.mark.parametrize(
    ("rubbish", "status"),
    [
        (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 150_000 + b"\r\n", 431),
        (b"POST /streams HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000, 413),
        (bytes(range(256)) * 4000, 431),
        ((bytes(range(256)) + b"\r\n") * 4000, 400),
    ],
)
def test_client_that_sends_too_much_can_read_the_error(start, rubbish, status):
    """Unread bytes at the close of a real socket would turn the answer into a reset."""
    daemon = start()
    host, port = daemon.address()
    with socket.create_connection((host, port), timeout=TIMEOUT) as client:
        client.sendall(rubbish)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert daemon.ask("/health")["status"] == "healthy"
    assert not re.search(r"#(error|critical)|Traceback", daemon.log.read_text())


def test_low_descriptor_limit_is_logged(start):
    daemon = start(before=("sh", "-c", 'ulimit -n 300; exec "$0" "$@"'))
    daemon.base()
    time.sleep(0.1)
    log = daemon.log.read_text()
    assert "file descriptors for about 100 players" in log
    assert "only 300 file descriptors are allowed" in log


def test_soft_descriptor_limit_is_raised(start):
    daemon = start(before=("sh", "-c", 'ulimit -S -n 300; exec "$0" "$@"'))
    daemon.base()
    soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard > 300


def test_reactor_time_is_monotonic():
    code = (
        "import time; from m3uproxy.tap import Options, makeService; makeService(Options());"
        "from twisted.internet import reactor; assert abs(reactor.seconds() - time.monotonic()) < 1;"
        "call = reactor.callLater(5, print); assert 4 < call.getTime() - time.monotonic() <= 5"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT)
