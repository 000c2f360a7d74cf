"""Fields of packets, read from hand-made packets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tsbuild import SIZE, packet

from m3uproxy.core.mpegts import packets as ts


@given(
    pid=st.integers(0, 0x1FFF),
    start=st.booleans(),
    scrambling=st.integers(0, 3),
    error=st.booleans(),
    size=st.integers(0, 184),
    before=st.integers(0, 2),
)
def test_fields_are_read_in_place(pid: int, start: bool, scrambling: int, error: bool, size: int, before: int) -> None:
    payload = bytes(range(size))
    made = packet(pid, payload, start=start, scrambling=scrambling, error=error)
    at = before * SIZE
    run = packet(0x55, b"x" * 184) * before + made + packet(0x66, b"y" * 184)
    assert ts.pid(run, at) == pid
    assert ts.payload_unit_start(run, at) is start
    assert ts.scrambled(run, at) is bool(scrambling)
    assert ts.transport_error(run, at) is error
    assert run[ts.payload_offset(run, at) : at + SIZE] == payload
    assert ts.random_access_indicator(run, at) is False


@given(st.lists(st.integers(0, 0x1FFF), max_size=8, unique=True), st.integers(0, 0xFFFF))
def test_pid_tables_have_one_bit_for_each_pid(pids: list[int], header: int) -> None:
    high, low = ts.pid_tables(pids)
    for number, pid in enumerate(pids):
        assert high[header >> 8] >> number & 1 == (header >> 8 & 0x1F == pid >> 8)
        assert low[header & 0xFF] >> number & 1 == (header & 0xFF == pid & 0xFF)
        assert high[0xE0 | pid >> 8] & low[pid & 0xFF] & 1 << number


def test_random_access_indicator() -> None:
    assert ts.random_access_indicator(packet(0x100, b"x" * 100, flags=0x40), 0)
    assert ts.random_access_indicator(packet(0x100, b"", flags=0x50, field=b"\0" * 6), 0)
    assert not ts.random_access_indicator(packet(0x100, b"x" * 100, flags=0xBF), 0)


def test_random_access_indicator_needs_a_field_that_is_not_empty() -> None:
    assert not ts.random_access_indicator(packet(0x100, b"\x40" * 183), 0)
    assert not ts.random_access_indicator(packet(0x100, b"\x40" * 184), 0)


def test_payload_ends_with_the_packet_even_if_the_field_claims_more() -> None:
    lying = bytes([0x47, 0x01, 0x00, 0x30, 250]) + b"\0" * 183
    assert ts.payload_offset(lying + lying, 0) == SIZE


@given(st.lists(st.tuples(st.integers(0, 0x1FFF), st.booleans(), st.booleans()), max_size=40))
def test_unit_starts(made: list[tuple[int, bool, bool]]) -> None:
    run = b"".join(packet(pid, b"\x40" * 184, start=start, error=error) for pid, start, error in made)
    expected = [n * SIZE for n, (_, start, error) in enumerate(made) if start and not error]
    assert list(ts.unit_starts(run)) == expected
