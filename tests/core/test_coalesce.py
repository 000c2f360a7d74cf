"""Blocks: nothing lost, cut in front of each access point, closed at the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.coalesce import BLOCK_LIMIT, Coalescer, Cut
from m3uproxy.core.mpegts.access import Kind
from m3uproxy.core.mpegts.index import AccessPoint

P = 188


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"G%07d" % n + bytes(P - 8) for n in range(first, first + count))


def point(packet: int, psi: bytes) -> AccessPoint:
    return AccessPoint(packet * P, psi, Kind.IDR)


def test_waits_below_the_limit_and_closes_at_it() -> None:
    coalescer = Coalescer(limit=4 * P)
    assert coalescer.add(numbered(0, 3), [], b"t") == []
    assert coalescer.add(numbered(3, 1), [], b"t") == [Cut(numbered(0, 4), b"t", False)]
    assert coalescer.flush() == []


def test_a_block_may_exceed_the_limit_by_one_read() -> None:
    coalescer = Coalescer()
    big = numbered(0, BLOCK_LIMIT // P + 10)
    assert [cut.data for cut in coalescer.add(big, [], b"")] == [big]


def test_one_read_is_not_copied() -> None:
    coalescer = Coalescer()
    data = numbered(0, 3)
    coalescer.add(data, [], b"")
    assert coalescer.flush()[0].data is data


def test_cut_in_front_of_an_access_point() -> None:
    coalescer = Coalescer()
    cuts = coalescer.add(numbered(0, 6), [point(2, b"x"), point(4, b"y")], b"t")
    assert cuts == [Cut(numbered(0, 2), b"t", False), Cut(numbered(2, 2), b"x", True)]
    assert coalescer.flush() == [Cut(numbered(4, 2), b"y", True)]


def test_access_point_at_the_first_packet() -> None:
    coalescer = Coalescer()
    coalescer.add(numbered(0, 1), [], b"t")
    assert coalescer.add(numbered(1, 1), [point(0, b"x")], b"t") == [Cut(numbered(0, 1), b"t", False)]
    assert coalescer.flush() == [Cut(numbered(1, 1), b"x", True)]
    assert coalescer.add(numbered(2, 1), [], b"z") == []
    assert coalescer.flush() == [Cut(numbered(2, 1), b"z", False)]


def test_tables_are_those_at_the_first_byte_of_a_block() -> None:
    coalescer = Coalescer()
    coalescer.add(numbered(0, 1), [], b"old")
    coalescer.add(numbered(1, 1), [], b"new")
    assert coalescer.flush()[0].psi == b"old"


@given(
    st.lists(
        st.tuples(
            st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))), st.booleans()
        ),
        max_size=20,
    ),
    st.integers(1, 20),
)
def test_nothing_lost_and_every_access_point_begins_a_block(
    reads: list[tuple[tuple[int, set[int]], bool]], limit: int
) -> None:
    coalescer = Coalescer(limit * P)
    cuts: list[Cut] = []
    sent, expected, at = b"", [], 0
    for (count, offsets), flush in reads:
        data = numbered(at, count)
        points = [point(offset, b"psi%d" % (at + offset)) for offset in sorted(offsets)]
        cuts += coalescer.add(data, points, b"before%d" % at)
        expected += [at + offset for offset in sorted(offsets)]
        sent += data
        at += count
        if flush:
            cuts += coalescer.flush()
    cuts += coalescer.flush()
    assert b"".join(cut.data for cut in cuts) == sent
    assert all(cut.data for cut in cuts)
    starts = [(int(cut.data[1:8]), cut.psi) for cut in cuts if cut.access]
    assert starts == [(number, b"psi%d" % number) for number in expected]
    assert all(len(cut.data) < (limit + 12) * P for cut in cuts)
