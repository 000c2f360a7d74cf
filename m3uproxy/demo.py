"""``python -m m3uproxy.demo``: a provider with one channel and the proxy, until Ctrl-C.

Both run as separate programs, as an operator would start them. The channel is registered through the API.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import attrs

from .settings import Settings, SettingsError, load

#: Timeout in seconds of the start and of the stop of each program.
TIMEOUT = 15.0

_TEXT = """
  Play   {play}
         for instance: ffplay {play}    or in VLC: Media > Open Network Stream
         Open it a second time: the provider still sees one connection.
  API    {api}/streams
  Log    {log}

  Register a channel of your own:
         curl -X POST {api}/streams{token} -d '{{"url": "http://provider.example/live/user/password/1.ts"}}'

  Ctrl-C stops both.
"""


class DemoError(Exception):
    """The demo cannot start or continue. The text is one line."""


@attrs.frozen
class ProxyApi:
    """Client of the proxy's API, with the calls that the demo needs."""

    base: str
    token: str | None

    def request(self, path: str, body: object = None) -> Any:
        """Send a GET, or a POST if there is a body, and return the JSON of the answer. Raise URLError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-Token": self.token} if self.token else {}
        with urlopen(Request(self.base + path, data, headers), timeout=5) as response:
            return json.load(response)

    def wait(self, child: subprocess.Popen[bytes]) -> None:
        """Wait until the proxy answers."""
        for _ in _tries(child, "the proxy"):
            try:
                self.request("/health")
                return
            except URLError:
                continue


def _tries(child: subprocess.Popen[bytes], name: str) -> Iterator[None]:
    """Yield for each attempt. Raise :class:`DemoError` if the program has ended or the timeout is over."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise DemoError(f"{name} ended at its start, with status {child.returncode}")
        yield
        time.sleep(0.1)
    raise DemoError(f"{name} did not answer within {TIMEOUT:g} s")


def _wait_for_port(child: subprocess.Popen[bytes], port: int) -> None:
    for _ in _tries(child, "the provider"):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            continue


def _check_port_free(host: str, port: int, setting: str) -> None:
    """Raise :class:`DemoError` if another program uses the port; the demo would mistake it for its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DemoError(f"port {port} on {host}: {error.strerror}; choose another one with {setting}") from None


@contextmanager
def _children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield a list of programs that are stopped at the end of the block."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        yield children
    finally:
        for child in reversed(children):
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m m3uproxy.demo", description="The proxy and a provider to try it.")
    parser.add_argument("--provider-port", type=int, default=8086, help="default: %(default)s")
    parser.add_argument("--state-dir", type=Path, default=Path(".run"), help="default: %(default)s")
    return parser.parse_args(arguments)


def _loopback(host: str) -> str:
    """Return the address on this machine of a server that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def run(chosen: argparse.Namespace, settings: Settings) -> None:
    """Start both programs, print their URLs, and wait until a program ends.

    :raises DemoError: if a program cannot be started, or ends.
    """
    if settings.listen:
        raise DemoError("LISTEN is set; the demo needs HOST and PORT")
    # By default the demo is open to its own machine only.
    host = settings.host if "host" in settings.model_fields_set else "127.0.0.1"
    state = chosen.state_dir.absolute()
    state.mkdir(parents=True, exist_ok=True)
    _check_port_free("127.0.0.1", chosen.provider_port, "--provider-port")
    _check_port_free(host, settings.port, "PORT")
    secret = settings.api_token
    api = ProxyApi(f"http://{_loopback(host)}:{settings.port}", secret.get_secret_value() if secret else None)
    with _children() as children:
        provider = _start_provider(chosen.provider_port)
        children.append(provider)
        proxy = _start_proxy(host, state)
        children.append(proxy)
        _wait_for_port(provider, chosen.provider_port)
        api.wait(proxy)
        url = f"http://127.0.0.1:{chosen.provider_port}/live/demo.ts"
        answer = api.request("/streams", {"url": url, "metadata": {"name": "demo"}})
        token = " -H 'X-API-Token: ...'" if secret else ""
        play = api.base + answer["stream_endpoint"]
        print(_TEXT.format(play=play, api=api.base, log=state / "twistd.log", token=token), flush=True)
        while all(child.poll() is None for child in children):
            time.sleep(0.2)
        raise DemoError("the proxy or the provider has ended")


def _start_provider(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "m3uproxy.provider", "--port", str(port)], stdout=subprocess.DEVNULL)


def _start_proxy(host: str, state: Path) -> subprocess.Popen[bytes]:
    twistd = str(Path(sys.executable).with_name("twistd"))
    log = str(state / "twistd.log")
    return subprocess.Popen(
        [twistd, "--nodaemon", "--pidfile=", "--logfile", log, "m3uproxy", "--host", host, "--state-dir", str(state)],
        env={**os.environ, "STREAM_TIMEOUT": "0"},
        stdout=subprocess.DEVNULL,
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Run the demo: the entry point."""
    # A terminal that is closed sends SIGHUP, which means reload to the proxy and stop to the demo.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        run(_options(arguments), load({}))
    except KeyboardInterrupt:
        pass
    except (DemoError, SettingsError, URLError) as error:
        raise SystemExit(f"demo: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
