"""Reload on SIGHUP: changed values, values that need a restart, invalid values."""

from __future__ import annotations

import re
import signal
from urllib.error import HTTPError

import pytest
from daemon_process import wait_until


def lines_with(daemon, word: str) -> list[str]:
    """Return the log lines that contain a word."""
    return [line.partition("] ")[2] for line in daemon.log.read_text().splitlines() if word in line]


def test_new_values_are_taken(start):
    daemon = start(dot_env="API_TOKEN=vorher\nLOG_LEVEL=info\nPORT=0\n")
    assert daemon.ask("/health", headers={"X-API-Token": "vorher"})["status"] == "healthy"
    (daemon.folder / ".env").write_text("API_TOKEN=nachher\nLOG_LEVEL=debug\nTICK=0.1\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("settings reloaded, 2 changed")
    daemon.wait_for_log("setting ignored until restart: TICK: '0.08' -> '0.1'")
    assert lines_with(daemon, "setting changed") == [
        "setting changed: LOG_LEVEL: 'info' -> 'debug'",
        "setting changed: API_TOKEN: '***' -> '***'",
    ]
    with pytest.raises(HTTPError, match="403"):
        daemon.ask("/health", headers={"X-API-Token": "vorher"})
    assert daemon.ask("/health", headers={"X-API-Token": "nachher"})["status"] == "healthy"
    log = daemon.log.read_text()
    assert "vorher" not in log
    assert "nachher" not in log


def test_invalid_value_changes_nothing(start):
    daemon = start(
        "--config", "m3uproxy.toml", dot_env="", before=("sh", "-c", 'echo linger=1 >m3uproxy.toml; exec "$0" "$@"')
    )
    daemon.base()
    (daemon.folder / "m3uproxy.toml").write_text('default_user_agent = "Neu/1"\nlinger = -1\n')
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log(
        r"#error\] settings not reloaded, the old ones stay: "
        r"LINGER: '-1' \(/\S+/m3uproxy.toml\) cannot be used; allowed: seconds from 0 to 3600\n"
    )
    body = {"url": "http://127.0.0.1:9/1.ts"}
    assert daemon.ask("/streams", body)["user_agent"].startswith("Mozilla")
    (daemon.folder / "m3uproxy.toml").write_text('default_user_agent = "Neu/1"\n')
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("settings reloaded, 2 changed")
    assert daemon.ask("/streams", body)["user_agent"] == "Neu/1"


def test_changes_are_logged_before_a_quieter_level(start):
    daemon = start(dot_env="LOG_LEVEL=info\n")
    daemon.base()
    (daemon.folder / ".env").write_text("LOG_LEVEL=error\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("setting changed: LOG_LEVEL: 'info' -> 'error'")
    daemon.ask("/streams", {"url": "http://127.0.0.1:9/1.ts"})
    assert "registered" not in daemon.log.read_text()


def answers(daemon, status: int) -> bool:
    """Return whether a request without a token is answered with this status."""
    try:
        daemon.ask("/health")
    except HTTPError as error:
        return error.code == status
    return status == 200


def test_removed_token_is_logged_as_a_warning(start):
    """The warning appears for all combinations of old and new level that show warnings."""
    daemon = start(dot_env="API_TOKEN=geheim\nLOG_LEVEL=info\n")
    warning = r"#warn\] no API_TOKEN is set: the API is open to this machine and private networks\n"
    # From info to warning, from warning to warning, from error to warning.
    for number, before in enumerate(("info", "warning", "error"), 1):
        (daemon.folder / ".env").write_text(f"API_TOKEN=geheim\nLOG_LEVEL={before}\n")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: answers(daemon, 401), "the token")
        (daemon.folder / ".env").write_text("LOG_LEVEL=warning\n")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: answers(daemon, 200), "the loss of the token")
        daemon.wait_for_log(rf"(?s)({warning}.*){{{number}}}")
    # Without a token before and after, there is no second warning.
    (daemon.folder / ".env").write_text("LOG_LEVEL=warning\nTICK=0.1\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("setting ignored until restart: TICK")
    assert len(re.findall(warning, daemon.log.read_text())) == 3


def test_many_signals_during_the_start(start):
    daemon = start()
    daemon.wait_for_log("starting up")
    for _ in range(20):
        daemon.process.send_signal(signal.SIGHUP)
    daemon.base()
    assert daemon.ask("/health")["status"] == "healthy"
    assert daemon.stop() == 0
    assert not re.search(r"#(error|critical)|Traceback", daemon.log.read_text())
