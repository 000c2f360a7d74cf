from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.vod import edge_cache as module
from m3uproxy.vod.edge_cache import HEAD_BYTES, TAIL_BYTES, EdgeCache


def at(offset: int, size: int) -> bytes:
    return bytes((offset + place) * 7 % 251 for place in range(size))


@patch.multiple(module, HEAD_BYTES=50, TAIL_BYTES=60, READ_BYTES=17)  # so that few bytes have many cases
@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 80)), max_size=12),
    st.sampled_from([0, 40, 90, 10_000]),
)
def test_what_is_read_is_what_passed(length, pieces, limit):
    kept = EdgeCache(limit)
    passed = set()
    for offset, size in pieces:
        size = min(size, length - offset)
        if size > 0:
            kept.store("film", length, offset, memoryview(at(offset, size)))
            passed |= set(range(offset, offset + size))
    assert kept.size <= limit
    for offset in range(length):
        found = kept.read("film", offset)
        if found is not None:
            assert bytes(found) == at(offset, len(found))
            assert set(range(offset, offset + len(found))) <= passed
            assert offset < module.HEAD_BYTES or offset >= length - module.TAIL_BYTES


def test_both_ends_are_kept_and_nothing_between():
    kept, length = EdgeCache(64 << 20), 100 << 20
    for offset in (0, 50 << 20, length - 1000):
        kept.store("film", length, offset, memoryview(bytes(1000)))
    assert [kept.read("film", place) is not None for place in (0, 999, 1000, 50 << 20, length - 1000)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert kept.read("other", 0) is None


def test_a_file_is_kept_up_to_a_bound():
    kept, length = EdgeCache(64 << 20), 100 << 20
    for offset in range(0, length, 1 << 20):
        kept.store("film", length, offset, memoryview(bytes(1 << 20)))
    assert kept.size == HEAD_BYTES + TAIL_BYTES
    kept.remove("film")
    assert kept.size == 0


def test_those_asked_for_longest_ago_go_first():
    kept = EdgeCache(2500)
    for name in "abc":
        kept.store(name, 1 << 30, 0, memoryview(bytes(1000)))
        if name == "b":
            assert kept.read("a", 0) is not None
    assert [name for name in "abc" if kept.read(name, 0) is not None] == ["a", "c"]


def test_no_room_keeps_nothing():
    kept = EdgeCache(0)
    kept.store("a", 10, 0, memoryview(b"x" * 10))
    assert kept.read("a", 0) is None
