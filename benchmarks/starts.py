"""Starts against slow and refusing sources: the share that plays within the time that a player waits.

``python -m benchmarks.starts`` starts 200 streams in parallel on loopback. Each source takes 0.5 to 15 s:

- *head*: it answers late, as a transcoder does;
- *media*: it answers at once and sends media late, as a tuner does;
- *nulls*: it sends null packets before the media;
- *refused*: the provider allows one connection. The player changes channel, and the provider counts the old connection
  for that long. It refuses the new one with 403, 429, 458 or 503.

``TWISTD`` names the twistd to measure, else the one on the PATH. Each start has an account of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

STARTS, KINDS = 200, ("head", "media", "nulls", "refused", "refused")
STATUSES = (403, 429, 458, 503)
SHORTEST, LONGEST = 0.5, 15.0
#: Seconds that a player waits.
WAIT = 20.0
#: Seconds over which the starts are spread.
SPREAD = 4.0
CLIP = Path(__file__).parents[1] / "m3uproxy" / "provider" / "clip.ts"
NULLS = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 7
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"
#: Bytes and seconds between two pieces of a source: 400 kbit/s.
PIECE, PAUSE = 188 * 54, 0.2


class SlowProvider:
    """A provider whose URLs state the kind of delay and its seconds."""

    def __init__(self) -> None:
        self._clip = CLIP.read_bytes()
        self._busy: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            await self._answer(request.split()[1].decode(), writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        user, kind, seconds = target.split("/")[2], query["kind"], float(query["seconds"])
        self.requests[target] += 1
        if self._busy[user]:
            writer.write(f"HTTP/1.1 {query['status']} Refused\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        self._busy[user] += kind == "refused"
        try:
            await asyncio.sleep(seconds if kind == "head" else 0)
            writer.write(HEAD)
            await self._send_nulls(writer, seconds if kind == "nulls" else 0)
            await asyncio.sleep(seconds if kind == "media" else 0)
            await self._send_clip(writer)
        finally:
            if kind == "refused":
                asyncio.get_running_loop().call_later(seconds, self._busy.subtract, (user,))

    async def _send_nulls(self, writer: asyncio.StreamWriter, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            writer.write(NULLS)
            await writer.drain()
            await asyncio.sleep(PAUSE)

    async def _send_clip(self, writer: asyncio.StreamWriter) -> None:
        while True:
            for at in range(0, len(self._clip), PIECE):
                writer.write(self._clip[at : at + PIECE])
                await writer.drain()
                await asyncio.sleep(PAUSE)


def has_video(data: bytes) -> bool:
    """Return whether data contain the start of a picture."""
    return b"\x00\x00\x01\xe0" in data


async def play(port: int, stream: str, seconds: float) -> float | None:
    """Play a stream until the first picture. Return the seconds that it took, None if none came in time."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /stream/{stream} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        data = b""
        while (left := began + seconds - time.monotonic()) > 0:
            piece = await asyncio.wait_for(reader.read(65_536), left)
            if not piece:
                return None
            data = data[-4:] + piece
            if has_video(data):
                return time.monotonic() - began
        return None
    except (OSError, asyncio.TimeoutError):
        return None
    finally:
        writer.close()


def register(port: int, url: str) -> str:
    """Register a stream and return its id."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/streams", json.dumps({"url": url}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        stream: str = json.loads(answer.read())["stream_id"]
        return stream


@asynccontextmanager
async def daemon() -> AsyncIterator[int]:
    """Run the daemon with default settings, and yield its port."""
    twistd = os.environ.get("TWISTD") or shutil.which("twistd") or "twistd"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        env = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port), "STATE_DIR": f"{folder}/state"}
        command = [twistd, "-n", "--pidfile=", f"--logfile={folder}/log", "m3uproxy"]
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                await asyncio.sleep(0.1)
                with socket.socket() as test:
                    if not test.connect_ex(("127.0.0.1", port)):
                        break
            yield port
        finally:
            process.terminate()
            process.wait(20)


async def start(port: int, origin: int, number: int) -> tuple[str, float | None]:
    """Start one stream. Return its kind, and the seconds until the first picture."""
    kind, status = KINDS[number % len(KINDS)], STATUSES[number // len(KINDS) % len(STATUSES)]
    seconds = SHORTEST + (LONGEST - SHORTEST) * number / (STARTS - 1)
    await asyncio.sleep(SPREAD * (number * 7 % STARTS) / STARTS)

    def url(channel: int) -> str:
        query = f"kind={kind}&seconds={seconds:.2f}&status={status}"
        return f"http://127.0.0.1:{origin}/live/user{number}/password/{channel}.ts?{query}"

    if kind == "refused":
        await play(port, await asyncio.to_thread(register, port, url(1)), WAIT)
    stream = await asyncio.to_thread(register, port, url(2))
    return (f"{kind} {status}" if kind == "refused" else kind), await play(port, stream, WAIT)


async def run() -> None:
    """Make all starts, and print the share that played, by kind and in all."""
    provider = SlowProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    origin = server.sockets[0].getsockname()[1]
    results: dict[str, list[float | None]] = defaultdict(list)
    async with daemon() as port:
        for kind, seconds in await asyncio.gather(*(start(port, origin, number) for number in range(STARTS))):
            results[kind].append(seconds)
    server.close()
    for kind in sorted(results):
        print(describe(kind, results[kind]))
    print(describe("all", [each for every in results.values() for each in every]))
    print(f"requests to the provider for each start: {sum(provider.requests.values()) / STARTS:.1f}")


def describe(kind: str, results: list[float | None]) -> str:
    """Return the share of the starts that played, as a line."""
    played = sum(each is not None and each <= WAIT for each in results)
    return f"{kind:12} {played:3} of {len(results):3} play within {WAIT:g} s: {played / len(results):.0%}"


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
