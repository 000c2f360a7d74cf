from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.vod import edge_cache as module
from m3uproxy.vod.edge_cache import HEAD_BYTES, TAIL_BYTES, EdgeCache


def file_bytes(offset: int, size: int) -> bytes:
    return bytes((offset + place) * 7 % 251 for place in range(size))


@patch.multiple(module, HEAD_BYTES=50, TAIL_BYTES=60, READ_BYTES=17)  # small, so that few bytes cover many cases
@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 80)), max_size=12),
    st.sampled_from([0, 40, 90, 10_000]),
)
def test_cached_bytes_equal_the_stored_ones(length, pieces, limit):
    cache = EdgeCache(limit)
    stored = set()
    for offset, size in pieces:
        size = min(size, length - offset)
        if size > 0:
            cache.store("film", length, offset, memoryview(file_bytes(offset, size)))
            stored |= set(range(offset, offset + size))
    assert cache.size <= limit
    for offset in range(length):
        found = cache.read("film", offset)
        if found is not None:
            assert bytes(found) == file_bytes(offset, len(found))
            assert set(range(offset, offset + len(found))) <= stored
            assert offset < module.HEAD_BYTES or offset >= length - module.TAIL_BYTES


def test_only_both_edges_are_cached():
    cache, length = EdgeCache(64 << 20), 100 << 20
    for offset in (0, 50 << 20, length - 1000):
        cache.store("film", length, offset, memoryview(bytes(1000)))
    assert [cache.read("film", place) is not None for place in (0, 999, 1000, 50 << 20, length - 1000)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert cache.read("other", 0) is None


def test_a_file_is_cached_up_to_its_limit():
    cache, length = EdgeCache(64 << 20), 100 << 20
    for offset in range(0, length, 1 << 20):
        cache.store("film", length, offset, memoryview(bytes(1 << 20)))
    assert cache.size == HEAD_BYTES + TAIL_BYTES
    cache.remove("film")
    assert cache.size == 0


def test_least_recently_used_files_are_evicted_first():
    cache = EdgeCache(2500)
    for name in "abc":
        cache.store(name, 1 << 30, 0, memoryview(bytes(1000)))
        if name == "b":
            assert cache.read("a", 0) is not None
    assert [name for name in "abc" if cache.read(name, 0) is not None] == ["a", "c"]


def test_a_limit_of_zero_disables_the_cache():
    cache = EdgeCache(0)
    cache.store("a", 10, 0, memoryview(b"x" * 10))
    assert cache.read("a", 0) is None
