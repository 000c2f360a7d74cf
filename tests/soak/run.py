"""``make soak MINUTES=15``: many players on misbehaving streams, and a daemon that must return to where it began.

The time is divided into cycles. In each, players come and go, a client uses the API, and settings are reloaded. At the
end of a cycle all players leave and all streams are deleted. From the second cycle on, the daemon must have as many
objects, descriptors and delayed calls as after the one before. Its log must hold no traceback, and no call may hold
the reactor over 50 ms of CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from streams import SoakStream, soak_streams

PLAYERS = 100
CYCLES = 4
#: Seconds for the daemon to close what the players of a cycle have left. The HLS cache keeps responses for 60 s, and is
#: swept each 15 s.
DRAIN = 80.0
#: Growth between two idle reports that is accepted: caches of the libraries fill over time.
MAX_OBJECT_GROWTH = 0.02
#: Objects by which idle reports differ, because players and times are random.
MAX_OBJECT_DIFFERENCE = 400
MAX_KEPT_OBJECTS = 50


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class SoakDaemon:
    """The daemon under test."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "log"
        self._report = folder / "report.json"
        environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "STATE_DIR": str(folder / "state"),
            "STREAM_TIMEOUT": "0",
            "RING_TOTAL_BYTES": "128MiB",
        }
        command = [sys.executable, str(Path(__file__).with_name("daemon.py")), str(self._report)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def reload(self) -> None:
        """Let the daemon read its settings again."""
        self.process.send_signal(signal.SIGHUP)

    async def report(self) -> dict[str, Any]:
        """Return the daemon's figures of itself."""
        self._report.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        for _ in range(600):
            if self._report.exists():
                figures: dict[str, Any] = json.loads(self._report.read_text())
                return figures
            await asyncio.sleep(0.1)
        raise SystemExit("soak: the daemon does not report on itself within 60 s")

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send one request to the API; return the JSON of the answer, or None if there is none."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head.encode() + data)
            answer = await asyncio.wait_for(reader.read(), 60)
        finally:
            writer.close()
        _, _, text = answer.partition(b"\r\n\r\n")
        with contextlib.suppress(ValueError):
            return json.loads(text)
        return None


async def play(port: int, path: str, seconds: float, headers: str = "", pause: float = 0.0) -> bytes:
    """Request a path, read for some seconds, and disconnect; return the first 64 KiB of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    kept = b""
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n".encode())
        async with asyncio.timeout(seconds):
            while data := await reader.read(65536):
                kept = (kept + data)[:65536]
                await asyncio.sleep(pause)
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()
    return kept


async def play_playlist(port: int, path: str, seconds: float, depth: int = 0) -> None:
    """Play a playlist: follow the first variant, then request the last segment of each refresh."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text = (await play(port, path, 10)).decode("utf-8", "replace")
        uris = [line for line in text.splitlines() if line.startswith("/")]
        if not uris:
            return
        if "#EXT-X-STREAM-INF" in text and depth == 0:
            await play_playlist(port, uris[0], end - time.monotonic(), 1)
            return
        await play(port, uris[-1], 5)
        await asyncio.sleep(0.5)


class Soak:
    """One run: a daemon, a provider, and the players of all cycles."""

    def __init__(self, daemon: SoakDaemon, streams: list[SoakStream]) -> None:
        self._daemon = daemon
        self._streams = streams
        self._ids: dict[str, SoakStream] = {}

    async def cycle(self, seconds: float) -> dict[str, Any]:
        """Play for some seconds, let everybody leave, and return the idle daemon's figures."""
        for stream in self._streams:
            await self._register(stream)
        end = time.monotonic() + seconds
        tasks = [asyncio.create_task(self._player(end)) for _ in range(PLAYERS)]
        tasks += [asyncio.create_task(self._api_client(end)), asyncio.create_task(self._reloads(end))]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, OSError):
                raise result
        for stream_id in list(self._ids):
            await self._remove(stream_id)
        await asyncio.sleep(DRAIN)
        return await self._daemon.report()

    async def _register(self, stream: SoakStream) -> None:
        body = {"url": stream.url, "failover_urls": list(stream.backups)}
        answer = await self._daemon.ask("POST", "/streams", body)
        self._ids[answer["stream_id"]] = stream

    async def _remove(self, stream_id: str) -> None:
        self._ids.pop(stream_id, None)
        await self._daemon.ask("DELETE", f"/streams/{stream_id}")

    async def _player(self, end: float) -> None:
        while time.monotonic() < end:
            stream_id = random.choice(list(self._ids))
            kind, seconds = self._ids[stream_id].kind, random.uniform(0.05, 8.0)
            port = self._daemon.port
            pause = random.choice((0.0, 0.0, 0.0, 0.2))
            if kind == "film":
                first = random.randrange(8_000_000)
                await play(port, f"/stream/{stream_id}", seconds, f"Range: bytes={first}-\r\n", pause)
            elif (kind == "hls" and random.random() < 0.6) or random.random() < 0.15:
                await play_playlist(port, f"/hls/{stream_id}/playlist.m3u8?client_id={random.random()}", seconds)
            else:
                await play(port, f"/stream/{stream_id}", seconds, pause=pause)

    async def _api_client(self, end: float) -> None:
        while time.monotonic() < end:
            await asyncio.sleep(0.5)
            stream_id = random.choice(list(self._ids))
            action = random.random()
            if action < 0.1:
                stream = self._ids[stream_id]
                await self._remove(stream_id)
                await self._register(stream)
            elif action < 0.4:
                await self._daemon.ask("POST", f"/streams/{stream_id}/failover", {})
            else:
                paths = ("/streams", "/stats", "/clients", "/health", f"/streams/{stream_id}/timeline")
                await self._daemon.ask("GET", random.choice(paths))

    async def _reloads(self, end: float) -> None:
        while time.monotonic() < end:
            await asyncio.sleep(10)
            self._daemon.reload()


def faults(reports: list[dict[str, Any]], log: str) -> Iterator[str]:
    """Yield what must not be: growth between idle reports, long calls, tracebacks."""
    idle, *cycles = reports
    for before, after in pairwise(cycles):
        if after["objects"] > before["objects"] * (1 + MAX_OBJECT_GROWTH) + MAX_OBJECT_DIFFERENCE:
            yield f"objects grew from {before['objects']} to {after['objects']}: {_growth(before, after)}"
    for number, report in enumerate(cycles, 1):
        for name, spare in (("descriptors", 3), ("delayed_calls", 2)):
            if report[name] > idle[name] + spare:
                yield f"{name} after cycle {number}: {report[name]}, {idle[name]} at the start"
        for seconds, place in report["holds"]:
            yield f"a call held the reactor for {seconds} s of CPU time: {place}"
        for name in report["tracebacks"]:
            yield f"an exception of a module keeps a traceback: {name}"
        kept = {kind: n for kind, n in report["of_the_package"].items() if _is_of_a_stream(kind)}
        if sum(kept.values()) > MAX_KEPT_OBJECTS:
            yield f"objects of deleted streams after cycle {number}: {sum(kept.values())}, as {list(kept.items())[:8]}"
    if count := log.count("Traceback (most recent call last)"):
        yield f"{count} tracebacks in the log"


def _figures(report: dict[str, Any]) -> dict[str, int]:
    return {key: report[key] for key in ("objects", "descriptors", "delayed_calls", "resident_kib")}


def _is_of_a_stream(kind: str) -> bool:
    return kind.split(".")[1] in ("live", "hls", "vod", "streams") and kind.rpartition(".")[2][0] != "_"


def _growth(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    known = {**before["kinds"], **before["of_the_package"]}
    grown = {kind: n - known.get(kind, 0) for kind, n in {**after["kinds"], **after["of_the_package"]}.items()}
    return dict(sorted(grown.items(), key=lambda item: -item[1])[:5])


@contextlib.asynccontextmanager
async def running(process: subprocess.Popen[bytes], port: int) -> AsyncIterator[None]:
    """Wait until a program listens; stop it afterwards."""
    try:
        for _ in range(150):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            await asyncio.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def main(minutes: float, seed: int) -> int:
    """Run all cycles and print the figures; return 1 if something must not be."""
    random.seed(seed)
    with tempfile.TemporaryDirectory(prefix="m3uproxy-soak-") as name:
        folder, port = Path(name), free_port()
        provider = subprocess.Popen(
            [sys.executable, "-m", "m3uproxy.provider", "--port", str(port)], stdout=subprocess.DEVNULL
        )
        daemon = SoakDaemon(folder)
        async with running(provider, port), running(daemon.process, daemon.port):
            soak = Soak(daemon, list(soak_streams(f"http://127.0.0.1:{port}")))
            reports = [await daemon.report()]
            for number in range(1, CYCLES + 1):
                reports.append(await soak.cycle(max(20.0, minutes * 60 / CYCLES - DRAIN)))
                print(f"cycle {number}: {_figures(reports[-1])}, longest calls {reports[-1]['holds']}", flush=True)
        found = list(faults(reports, daemon.log.read_text()))
        if daemon.process.returncode:
            found.append(f"the daemon ended with status {daemon.process.returncode}")
        print(f"start: {_figures(reports[0])}")
        print(f"log: {len(daemon.log.read_text().splitlines())} lines")
        print(*found or ["soak: clean"], sep="\n")
        if found:
            kept = Path(tempfile.gettempdir()) / "m3uproxy-soak.log"
            kept.write_text(daemon.log.read_text())
            print(f"log kept at {kept}")
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    sys.exit(asyncio.run(main(options.minutes, options.seed)))
