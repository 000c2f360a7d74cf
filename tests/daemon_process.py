"""``twistd m3uproxy`` as a process in its own folder, as an operator runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import m3uproxy
from m3uproxy.settings import NO_EFFECT, Settings

TWISTD = Path(sys.executable).with_name("twistd")
TIMEOUT = 15.0
#: The folder of the imported package, so that the daemon runs the same code.
HERE = str(Path(m3uproxy.__file__).parents[1])


def plain_environment() -> dict[str, str]:
    """Return the environment without settings of m3uproxy."""
    known = {*Settings.model_fields, *NO_EFFECT}
    return {name: value for name, value in os.environ.items() if name.lower() not in known}


def wait_until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait for a true value of ``condition`` and return it."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not become true in {TIMEOUT:g} s")


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Daemon:
    """A ``twistd -n m3uproxy`` in the foreground."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        before: Sequence[str] = (),
        twistd_options: Sequence[str] = ("--pidfile=",),
        **environment: str,
    ) -> None:
        self.folder = folder
        self.log = folder.parent / "daemon.log"
        given = {"STATE_DIR": str(folder / "state"), "HOST": "127.0.0.1", "PORT": "0", **environment}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, TWISTD, "-n", *twistd_options, "m3uproxy", *options],
                cwd=folder,
                env={**plain_environment(), "PYTHONPATH": HERE, **given},
                stdout=log,
                stderr=subprocess.PIPE,
            )

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait until the log matches a pattern; return the match."""

        def found() -> re.Match[str] | None:
            text = self.log.read_text()
            match = re.search(pattern, text)
            assert match or self.process.poll() is None, text + self.end()
            return match

        return wait_until(found, repr(pattern))

    def base(self) -> str:
        """Return the URL of the daemon from its log."""
        return self.wait_for_log(r"listening on (https?://\S+)/")[1]

    def address(self) -> tuple[str, int]:
        """Return host and port of the daemon."""
        host, port = self.base().partition("://")[2].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def ask(self, path: str, body: Any = None, method: str | None = None, headers: dict[str, str] | None = None) -> Any:
        """Send a request and return the JSON of the answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        with urlopen(Request(self.base() + path, data, headers, method=method), timeout=5) as answer:
            return json.load(answer)

    def signal(self, number: int) -> None:
        """Send a signal when the daemon listens."""
        self.base()
        self.process.send_signal(number)

    def stop(self) -> int:
        """Stop the daemon and return its exit status."""
        self.signal(signal.SIGTERM)
        assert self.end() == ""
        return self.process.returncode

    def end(self) -> str:
        """Wait for the end of the process; return its stderr."""
        _, errors = self.process.communicate(timeout=TIMEOUT)
        return errors.decode()

    def kill(self) -> None:
        """Kill the process if it runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
