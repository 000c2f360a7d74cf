"""Scenarios and the limits that m3uproxy must meet.

A scenario runs against a server and returns cost, other figures, and faults. A fault must not happen in any run,
whatever its speed. The limits are those of the design. A ratio is the cost of m3uproxy divided by the cost of the
floor.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.players import Group, GroupReport, players
from benchmarks.rig import Source, cpu_seconds, resident_bytes
from benchmarks.servers import Server

MB = 1_000_000
RING_SECONDS = 10
"""Seconds of a stream that the proxy keeps by default."""
SETTLE_SECONDS = 3.0
"""Timeout for the end of the provider connection after the last viewer has left."""

IDLE = "idle MB"
GROWTH = "growth MB"
FIRST_BYTE = "first byte p95 ms"
THROUGHPUT = "Gbit/s"


@dataclass
class Outcome:
    """The result of a run. ``cost`` is in the scenario's unit (lower is better), None without a comparison."""

    cost: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """A row of the table.

    :ivar play: runs the scenario; arguments: source (for nginx an origin), server, CPU of the players.
    :ivar against: the reference: ``floor``, ``textbook`` or ``nginx``.
    :ivar max_ratio: highest cost of m3uproxy in multiples of the reference.
    :ivar limits: highest median of each figure of m3uproxy; ``"cost"`` limits the cost itself.
    :ivar tick_ms: write interval of the source in milliseconds, if the scenario is about it.
    """

    name: str
    what: str
    unit: str
    play: Callable[[Any, Server, int], Outcome]
    max_ratio: float | None = None
    against: str = "floor"
    limits: Mapping[str, float] = field(default_factory=dict)
    tick_ms: float | None = None


class Receivers(Protocol):
    """Players that a scenario measures."""

    def bytes_received(self) -> int:
        """Return the body bytes that all have received so far."""


def _groups_of(server: Server, source: Source, channel: int, rate: int = 8_000_000) -> Callable[..., Group]:
    path = server.register(source.url(channel, rate))

    def group(name: str, count: int, **options: int) -> Group:
        return Group(name, count, channel, path, **options)

    return group


def watch(server: Server, running: Receivers, outcome: Outcome, warm: float, seconds: float) -> None:
    """Let players play for ``warm`` seconds, then measure for ``seconds``: CPU seconds per delivered GB, memory,
    throughput.
    """
    time.sleep(warm)
    began, cpu, received = time.monotonic(), cpu_seconds(server.pid), running.bytes_received()
    peak = 0
    while time.monotonic() - began < seconds:
        peak = max(peak, resident_bytes(server.pid))
        time.sleep(0.1)
    gigabytes = (running.bytes_received() - received) / 1e9
    outcome.cost = (cpu_seconds(server.pid) - cpu) / max(gigabytes, 1e-9)
    outcome.figures[IDLE] = server.idle_bytes / MB
    outcome.figures[GROWTH] = (peak - server.idle_bytes) / MB
    outcome.figures[THROUGHPUT] = gigabytes * 8 / (time.monotonic() - began)


def _play(
    source: Source,
    server: Server,
    cpu: int,
    groups: Sequence[Group],
    *,
    warm: float,
    seconds: float,
    may_lose: Sequence[str] = (),
) -> tuple[Outcome, list[GroupReport]]:
    """Run players and measure: one upstream per channel during the run, none afterwards.

    :param may_lose: names of the groups that may lose packets.
    """
    outcome = Outcome()
    with players(cpu, server.port, groups) as running:
        watch(server, running, outcome, warm, seconds)
        upstreams, channels = source.stats(), len({group.channel for group in groups})
        reports = running.leave()
    for report in reports:
        lossy = report.name in may_lose
        outcome.faults += report.faults(joins_at_key=server.joins_at_key, may_lose=lossy)
    if upstreams.open != channels or upstreams.total != channels:
        outcome.faults.append(f"{upstreams.open} upstreams ({upstreams.total} ever) for {channels} channels")
    _expect_none_left(source, outcome)
    return outcome, reports


def _expect_none_left(source: Source, outcome: Outcome) -> None:
    if left := source.left_after(SETTLE_SECONDS):
        outcome.faults.append(f"{left} upstreams left")


def fan_out(source: Source, server: Server, cpu: int, viewers: int = 200) -> Outcome:
    """Run a stream with many viewers. All but the first join a running stream, for the time to the first byte."""
    group = _groups_of(server, source, channel=1)
    groups = [group("first", 1), group("late", viewers - 1, start_ms=1500, spread_ms=1200)]
    outcome, reports = _play(source, server, cpu, groups, warm=4, seconds=4)
    outcome.figures[FIRST_BYTE] = reports[1].first_byte_ms[1]
    return outcome


def many_streams(source: Source, server: Server, cpu: int, streams: int = 20, viewers: int = 5) -> Outcome:
    """Run many streams with few viewers each: the cost of a read and a flush."""
    groups = [
        _groups_of(server, source, channel)(f"c{channel}", viewers, start_ms=30 * channel, spread_ms=500)
        for channel in range(streams)
    ]
    outcome, _ = _play(source, server, cpu, groups, warm=4, seconds=4)
    return outcome


def unpaced(source: Source, server: Server, cpu: int, viewers: int = 10) -> Outcome:
    """Run a source faster than any player. Packets may be lost but must be whole."""
    group = _groups_of(server, source, channel=1, rate=0)
    outcome, _ = _play(source, server, cpu, [group("all", viewers)], warm=1.5, seconds=3, may_lose=["all"])
    return outcome


def slow_viewers(source: Source, server: Server, cpu: int, rate: int) -> Outcome:
    """Run ten viewers in time and two at 100 KB/s. The ten lose no packet; memory stays constant."""
    group = _groups_of(server, source, channel=1, rate=rate)
    groups = [
        group("fast", 10, spread_ms=100),
        group("slow", 2, start_ms=300, bytes_per_second=100_000),
    ]
    outcome, _ = _play(source, server, cpu, groups, warm=2, seconds=12, may_lose=["slow"])
    return outcome


def crowd(source: Source, server: Server, cpu: int, viewers: int = 50) -> Outcome:
    """Start all viewers at the same moment on a new stream: there must be one upstream."""
    group = _groups_of(server, source, channel=1)
    outcome, reports = _play(source, server, cpu, [group("crowd", viewers)], warm=2, seconds=1)
    outcome.cost = None  # fan-out measures the cost with more viewers
    outcome.figures["joined p95 ms"] = reports[0].first_byte_ms[1]
    return outcome


def zap(source: Source, server: Server, cpu: int, zaps: int = 200, channels: int = 50) -> Outcome:
    """Run a viewer that changes channels, half of the times before the first packet. The source starts with a burst."""
    paths = [server.register(source.url(channel, burst=2)) for channel in range(channels)]
    outcome, waits = Outcome(), []
    before = cpu_seconds(server.pid)
    for i in range(zaps):
        began = time.monotonic()
        try:
            _look_at(server.port, paths[i % channels], only_for=0.02 if i % 2 else None)
        except OSError as error:
            outcome.faults.append(f"zap {i}: {error}")
        if i % 2 == 0:
            waits.append(time.monotonic() - began)
    _expect_none_left(source, outcome)
    time.sleep(0.2)
    outcome.cost = (cpu_seconds(server.pid) - before) * 1000 / zaps
    outcome.figures["zap p95 ms"] = sorted(waits)[len(waits) * 95 // 100] * 1000
    return outcome


def _look_at(port: int, path: str, only_for: float | None) -> None:
    """Request a stream and disconnect after its first packet, or after ``only_for`` seconds.

    :raises OSError: the server ends the connection, does not answer 200, or takes 3 s.
    """
    with socket.create_connection(("127.0.0.1", port), 3) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        if only_for is not None:
            time.sleep(only_for)
            return
        received = b""
        while len(received.partition(b"\r\n\r\n")[2]) < 188:
            more = connection.recv(65536)
            if not more:
                raise ConnectionError("ended by the server")
            received += more
        if not received.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(received[:40].decode("latin-1"))


def _slow(megabits: int) -> Scenario:
    return Scenario(
        f"slow-{megabits}",
        f"10 fast and 2 slow viewers, {megabits} Mbit/s",
        "CPU s/GB",
        lambda source, server, cpu: slow_viewers(source, server, cpu, megabits * 1_000_000),
        limits={GROWTH: megabits / 8 * RING_SECONDS + 2},
    )


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "fan-out",
            "1 stream x 200 viewers",
            "CPU s/GB",
            fan_out,
            max_ratio=1.25,
            limits={IDLE: 90, FIRST_BYTE: 20, GROWTH: 8 / 8 * RING_SECONDS + 2 + 200 * 0.024},
        ),
        Scenario("streams", "20 streams x 5 viewers", "CPU s/GB", many_streams, max_ratio=1.6),
        Scenario(
            "streams-wan",
            "20 x 5, source writes every 1.5 ms",
            "CPU s/GB",
            many_streams,
            max_ratio=1.8,
            tick_ms=1.5,
        ),
        Scenario("unpaced", "1 x 10, unpaced", "CPU s/GB", unpaced, max_ratio=1.8),
        Scenario("zap", "200 zaps over 50 streams", "CPU ms/zap", zap, max_ratio=2.7, against="textbook"),
        _slow(8),
        _slow(24),
        Scenario("crowd", "50 viewers in the same moment", "-", crowd),
    )
}
