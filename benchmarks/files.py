"""Scenarios of playlists and files, compared with nginx, which requests each resource once per player."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.downloads import segment
from benchmarks.nginx import Origin
from benchmarks.rig import child, line_of
from benchmarks.scenarios import MB, Outcome, Scenario, watch
from benchmarks.servers import Server

ROOT = Path(__file__).resolve().parents[1]
PLAYLIST, FILM = "live.m3u8", "film.mp4"
#: Properties of a channel of 8 Mbit/s: seconds and bytes of a segment, segments in its playlist.
TARGET = 2
SEGMENT = TARGET * MB // 188 * 188
WINDOW = 6
FILM_BYTES = 256 * MB


class Downloads:
    """Running players; see :mod:`benchmarks.downloads`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def report(self) -> dict[str, Any]:
        """Return the report: ``received`` bytes, ``got`` segments or ranges, ``faults``."""
        result: dict[str, Any] = json.loads(line_of(self._process))
        return result

    def bytes_received(self) -> int:
        """Return the received bytes of segments or of the file."""
        return int(self.report()["received"])


@contextmanager
def downloads(
    cpu: int, kind: str, port: int, path: str, count: int, spread: float, what: object
) -> Iterator[Downloads]:
    """Start players. :mod:`benchmarks.downloads` describes the arguments."""
    words = [str(each) for each in (kind, port, path, count, spread, what)]
    command = [sys.executable, "-m", "benchmarks.downloads", *words]
    with child(command, cpu, cwd=ROOT, stdin=subprocess.PIPE) as process:
        yield Downloads(process)


@contextmanager
def on_air(folder: Path) -> Iterator[None]:
    """Write a live playlist into a folder, with a new segment every :data:`TARGET` seconds."""
    over, began = threading.Event(), time.monotonic()

    def go_on() -> None:
        number = WINDOW
        while not over.wait(max(0.0, began + (number - WINDOW + 1) * TARGET - time.monotonic())):
            _add(folder, number)
            number += 1

    for number in range(WINDOW):
        _add(folder, number)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _name(number: int) -> str:
    return f"segment-{number}.ts"


def _add(folder: Path, newest: int) -> None:
    """Add a segment and remove one from the window. The removed one stays available for a while (RFC 8216, 6.2.2)."""
    (folder / _name(newest)).write_bytes(segment(newest, SEGMENT))
    (folder / _name(newest - 2 * WINDOW)).unlink(missing_ok=True)
    numbers = range(max(0, newest - WINDOW + 1), newest + 1)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{TARGET}", f"#EXT-X-MEDIA-SEQUENCE:{numbers[0]}"]
    for number in numbers:
        lines += [f"#EXTINF:{TARGET},", _name(number)]
    new = folder / "new.m3u8"
    new.write_text("\n".join([*lines, ""]))
    new.rename(folder / PLAYLIST)


def playlists(origin: Origin, server: Server, cpu: int, pollers: int = 50, seconds: float = 60) -> Outcome:
    """Run 50 players that poll a live playlist."""
    outcome = Outcome()
    with on_air(origin.files):
        path = server.register(origin.url(PLAYLIST))
        began = time.monotonic()
        with downloads(cpu, "playlist", server.port, path, pollers, TARGET, SEGMENT) as players:
            watch(server, players, outcome, 4 * TARGET, seconds)
            outcome.faults += players.report()["faults"]
        took = time.monotonic() - began
    asked = origin.asked()
    refreshes, segments = asked.pop(PLAYLIST), asked.total()
    outcome.figures["requests a segment"] = segments / len(asked)
    outcome.figures["playlists a second"] = refreshes / took
    if len(asked) < seconds / TARGET:
        outcome.faults.append(f"only {len(asked)} segments were played")
    if server.asks_once and segments != len(asked):
        outcome.faults.append(f"{segments} requests for {len(asked)} segments")
    if server.asks_once and refreshes > 1 + took / (TARGET / 2):
        outcome.faults.append(f"{refreshes} requests for the playlist in {took:.0f} s")
    return outcome


def films(origin: Origin, server: Server, cpu: int, viewers: int = 8, seconds: float = 10) -> Outcome:
    """Run viewers that get ranges of 20 MB of a file as fast as possible."""
    outcome, film = Outcome(), origin.files / FILM
    with film.open("wb") as file:
        for place in range(0, FILM_BYTES // 8, MB // 8):
            array("Q", range(place, place + MB // 8)).tofile(file)
    path = server.register(origin.url(FILM))
    with downloads(cpu, "film", server.port, path, viewers, 0, film) as players:
        watch(server, players, outcome, 2, seconds)
        outcome.faults += players.report()["faults"]
    return outcome


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("hls", "1 HLS stream x 50 pollers, 60 s", "CPU s/GB", playlists, max_ratio=4, against="nginx"),
        Scenario("vod", "1 film x 8 viewers, ranges of 20 MB", "CPU s/GB", films, max_ratio=3, against="nginx"),
    )
}
