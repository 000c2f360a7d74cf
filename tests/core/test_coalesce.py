"""Blocks: nothing lost, and cut in front of each access point."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.coalesce import Cut, cut
from m3uproxy.core.mpegts.access import Kind
from m3uproxy.core.mpegts.index import AccessPoint

P = 188


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"G%07d" % n + bytes(P - 8) for n in range(first, first + count))


def point(packet: int, psi: bytes) -> AccessPoint:
    return AccessPoint(packet * P, psi, Kind.IDR)


def test_without_an_access_point_nothing_is_copied() -> None:
    data = numbered(0, 3)
    (only,) = cut(data, [], b"t")
    assert only == Cut(data, b"t", False)
    assert only.data is data
    assert cut(b"", [], b"t") == []


def test_cut_in_front_of_each_access_point() -> None:
    assert cut(numbered(0, 6), [point(2, b"x"), point(4, b"y")], b"t") == [
        Cut(numbered(0, 2), b"t", False),
        Cut(numbered(2, 2), b"x", True),
        Cut(numbered(4, 2), b"y", True),
    ]


def test_access_point_at_the_first_packet() -> None:
    assert cut(numbered(0, 2), [point(0, b"x")], b"t") == [Cut(numbered(0, 2), b"x", True)]


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_nothing_lost_and_every_access_point_begins_a_block(case: tuple[int, set[int]]) -> None:
    count, offsets = case
    data = numbered(0, count)
    cuts = cut(data, [point(offset, b"psi%d" % offset) for offset in sorted(offsets)], b"before")
    assert b"".join(each.data for each in cuts) == data
    assert all(each.data for each in cuts)
    assert [(each.data[1:8], each.psi) for each in cuts if each.access] == [
        (b"%07d" % offset, b"psi%d" % offset) for offset in sorted(offsets)
    ]
    assert [each.psi for each in cuts if not each.access] == ([] if 0 in offsets else [b"before"])
