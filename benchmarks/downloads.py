"""Players of playlists and of files, a thread each, that check the received bytes.

``python -m benchmarks.downloads playlist PORT PATH COUNT SPREAD SIZE`` polls a live playlist and gets each of its
segments once. ``SIZE`` is the size of a segment. ``python -m benchmarks.downloads film PORT PATH COUNT SPREAD FILE``
gets ranges of 20 MB at random offsets. ``FILE`` holds the expected content. The last player starts ``SPREAD`` seconds
after the first.

For each line on standard input the program prints a JSON report. It ends with the end of the input.
"""

from __future__ import annotations

import json
import random
import re
import struct
import sys
import threading
import time
from functools import lru_cache, partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urljoin

PIECE = 1_048_576
RANGE = 20_000_000
#: Position of a player's first segment, counted back from the end of the playlist.
BEHIND = 3


@lru_cache(8)
def segment(number: int, size: int) -> bytes:
    """Return the content of a segment. Each number has different content."""
    return (b"G" + struct.pack(">Q", number) * 23 + b"\xff\xff\xff") * (size // 188)


class Player:
    """A player with a persistent connection."""

    def __init__(self, number: int, port: int) -> None:
        self.number = number
        self.received = self.got = 0
        self.faults: list[str] = []
        self._connection = HTTPConnection("127.0.0.1", port, timeout=20)
        self._buffer = bytearray(PIECE)

    def get(self, path: str, part: str = "") -> HTTPResponse:
        """Send a request and return its response.

        :raises OSError: another status than 200, or 206 for a range.
        """
        headers = {"User-Agent": f"bench/{self.number}"}
        self._connection.request("GET", path, headers={**headers, "Range": part} if part else headers)
        response = self._connection.getresponse()
        if response.status != (206 if part else 200):
            raise OSError(f"{response.status} for {path}: {response.read()[:200]!r}")
        return response

    def get_as(self, expected: memoryview, path: str, part: str = "") -> None:
        """Get a resource and compare it with the expected content.

        :raises OSError: the content differs.
        """
        response, place = self.get(path, part), 0
        if response.length != len(expected):
            raise OSError(f"{path} has {response.length} bytes instead of {len(expected)}")
        while size := response.readinto(self._buffer):
            if self._buffer[:size] != expected[place : place + size]:
                raise OSError(f"{path} differs between {place} and {place + size}")
            place += size
            self.received += size
        self.got += 1


def poll(player: Player, path: str, size: str) -> None:
    """Play a live playlist (RFC 8216 section 6.3.4).

    :raises OSError: the window moved past a segment, or a download failed.
    """
    place: int | None = None
    while True:
        began = time.monotonic()
        text = player.get(path).read().decode()
        target, first = _number(text, "TARGETDURATION"), _number(text, "MEDIA-SEQUENCE")
        names = [line for line in text.splitlines() if line and line[0] != "#"]
        if place is None:
            place = max(first, first + len(names) - BEHIND)
        if place < first:
            raise OSError(f"the window begins at {first}, and {place} was never seen")
        new = names[place - first :]
        for name in new:
            player.get_as(memoryview(segment(place, int(size))), urljoin(path, name))
            place += 1
        time.sleep(max(0.0, began + (target if new else target / 2) - time.monotonic()))


def _number(playlist: str, tag: str) -> int:
    return int(re.findall(rf"#EXT-X-{tag}:(\d+)", playlist)[0])


def seek(player: Player, path: str, film: memoryview) -> None:
    """Get random ranges in an endless loop."""
    dice = random.Random(player.number)
    while True:
        first = dice.randrange(len(film) - RANGE)
        player.get_as(film[first : first + RANGE], path, f"bytes={first}-{first + RANGE - 1}")


def _run(player: Player, play: partial[None], wait: float) -> None:
    time.sleep(wait)
    try:
        play(player)
    except Exception as error:
        player.faults.append(f"player {player.number}: {type(error).__name__} {error}")


def main(kind: str, port: int, path: str, count: int, spread: float, what: str) -> None:
    """Start the players, and report until standard input ends."""
    if kind == "film":
        play = partial(seek, path=path, film=memoryview(Path(what).read_bytes()))
    else:
        play = partial(poll, path=path, size=what)
    players = [Player(number, port) for number in range(count)]
    for player in players:
        wait = spread * player.number / count
        threading.Thread(target=_run, args=(player, play, wait), daemon=True).start()
    for _ in sys.stdin:
        report = {name: sum(getattr(each, name) for each in players) for name in ("received", "got")}
        print(json.dumps({**report, "faults": [fault for each in players for fault in each.faults]}), flush=True)


if __name__ == "__main__":
    kind, port, path, count, spread, what = sys.argv[1:]
    main(kind, int(port), path, int(count), float(spread), what)
