"""``python -m m3uproxy.demo``: a provider with one channel, and the proxy in front of it, until Ctrl-C.

Both are started as an operator would start them, as programs of their own, and the channel is registered through
the API.
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

#: Seconds that each program gets to start, and to stop.
PATIENCE = 15.0

_TEXT = """
  Play   {play}
         for instance: ffplay {play}    or in VLC: Media > Open Network Stream
         Open it a second time: the provider still sees one connection.
  API    {api}/streams
  Log    {log}

  Register a channel of your own:
         curl -X POST {api}/streams{token} -d '{{"url": "http://provider.example/live/user/password/1.ts"}}'

  Ctrl-C ends both.
"""


class DemoError(Exception):
    """The demo cannot go on. The text is one line."""


@attrs.frozen
class ProxyApi:
    """The proxy's API as the demo needs it."""

    base: str
    token: str | None

    def ask(self, path: str, body: object = None) -> Any:
        """GET, or POST if there is a body; the JSON of the answer. Raises URLError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-Token": self.token} if self.token else {}
        with urlopen(Request(self.base + path, data, headers), timeout=5) as answer:
            return json.load(answer)

    def wait(self, child: subprocess.Popen[bytes]) -> None:
        """Return when the proxy answers."""
        for _ in _tries(child, "the proxy"):
            try:
                self.ask("/health")
                return
            except URLError:
                continue


def _tries(child: subprocess.Popen[bytes], name: str) -> Iterator[None]:
    """Something to do again and again, until it succeeds or there is no point in going on."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise DemoError(f"{name} ended at once, with status {child.returncode}")
        yield
        time.sleep(0.1)
    raise DemoError(f"{name} does not answer within {PATIENCE:g} s")


def _wait_for_port(child: subprocess.Popen[bytes], port: int) -> None:
    for _ in _tries(child, "the provider"):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            continue


def _claim(host: str, port: int, setting: str) -> None:
    """See that a port is free: whoever has it would otherwise be taken for ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DemoError(f"port {port} on {host}: {error.strerror}; choose another one with {setting}") from None


@contextmanager
def _children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A list of programs that end with the block."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        yield children
    finally:
        for child in reversed(children):
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m m3uproxy.demo", description="The proxy and a provider to try it.")
    parser.add_argument("--provider-port", type=int, default=8086, help="default: %(default)s")
    parser.add_argument("--state-dir", type=Path, default=Path(".run"), help="default: %(default)s")
    return parser.parse_args(arguments)


def _loopback(host: str) -> str:
    """Where to reach, from this machine, a server that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def run(chosen: argparse.Namespace, settings: Settings) -> None:
    """Start both, say what there is to see, and stay until one of them ends.

    :raises DemoError: if one cannot be started, or ends.
    """
    if settings.listen:
        raise DemoError("LISTEN is set; the demo needs HOST and PORT")
    # A demo is for its own machine, unless it is told otherwise.
    host = settings.host if "host" in settings.model_fields_set else "127.0.0.1"
    state = chosen.state_dir.absolute()
    state.mkdir(parents=True, exist_ok=True)
    _claim("127.0.0.1", chosen.provider_port, "--provider-port")
    _claim(host, settings.port, "PORT")
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
        answer = api.ask("/streams", {"url": url, "metadata": {"name": "demo"}})
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
    """Entry point."""
    # A terminal that is closed says SIGHUP, which the proxy takes for a wish to reload.
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
