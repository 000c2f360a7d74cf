"""The pump: start, slow players, and the end."""

from __future__ import annotations

import pytest
from fakes import FakePlayer, Programme, check_segments, packets
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from m3uproxy.core.ingest.parser import split_at_access_points
from m3uproxy.core.mpegts.access_index import AccessIndex
from m3uproxy.core.ring import Ring
from m3uproxy.downstream.socket_writer import BufferedWriter
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IPump
from m3uproxy.live.broadcaster import Broadcaster, JoinTiming
from m3uproxy.live.pump import Pump, PumpState

BROKEN = SourceError(Reason.RESET)


class ActiveSession:
    """A session that streams; the test appends the blocks."""

    active = True
    ahead: float | None = None


class DetachRecorder(Broadcaster):
    """A broadcaster that records the pumps that end."""

    def __init__(self, clock: Clock, ring: Ring) -> None:
        super().__init__(clock, ring, JoinTiming(join_back=3, join_wait=2), lambda _: ActiveSession())
        self.detached: list[Pump] = []

    def detach(self, pump: Pump) -> None:
        self.detached.append(pump)
        super().detach(pump)


class PumpRig:
    """A pump of a broadcaster, and its player."""

    def __init__(
        self, kernel: int = 100_000, evict: bool = False, ring_bytes: int = 10**9, buffered: bool = False
    ) -> None:
        self.clock = Clock()
        self.broadcaster = DetachRecorder(self.clock, Ring(10, ring_bytes))
        self.player = FakePlayer(self.clock, kernel)
        if buffered:
            self.player.writer = BufferedWriter(self.player.transport)  # type: ignore[assignment]
        self.gone = 0
        self.pump = Pump(self.clock, self.player, self.broadcaster, evict, self._gone, "client", "stream")
        self.player.transport.registerProducer(self.pump, True)
        self.index = AccessIndex()
        self.programme = Programme()
        self.sent = b""

    def _gone(self) -> None:
        self.gone += 1

    def group(self, pictures: int = 5, size: int = 4000) -> None:
        """Append a group of pictures, half a second long, to the ring."""
        for n in range(pictures):
            data = (self.programme.tables() if n == 0 else b"") + self.programme.picture(n == 0, size)
            self.sent += data
            psi = self.index.psi
            self.broadcaster._publish(split_at_access_points(data, self.index.scan(data), psi))
            self.clock.advance(0.1)

    def read_all(self) -> None:
        for _ in range(1000):
            self.clock.advance(0)
            if not self.player.transport.read():
                self.clock.advance(0)
                if not self.player.transport.in_kernel:
                    return


def test_interfaces() -> None:
    rig = PumpRig()
    verifyObject(IPushProducer, rig.pump)
    verifyObject(IPump, rig.pump)


def test_waits_without_a_byte_until_there_is_a_place() -> None:
    rig = PumpRig()
    rig.pump.try_to_start()
    assert rig.pump.state is PumpState.WAITING
    assert rig.player.heads == 0
    rig.group()
    rig.pump.try_to_start()
    assert rig.player.heads == 1
    rig.read_all()
    assert rig.pump.state is PumpState.EDGE
    assert check_segments(rig.player.media, rig.sent) == 1
    rig.pump.try_to_start()
    rig.pump.try_to_start()
    assert rig.player.heads == 1


def test_starts_about_three_seconds_back_and_catches_up() -> None:
    rig = PumpRig()
    for _ in range(20):
        rig.group()
    rig.pump.try_to_start()
    rig.read_all()
    assert rig.pump.state is PumpState.EDGE
    group = len(rig.sent) // 20
    assert 6 * group <= len(rig.player.media) <= 7.2 * group
    assert rig.player.media.endswith(rig.sent[-188:])
    assert check_segments(rig.player.media, rig.sent) == 1


def test_player_at_the_edge_gets_each_byte() -> None:
    rig = PumpRig()
    rig.group()
    rig.pump.try_to_start()
    rig.read_all()
    for _ in range(10):
        rig.group()
        rig.read_all()
        assert rig.pump.bytes_sent == len(rig.player.media)
    assert check_segments(rig.player.media, rig.sent) == 1
    assert rig.pump.skips == 0


@pytest.mark.parametrize("kernel", [1000, 5000, 30_000])
def test_a_small_socket_splits_blocks_and_nothing_is_lost(kernel: int) -> None:
    rig = PumpRig(kernel)
    rig.group()
    rig.pump.try_to_start()
    for _ in range(5):
        rig.group()
        rig.player.transport.read(7000)
        assert rig.pump.bytes_sent == rig.player.taken
    rig.read_all()
    assert rig.pump.state is PumpState.EDGE
    assert rig.pump.bytes_sent == rig.player.taken == len(rig.player.media)
    assert check_segments(rig.player.media, rig.sent) == 1
    assert rig.player.media.endswith(rig.sent[-188:])


def test_slow_player_skips_to_an_access_point_with_tables() -> None:
    rig = PumpRig(20_000)
    rig.group()
    rig.pump.try_to_start()
    rig.clock.advance(0)
    rig.player.transport.read(3000)
    for _ in range(120):
        rig.group()
    assert rig.pump.state is PumpState.DRAINING
    rig.read_all()
    assert rig.pump.skips == 1
    assert check_segments(rig.player.media, rig.sent) == 2
    assert rig.player.media.endswith(rig.sent[-188:])
    assert rig.pump.bytes_sent == len(rig.player.media)


def test_slow_player_is_disconnected_by_policy() -> None:
    rig = PumpRig(20_000, evict=True)
    rig.group()
    rig.pump.try_to_start()
    rig.clock.advance(0)
    for _ in range(120):
        rig.group()
    rig.player.transport.read()
    rig.clock.advance(0)
    rig.clock.advance(0)
    assert rig.pump.state is PumpState.GONE
    assert rig.player.transport.aborted
    assert rig.gone == 1
    assert rig.pump.skips == 0


def test_blocked_since_is_the_first_byte_not_taken_and_clears_with_progress() -> None:
    rig = PumpRig(20_000)
    rig.group()
    rig.pump.try_to_start()
    rig.clock.advance(0)
    rig.group()
    since = rig.pump.blocked_since
    assert since is not None
    rig.group()
    assert rig.pump.blocked_since == since
    rig.player.transport.read(20_000)
    rig.clock.advance(0)
    assert rig.pump.blocked_since is None or rig.pump.blocked_since > since


def test_a_head_that_does_not_leave_counts_as_blocked() -> None:
    """After pipelined responses that the player has not read, the socket may be full before the stream starts."""
    rig = PumpRig(20_000)
    rig.player.transport.kernel_send(bytes(20_000))
    rig.group()
    rig.pump.try_to_start()
    rig.clock.advance(1)
    assert rig.player.heads == 1
    assert rig.pump.blocked_since is not None


def test_a_head_that_leaves_is_not_blocked() -> None:
    rig = PumpRig()
    rig.group()
    rig.pump.try_to_start()
    rig.clock.advance(0)
    assert rig.pump.blocked_since is None
    rig.clock.advance(500)
    assert rig.pump.blocked_since is None


def test_end_while_waiting_refuses_and_later_aborts() -> None:
    rig = PumpRig()
    rig.pump.close(BROKEN)
    rig.pump.close(BROKEN)
    assert rig.player.refused is BROKEN
    assert not rig.player.transport.aborted
    assert rig.gone == 1
    rig = PumpRig()
    rig.group()
    rig.pump.try_to_start()
    rig.pump.close(BROKEN)
    assert rig.player.refused is None
    assert rig.player.transport.aborted
    assert rig.gone == 1


@pytest.mark.parametrize("phase", ["waiting", "draining", "edge"])
def test_each_end_is_reported_once(phase: str) -> None:
    rig = PumpRig(1000)
    if phase != "waiting":
        rig.group()
        rig.pump.try_to_start()
    if phase == "edge":
        rig.read_all()
        assert rig.pump.state is PumpState.EDGE
    rig.player.transport.leave()
    rig.clock.advance(0)
    for _ in range(2):
        rig.pump.stopProducing()
        rig.pump.abort("x")
        rig.pump.close(BROKEN)
        rig.pump.pauseProducing()
        rig.pump.resumeProducing()
        rig.pump.try_to_start()
    assert rig.gone == 1
    assert rig.broadcaster.detached == [rig.pump]
    assert rig.player.refused is None
    assert rig.broadcaster._edge == {}
    assert rig.clock.getDelayedCalls() == []


def test_start_timeout_refuses_with_the_last_failure() -> None:
    rig = PumpRig()
    rig.pump.set_start_timeout(20, lambda: BROKEN)
    rig.clock.advance(19.99)
    assert rig.player.refused is None
    rig.clock.advance(0.01)
    assert rig.player.refused is BROKEN
    rig = PumpRig()
    rig.pump.set_start_timeout(20, lambda: None)
    rig.clock.advance(20)
    assert rig.player.refused is not None
    assert rig.player.refused.player_status == 504


def test_first_byte_cancels_the_start_timeout() -> None:
    rig = PumpRig()
    rig.pump.set_start_timeout(20, lambda: None)
    rig.group()
    rig.pump.try_to_start()
    rig.read_all()
    assert rig.clock.getDelayedCalls() == []
    rig.pump.set_start_timeout(20, lambda: None)
    assert rig.clock.getDelayedCalls() == []


def test_failed_send_while_draining_ends_the_pump() -> None:
    rig = PumpRig(5000)
    rig.group()
    rig.pump.try_to_start()
    rig.clock.advance(0)
    rig.player.transport.fail_sends()
    rig.player.transport.read()
    rig.clock.advance(0)
    rig.clock.advance(0)
    assert rig.pump.state is PumpState.GONE
    assert rig.gone == 1
    assert rig.clock.getDelayedCalls() == []


def test_ring_smaller_than_a_loaded_block_gives_whole_packets() -> None:
    rig = PumpRig(3000, ring_bytes=50_000)
    rig.group()
    rig.pump.try_to_start()
    for n in range(200):
        rig.group(size=6000)
        rig.player.transport.read(1000 + 37 * n)
        rig.clock.advance(0)
    rig.read_all()
    assert rig.pump.skips > 2
    assert check_segments(rig.player.media, rig.sent) == rig.pump.skips + 1
    assert packets(rig.player.media)
    assert rig.pump.bytes_sent == len(rig.player.media)


def test_buffered_outlet_delivers_the_same_within_its_bound() -> None:
    rig = PumpRig(30_000, buffered=True)
    rig.group()
    rig.pump.try_to_start()
    most = 0
    for n in range(100):
        rig.group()
        most = max(most, rig.player.transport.queued)
        if n % 3 == 0:
            rig.player.transport.read(20_000)
    rig.read_all()
    assert most < 30_000 + 65_536 + 30_000
    assert check_segments(rig.player.media, rig.sent) == rig.pump.skips + 1


def test_programme_packets_are_told_apart() -> None:
    """The other tests depend on it."""
    programme = Programme()
    data = b"".join(programme.group(5, 4000) for _ in range(4))
    assert check_segments(data, data) == 1
    with pytest.raises(AssertionError):
        check_segments(data[: 188 * 20] + data[188 * 21 :], data)
    with pytest.raises(AssertionError):
        check_segments(data[188:], data)
    with pytest.raises(AssertionError):
        check_segments(data[:-1], data)
