"""Interface to the verifying client ``c/players.c``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.rig import BUILD, child, line_of


@dataclass(frozen=True)
class Group:
    """Players with the same behaviour.

    The first player starts ``start_ms`` milliseconds after the program, the last one ``spread_ms`` later.
    ``bytes_per_second`` limits slow readers; 0 is unlimited.
    """

    name: str
    count: int
    channel: int
    path: str
    start_ms: int = 0
    spread_ms: int = 0
    bytes_per_second: int = 0

    def spec(self) -> str:
        """Return the group as an argument of the C program."""
        numbers = f"{self.count}:{self.channel}:{self.bytes_per_second}:{self.start_ms}:{self.spread_ms}"
        return f"{self.name}:{numbers}:{self.path}"


@dataclass(frozen=True)
class GroupReport:
    """Results of a group; ``c/players.c`` and ``c/verify.h`` explain the fields."""

    name: str
    players: int
    served: int
    failed: int
    pat_first: int
    key_first: int
    bytes: int
    lost: int
    repeated: int
    torn: int
    skipped: int
    first_byte_ms: tuple[float, float, float]
    stall_ms: float
    mbit: tuple[float, float]

    def faults(self, *, joins_at_key: bool, may_lose: bool) -> list[str]:
        """Return the errors that no viewer may see, as text.

        :param joins_at_key: the server promises to start at PAT and random access point (the floor does not).
        :param may_lose: packets may be missing: slow readers, or a source faster than a player.
        """
        wrong = {
            "not served": self.players - self.served,
            "failed": self.failed,
            "torn packets": self.torn,
            "bytes out of step": self.skipped,
            "repeated packets": self.repeated,
            "lost packets": 0 if may_lose else self.lost,
            "without PAT first": self.served - self.pat_first if joins_at_key else 0,
            "without key first": self.served - self.key_first if joins_at_key else 0,
        }
        return [f"{self.name}: {count} {what}" for what, count in wrong.items() if count]


class Players:
    """Running players."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def bytes_received(self) -> int:
        """Return the body bytes that all players have received so far."""
        return int(line_of(self._process))

    def leave(self) -> list[GroupReport]:
        """Disconnect all players and return the reports of the groups."""
        text, _ = self._process.communicate(timeout=20)
        return [GroupReport(**group) for group in json.loads(text)]


@contextmanager
def players(cpu: int, port: int, groups: Sequence[Group]) -> Iterator[Players]:
    """Start players of 127.0.0.1:``port``."""
    command = [str(BUILD / "players"), str(port), *(group.spec() for group in groups)]
    with child(command, cpu, stdin=subprocess.PIPE) as process:
        yield Players(process)
