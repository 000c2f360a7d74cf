"""The ring: its limits, its block numbers, and the block at which a player joins."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from m3uproxy.core.ingest.parser import Chunk
from m3uproxy.core.ring import Ring

KB = 1000


def filled(spec: Iterable[tuple[float, int, bool]], seconds: float = 10, limit: int = 10**9) -> Ring:
    """Return a ring with blocks of (time, bytes, access)."""
    ring = Ring(seconds, limit)
    for time, size, access in spec:
        ring.append(Chunk(b"G" * size, b"psi", access), time)
    return ring


def test_numbers_and_positions() -> None:
    ring = filled([(0, 10, True), (1, 20, False), (2, 30, True)])
    assert (ring.first, ring.next, ring.size, ring.position) == (0, 3, 60, 60)
    assert [ring[n].position for n in range(3)] == [0, 10, 30]
    assert ring[2].access
    ring.clear()
    assert (ring.first, ring.next, ring.size, ring.position) == (3, 3, 0, 60)
    block = ring.append(Chunk(b"x"), 3)
    assert (ring.first, ring.next, block.position) == (3, 4, 60)


def test_limit_in_seconds_at_the_measured_bitrate() -> None:
    ring = filled([(n / 10, KB, n % 10 == 0) for n in range(300)], seconds=5)
    assert ring.bitrate == pytest.approx(10 * KB, rel=0.01)
    assert 49 * KB <= ring.size <= 51 * KB


def test_limit_in_bytes_before_and_after_the_bitrate_is_known() -> None:
    ring = filled([(0.0, KB, n == 0) for n in range(50)], limit=20 * KB)
    assert ring.size == 20 * KB
    ring = filled([(n / 10, KB, n == 0) for n in range(300)], limit=20 * KB)
    assert ring.size == 20 * KB
    assert ring.min_size == 0


def test_limit_in_seconds_keeps_the_newest_complete_group() -> None:
    ring = filled([(n / 10, KB, n % 100 == 0) for n in range(350)], seconds=1)
    assert ring.size == 150 * KB
    assert ring[ring.first].access
    assert ring.join_point(32.9, 3, 2) == ring.first == 200


def test_blocks_that_a_reader_needs_are_kept_beyond_the_limits() -> None:
    ring = filled([(n / 10, KB, n % 10 == 0) for n in range(30)], limit=20 * KB)
    assert ring.first == 10
    ring.held = 15
    for number in range(30, 60):
        ring.append(Chunk(b"G" * KB, b"psi"), number / 10)
    assert ring.first == 15
    ring.held = None
    ring.append(Chunk(b"G" * KB, b"psi"), 6.0)
    assert (ring.size, ring.capacity) == (20 * KB, 20 * KB)
    ring.held = ring.first
    ring.clear()
    assert ring.size == 0


def test_shrink_keeps_one_group() -> None:
    ring = filled([(n / 10, KB, n % 10 == 0) for n in range(95)], seconds=100)
    ring.shrink(30 * KB)
    assert ring.size == 30 * KB
    ring.shrink(0)
    assert ring.size == 15 * KB


def test_join_at_the_newest_point_that_is_old_enough() -> None:
    ring = filled([(n / 2, KB, n % 4 == 0) for n in range(21)])
    assert ring.join_point(10.0, 3, 2) == 12
    assert ring.join_point(10.0, 0, 2) == 20
    assert ring.join_point(10.0, 4, 2) == 12
    assert ring.join_point(10.0, 4.1, 2) == 8


def test_join_may_need_bytes_before_the_live_edge() -> None:
    ring = filled([(n / 2, KB, n % 4 == 0) for n in range(21)])
    assert ring.join_point(10.0, 3, 2, 9 * KB) == 12
    assert ring.join_point(10.0, 3, 2, 9 * KB + 1) == 8
    assert ring.join_point(10.0, 3, 2, 10**9) == 4, "the oldest one"


def test_join_at_the_oldest_point_if_all_are_newer() -> None:
    ring = filled([(0, KB, False), (1, KB, True), (2, KB, True)])
    assert ring.join_point(2.0, 3, 2) == 1


def test_join_without_access_point_waits_then_uses_tables() -> None:
    ring = Ring(10, 10**6)
    assert ring.join_point(100.0, 3, 2) is None
    ring.append(Chunk(b"G", b"", False), 0)
    ring.append(Chunk(b"G", b"psi", False), 1)
    assert ring.join_point(1.9, 3, 2) is None
    assert ring.join_point(2.0, 3, 2) == 1
    ring.append(Chunk(b"G", b"psi", False), 2)
    assert ring.join_point(5.0, 3, 2) == 2


def test_join_without_tables_uses_the_oldest_block() -> None:
    ring = filled([])
    ring.append(Chunk(b"G", b"", False), 0)
    ring.append(Chunk(b"G", b"", False), 1)
    assert ring.join_point(3.0, 3, 2) == 0


def test_outage_keeps_the_blocks() -> None:
    ring = filled([(n / 10, KB, n % 10 == 0) for n in range(100)], seconds=5)
    before = ring.size
    ring.append(Chunk(b"G" * KB, b"psi", False), 600.0)
    assert ring.size > before * 0.8


class RingModel(RuleBasedStateMachine):
    """A comparison with a plain list of everything that was ever appended."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 5_000
        self.ring = Ring(2.0, self.limit)
        self.all: list[tuple[bytes, bool, float]] = []
        self.now = 0.0
        self.cleared = 0

    @rule(size=st.integers(1, 900), access=st.booleans(), gap=st.sampled_from([0.0, 0.04, 0.5, 4.0]))
    def append(self, size: int, access: bool, gap: float) -> None:
        self.now += gap
        data = b"%d" % len(self.all) * size
        data = data[:size]
        block = self.ring.append(Chunk(data, b"psi", access), self.now)
        self.all.append((data, access, self.now))
        assert block.data is data
        assert block.position == sum(len(data) for data, _, _ in self.all[:-1])

    @rule(limit=st.integers(0, 3000))
    def shrink(self, limit: int) -> None:
        floor, before = self.ring.min_size, self.ring.size
        self.ring.shrink(limit)
        assert self.ring.size <= max(limit, floor) or self.ring.next - self.ring.first == 1
        assert self.ring.min_size == floor
        assert self.ring.size == before or self.ring.size + len(self.all[self.ring.first - 1][0]) > max(limit, floor)

    @precondition(lambda self: self.all)
    @rule()
    def clear(self) -> None:
        self.ring.clear()
        self.cleared = len(self.all)
        assert self.ring.first == self.ring.next

    @invariant()
    def matches_the_list(self) -> None:
        ring = self.ring
        assert ring.next == len(self.all)
        assert self.cleared <= ring.first <= ring.next
        assert [ring[n].data for n in range(ring.first, ring.next)] == [data for data, _, _ in self.all[ring.first :]]
        assert ring.size == sum(len(data) for data, _, _ in self.all[ring.first :])
        assert ring.size <= self.limit or ring.next - ring.first == 1
        assert ring.position == sum(len(data) for data, _, _ in self.all)

    @invariant()
    def join_point_follows_the_rule(self) -> None:
        position = self.ring.join_point(self.now, 1.0, 2.0)
        held = range(self.ring.first, self.ring.next)
        points = [n for n in held if self.all[n][1]]
        old = [n for n in points if self.all[n][2] <= self.now - 1.0]
        if points:
            assert position == (old[-1] if old else points[0])
        elif held and self.now - self.all[held[0]][2] >= 2.0:
            assert position in held
        else:
            assert position is None


TestRingModel = RingModel.TestCase
TestRingModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5000), st.booleans()), min_size=1, max_size=80))
def test_size_is_limited_by_seconds_or_one_group(blocks: list[tuple[float, int, bool]]) -> None:
    """Above the limit in seconds, the ring holds at most the newest complete group or the newest block alone."""
    ring, now = Ring(2.0, 10**9), 0.0
    for gap, size, access in blocks:
        now += gap
        ring.append(Chunk(b"G" * size, b"psi", access), now)
    if ring.bitrate:
        assert ring.size <= max(ring.bitrate * 2.0, ring.min_size, blocks[-1][1]) + 1
