"""Blocks: nothing lost, and cut in front of each access point."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.ingest.parser import Chunk, split_at_access_points
from m3uproxy.core.mpegts.access_index import AccessPoint
from m3uproxy.core.mpegts.random_access import AccessKind

P = 188


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"G%07d" % n + bytes(P - 8) for n in range(first, first + count))


def point(packet: int, psi: bytes) -> AccessPoint:
    return AccessPoint(packet * P, psi, AccessKind.IDR)


def test_without_an_access_point_nothing_is_copied() -> None:
    data = numbered(0, 3)
    (only,) = split_at_access_points(data, [], b"t")
    assert only == Chunk(data, b"t", False)
    assert only.data is data
    assert split_at_access_points(b"", [], b"t") == []


def test_cut_in_front_of_each_access_point() -> None:
    assert split_at_access_points(numbered(0, 6), [point(2, b"x"), point(4, b"y")], b"t") == [
        Chunk(numbered(0, 2), b"t", False),
        Chunk(numbered(2, 2), b"x", True),
        Chunk(numbered(4, 2), b"y", True),
    ]


def test_access_point_at_the_first_packet() -> None:
    assert split_at_access_points(numbered(0, 2), [point(0, b"x")], b"t") == [Chunk(numbered(0, 2), b"x", True)]


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_nothing_lost_and_every_access_point_begins_a_block(case: tuple[int, set[int]]) -> None:
    count, offsets = case
    data = numbered(0, count)
    cuts = split_at_access_points(data, [point(offset, b"psi%d" % offset) for offset in sorted(offsets)], b"before")
    assert b"".join(each.data for each in cuts) == data
    assert all(each.data for each in cuts)
    assert [(each.data[1:8], each.psi) for each in cuts if each.access] == [
        (b"%07d" % offset, b"psi%d" % offset) for offset in sorted(offsets)
    ]
    assert [each.psi for each in cuts if not each.access] == ([] if 0 in offsets else [b"before"])
