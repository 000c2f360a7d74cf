"""What is let go ends, PID by PID, with a whole unit, whenever one looks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from ts_programme import Layout, Reception, make_programme, multiplex
from tsbuild import SIZE, SLICE, Mux, pes

from m3uproxy.core.splice.pes_hold import MAX_HOLD_BYTES, MAX_HOLD_SECONDS, PesHold

PROGRAMME = make_programme(7, 30)


def of_pid(data: bytes, pid: int) -> list[bytes]:
    packets = (data[at : at + SIZE] for at in range(0, len(data), SIZE))
    return [each for each in packets if (each[1] & 0x1F) << 8 | each[2] == pid]


def picture(mux: Mux, size: int = 1000, pid: int = 0x100) -> bytes:
    return mux.unit(pid, pes(SLICE + b"\xab" * size))


def sound(mux: Mux, size: int = 500, pid: int = 0x101) -> bytes:
    return mux.unit(pid, pes(b"\xff" * size, stream_id=0xC0))


@given(
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from([0x100, 0x101, 0x1FF]),
    st.sampled_from([0, 2]),
    st.lists(st.integers(1, 60), min_size=1, max_size=40),
)
def test_no_unit_is_ever_torn(pack: int, spread: bool, clock: int, padding: int, sizes: list[int]) -> None:
    layout = Layout(pack=pack, spread=spread, clock=clock, padding=padding)
    data = multiplex(PROGRAMME, layout)
    hold, out, at, now = PesHold(), b"", 0, 0.0
    while at < len(data):
        size = sizes[at // SIZE % len(sizes)] * SIZE
        out += hold.push(data[at : at + size], now)
        at, now = at + size, now + 0.01
        assert len(out) + hold.size == min(at, len(data))
        Reception(out, layout.video, layout.sound, layout.clock)
    out += hold.take_all()
    for pid in (0, layout.pmt, layout.video, layout.sound, clock, 0x1FFF):
        assert of_pid(out, pid) == of_pid(data, pid), "the order on each PID"
    assert len(out) == len(data)


@given(st.integers(1, 400), st.booleans())
def test_what_is_complete_at_a_break(cut: int, spread: bool) -> None:
    layout = Layout(spread=spread, pack=3)
    data = multiplex(PROGRAMME, layout)[: cut * SIZE]
    hold = PesHold()
    out = hold.push(data, 0.0)
    out += hold.take_complete()
    got = Reception(out, layout.video, layout.sound, layout.clock)
    pictures = sum(packet[1] >> 6 & 1 for packet in of_pid(data, layout.video))
    assert len(got.video) == max(pictures - 1, 0)
    assert hold.size == 0


class TestVideo:
    def test_goes_when_the_next_one_starts(self) -> None:
        mux, hold = Mux(), PesHold()
        first, second = picture(mux), picture(mux)
        assert hold.push(first, 0) == b""
        assert hold.push(second[:SIZE], 0) == first
        assert hold.push(second[SIZE:], 0) == b""
        assert hold.size == len(second)

    def test_what_comes_behind_it_keeps_its_place(self) -> None:
        mux, hold = Mux(), PesHold()
        made = [picture(mux), sound(mux), mux.null(), picture(mux)]
        assert b"".join(hold.push(each, 0) for each in made) == b"".join(made[:3])

    def test_passes_after_half_a_second_and_is_held_again(self) -> None:
        mux, hold = Mux(), PesHold()
        first, rest = picture(mux, 2000), []
        assert hold.push(first[: 3 * SIZE], 0) == b""
        assert hold.push(first[3 * SIZE : 4 * SIZE], MAX_HOLD_SECONDS - 0.01) == b""
        assert hold.push(first[4 * SIZE : 5 * SIZE], MAX_HOLD_SECONDS) == first[: 5 * SIZE]
        assert hold.push(first[5 * SIZE :], MAX_HOLD_SECONDS + 0.01) == first[5 * SIZE :]
        slow = picture(mux)
        assert hold.push(slow, 1.0) == slow, "its units take too long to wait for"
        rest = [picture(mux), picture(mux)]
        assert hold.push(rest[0], 1.04) == b""
        assert hold.push(rest[1], 1.08) == rest[0]

    def test_a_burst_after_a_stall_is_no_slow_unit(self) -> None:
        mux, hold = Mux(), PesHold()
        first, second = picture(mux), picture(mux)
        hold.push(first, 0)
        assert hold.push(second, 60.0) == first
        assert hold.size == len(second)

    def test_passes_when_it_is_too_large(self) -> None:
        mux, hold = Mux(), PesHold()
        data = picture(mux, MAX_HOLD_BYTES)
        got = b""
        for at in range(0, len(data), 100 * SIZE):
            got += hold.push(data[at : at + 100 * SIZE], 0.1)
            assert hold.size <= MAX_HOLD_BYTES
        assert got + hold.take_all() == data


class TestSound:
    def test_one_unit_after_the_other_that_is_never_complete(self) -> None:
        """Half a second is for one of them, not for all: sound alone, in pieces that end in the middle of units."""
        mux, hold, out, now = Mux(), PesHold(), b"", 0.0
        units = [sound(mux) for _ in range(40)]
        data = b"".join(units)
        for at in range(-SIZE, len(data) - SIZE, len(units[0])):
            out += hold.push(data[max(at, 0) : at + len(units[0])], now)
            assert len(out) % len(units[0]) == 0
            now += MAX_HOLD_SECONDS / 10

    def test_alone_waits_for_its_length_and_no_longer(self) -> None:
        mux, hold = Mux(), PesHold()
        data = sound(mux)
        assert hold.push(data[: 2 * SIZE], 0) == b""
        assert hold.push(data[2 * SIZE :], 0) == data

    def test_stays_behind_when_a_picture_goes(self) -> None:
        mux, hold = Mux(), PesHold()
        shown, heard, after = picture(mux), sound(mux), picture(mux)
        assert hold.push(shown + heard[:SIZE], 0) == b""
        assert hold.push(after, 0) == shown
        assert hold.push(heard[SIZE:] + picture(mux), 0) == heard[:SIZE] + after + heard[SIZE:]

    def test_next_unit_already_begun_behind_the_cut(self) -> None:
        mux, hold = Mux(), PesHold()
        shown, one, two, after = picture(mux), sound(mux, 300), sound(mux, 300), picture(mux)
        data = shown + one[:SIZE] + after + one[SIZE:] + two
        assert hold.push(data, 0) == shown
        assert hold.take_all() == one[:SIZE] + after + one[SIZE:] + two

    def test_passes_after_half_a_second(self) -> None:
        mux, hold = Mux(), PesHold()
        data = sound(mux, 3000)
        assert hold.push(data[:SIZE], 0) == b""
        assert hold.push(data[SIZE : 2 * SIZE], MAX_HOLD_SECONDS - 0.01) == b""
        assert hold.push(data[2 * SIZE : 3 * SIZE], MAX_HOLD_SECONDS) == data[: 3 * SIZE]

    def test_half_a_second_is_that_of_one_unit(self) -> None:
        """Each time one looks another unit is not complete; all of them are when they go."""
        mux, hold, out = Mux(), PesHold(), b""
        units = [sound(mux) for _ in range(40)]
        for number, (one, other) in enumerate(pairwise(units)):
            out += hold.push(one[-2 * SIZE :] + other[: -2 * SIZE], number * 0.1)
            assert hold.size == len(other) - 2 * SIZE
        assert out == b"".join(units)[len(units[0]) - 2 * SIZE : len(out) + len(units[0]) - 2 * SIZE]

    def test_lost_packets_hold_nothing_up(self) -> None:
        mux, hold = Mux(), PesHold()
        damaged, whole = sound(mux), sound(mux)
        assert hold.push(damaged[:SIZE], 0) == b""
        assert hold.push(whole, 0) == damaged[:SIZE] + whole


class TestOther:
    def test_tables_clock_and_padding_are_not_looked_at(self) -> None:
        mux, hold = Mux(), PesHold()
        data = mux.pat({1: 0x1000}) + mux.pmt(0x1000, 1, [(0x1B, 0x100)]) + mux.null()
        assert hold.push(data, 0) == data

    def test_scrambled_sound(self) -> None:
        mux, hold = Mux(), PesHold()
        data = mux.unit(0x101, pes(b"\xff" * 500, stream_id=0xC0), scrambling=2)
        assert hold.push(data, 0) == data

    def test_no_packets(self) -> None:
        assert PesHold().push(b"", 0) == b""
