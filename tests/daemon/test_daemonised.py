"""The daemon in the background: pid file, log rotation, errors at the start, change of user."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from daemon_process import HERE, TWISTD, free_port, plain_environment, wait_until


class BackgroundDaemon:
    """A ``twistd m3uproxy`` in the background."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pidfile, self.log = folder / "run" / "m3uproxy.pid", folder / "log" / "m3uproxy.log"
        for path in (self.pidfile, self.log):
            path.parent.mkdir(exist_ok=True)
        self.port = free_port()

    def start(self, *twistd_options: str, listen: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``twistd``; return when it reports that the daemon runs or failed."""
        arguments = ["--pidfile", self.pidfile, "--logfile", self.log, *twistd_options, "m3uproxy"]
        given = {"STATE_DIR": str(self.folder / "state"), "HOST": "127.0.0.1", "PORT": str(self.port), **environment}
        return subprocess.run(
            [TWISTD, *arguments],
            cwd=self.folder,
            env={**plain_environment(), "PYTHONPATH": HERE, **given},
            capture_output=True,
            text=True,
            timeout=30,
        )

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def serves(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(65536).startswith(b"HTTP/1.1 200")

    def stop(self) -> None:
        """Stop the daemon by its pid file, as an init script does."""
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_running(pid), "the end")


def is_running(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def background(tmp_path):
    made = BackgroundDaemon(tmp_path)
    yield made
    if made.pidfile.exists() and is_running(made.pid):
        os.kill(made.pid, signal.SIGKILL)


def test_start_rotate_and_stop_leave_only_log_and_key(background):
    started = background.start()
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    assert background.serves()
    assert os.getsid(background.pid) != os.getsid(0)
    os.kill(background.pid, signal.SIGUSR1)
    rotated = background.log.with_name("m3uproxy.log.1")
    wait_until(rotated.exists, "the rotation")
    assert "listening on" in rotated.read_text()
    os.kill(background.pid, signal.SIGHUP)
    wait_until(lambda: "settings reloaded" in background.log.read_text(), "a line in the new log")
    assert background.serves()
    background.stop()
    assert not background.pidfile.exists()
    assert "Server Shut Down" in background.log.read_text()
    with pytest.raises(ConnectionRefusedError):
        background.serves()
    left = {str(path.relative_to(background.folder)) for path in background.folder.rglob("*") if path.is_file()}
    assert left == {"log/m3uproxy.log", "log/m3uproxy.log.1", "state/stream-id.key"}


def test_second_daemon_is_refused(background):
    assert background.start().returncode == 0
    again = background.start()
    assert again.returncode == 1
    assert f"Another twistd server is running, PID {background.pid}" in again.stderr
    assert background.serves()
    background.stop()


def test_stale_pid_file_is_replaced(background):
    ended = subprocess.Popen(["true"])
    ended.wait()
    background.pidfile.write_text(str(ended.pid))
    assert background.start().returncode == 0
    assert background.pid != ended.pid
    assert background.serves()
    background.stop()


def test_port_in_use_is_reported(background):
    with socket.create_server(("127.0.0.1", background.port)):
        started = background.start()
    assert started.returncode == 1
    line = f"m3uproxy: cannot listen on 127.0.0.1:{background.port}: Address already in use"
    assert started.stderr == (
        f"An error has occurred: {f'm3uproxy.tap.CannotStart: {line}'.encode()[:100]!r}\n"
        "Please look at log file for more information.\n"
    )
    # The parent process gets the error first.
    wait_until(lambda: not background.pidfile.exists(), "the end of the pid file")
    wait_until(lambda: line in background.log.read_text(), "the line in the log")
    [logged] = [text for text in background.log.read_text().splitlines() if "m3uproxy: " in text]
    assert logged.endswith(line)


def test_invalid_setting_is_reported(background):
    started = background.start(LINGER="long")
    assert started.returncode == 1
    assert started.stderr == "m3uproxy: LINGER: 'long' (environment) cannot be used; allowed: seconds from 0 to 3600\n"
    assert not background.pidfile.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
class TestChangeOfUser:
    @pytest.fixture(autouse=True)
    def _open_path(self, tmp_path):
        """Open the folders of pytest, which belong to root, to other users."""
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_mode & 0o001 == 0:
                folder.chmod(folder.stat().st_mode | 0o011)

    @pytest.fixture
    def nobody(self):
        return pwd.getpwnam("nobody")

    def test_port_is_opened_before_the_user_changes(self, background, nobody):
        """The state folder belongs to the later user, and the log can be rotated."""
        background.pidfile.parent.chmod(0o777)
        background.log.parent.chmod(0o777)
        started = background.start("--uid", str(nobody.pw_uid), "--gid", str(nobody.pw_gid), "--umask", "022")
        assert (started.returncode, started.stderr) == (0, "")
        status = Path(f"/proc/{background.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{nobody.pw_uid}\s+{nobody.pw_uid}\s", status, re.M)
        assert background.serves()
        state = background.folder / "state"
        assert {path.stat().st_uid for path in (state, state / "stream-id.key")} == {nobody.pw_uid}
        assert state.stat().st_mode & 0o777 == 0o700
        os.kill(background.pid, signal.SIGUSR1)
        wait_until(background.log.with_name("m3uproxy.log.1").exists, "the rotation")
        background.stop()
        assert not background.pidfile.exists()

    def test_unreachable_state_folder_is_reported(self, background, nobody):
        hidden = background.folder / "hidden"
        hidden.mkdir(mode=0o700)
        started = background.start("--uid", str(nobody.pw_uid), STATE_DIR=str(hidden / "state"))
        assert started.returncode == 1
        line = f"STATE_DIR: '{hidden / 'state'}' cannot be used by user 'nobody': Permission denied"
        assert started.stderr == f"m3uproxy: {line}\n"
        assert list(hidden.iterdir()) == []

    def test_state_folder_of_root_is_reported(self, background, nobody):
        state = background.folder / "state"
        state.mkdir(mode=0o700)
        started = background.start("--uid", str(nobody.pw_uid))
        assert started.returncode == 1
        assert "cannot be used by user 'nobody': Permission denied" in started.stderr
        assert state.stat().st_uid == 0
