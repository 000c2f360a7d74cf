"""Chunks: no bytes are lost, and each access point begins a chunk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.ingest.parser import Chunk, split_at_access_points
from m3uproxy.core.mpegts.access_index import AccessPoint
from m3uproxy.core.mpegts.random_access import AccessKind

SIZE = 188


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"G%07d" % n + bytes(SIZE - 8) for n in range(first, first + count))


def point(packet: int, psi: bytes) -> AccessPoint:
    return AccessPoint(packet * SIZE, psi, AccessKind.IDR)


def test_chunk_without_access_point_is_not_copied() -> None:
    data = numbered(0, 3)
    (only,) = split_at_access_points(data, [], b"t")
    assert only == Chunk(data, b"t", False)
    assert only.data is data
    assert split_at_access_points(b"", [], b"t") == []


def test_split_before_each_access_point() -> None:
    assert split_at_access_points(numbered(0, 6), [point(2, b"x"), point(4, b"y")], b"t") == [
        Chunk(numbered(0, 2), b"t", False),
        Chunk(numbered(2, 2), b"x", True),
        Chunk(numbered(4, 2), b"y", True),
    ]


def test_access_point_at_the_first_packet() -> None:
    assert split_at_access_points(numbered(0, 2), [point(0, b"x")], b"t") == [Chunk(numbered(0, 2), b"x", True)]


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_no_bytes_are_lost_and_each_access_point_begins_a_chunk(case: tuple[int, set[int]]) -> None:
    count, offsets = case
    data = numbered(0, count)
    chunks = split_at_access_points(data, [point(offset, b"psi%d" % offset) for offset in sorted(offsets)], b"before")
    assert b"".join(each.data for each in chunks) == data
    assert all(each.data for each in chunks)
    assert [(each.data[1:8], each.psi) for each in chunks if each.access] == [
        (b"%07d" % offset, b"psi%d" % offset) for offset in sorted(offsets)
    ]
    assert [each.psi for each in chunks if not each.access] == ([] if 0 in offsets else [b"before"])
