"""The hold: at any moment the released packets end, on each PID, with a whole unit."""

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


def audio(mux: Mux, size: int = 500, pid: int = 0x101) -> bytes:
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
def test_complete_units_are_returned_at_a_break(cut: int, spread: bool) -> None:
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
    def test_unit_is_released_at_the_next_start(self) -> None:
        mux, hold = Mux(), PesHold()
        first, second = picture(mux), picture(mux)
        assert hold.push(first, 0) == b""
        assert hold.push(second[:SIZE], 0) == first
        assert hold.push(second[SIZE:], 0) == b""
        assert hold.size == len(second)

    def test_packets_behind_video_keep_their_order(self) -> None:
        mux, hold = Mux(), PesHold()
        made = [picture(mux), audio(mux), mux.null(), picture(mux)]
        assert b"".join(hold.push(each, 0) for each in made) == b"".join(made[:3])

    def test_slow_unit_is_released_and_later_ones_are_held(self) -> None:
        mux, hold = Mux(), PesHold()
        first, rest = picture(mux, 2000), []
        assert hold.push(first[: 3 * SIZE], 0) == b""
        assert hold.push(first[3 * SIZE : 4 * SIZE], MAX_HOLD_SECONDS - 0.01) == b""
        assert hold.push(first[4 * SIZE : 5 * SIZE], MAX_HOLD_SECONDS) == first[: 5 * SIZE]
        assert hold.push(first[5 * SIZE :], MAX_HOLD_SECONDS + 0.01) == first[5 * SIZE :]
        slow = picture(mux)
        assert hold.push(slow, 1.0) == slow, "units that arrive slowly are not held"
        rest = [picture(mux), picture(mux)]
        assert hold.push(rest[0], 1.04) == b""
        assert hold.push(rest[1], 1.08) == rest[0]

    def test_burst_after_a_stall_is_held(self) -> None:
        mux, hold = Mux(), PesHold()
        first, second = picture(mux), picture(mux)
        hold.push(first, 0)
        assert hold.push(second, 60.0) == first
        assert hold.size == len(second)

    def test_large_unit_is_released(self) -> None:
        mux, hold = Mux(), PesHold()
        data = picture(mux, MAX_HOLD_BYTES)
        got = b""
        for at in range(0, len(data), 100 * SIZE):
            got += hold.push(data[at : at + 100 * SIZE], 0.1)
            assert hold.size <= MAX_HOLD_BYTES
        assert got + hold.take_all() == data


class TestAudio:
    def test_timeout_applies_to_each_incomplete_unit(self) -> None:
        """Half a second is the limit of one unit, not of all together: audio only, in pieces that end within units."""
        mux, hold, out, now = Mux(), PesHold(), b"", 0.0
        units = [audio(mux) for _ in range(40)]
        data = b"".join(units)
        for at in range(-SIZE, len(data) - SIZE, len(units[0])):
            out += hold.push(data[max(at, 0) : at + len(units[0])], now)
            assert len(out) % len(units[0]) == 0
            now += MAX_HOLD_SECONDS / 10

    def test_unit_is_released_when_its_length_is_reached(self) -> None:
        mux, hold = Mux(), PesHold()
        data = audio(mux)
        assert hold.push(data[: 2 * SIZE], 0) == b""
        assert hold.push(data[2 * SIZE :], 0) == data

    def test_incomplete_audio_stays_when_video_is_released(self) -> None:
        mux, hold = Mux(), PesHold()
        video_unit, audio_unit, next_video = picture(mux), audio(mux), picture(mux)
        assert hold.push(video_unit + audio_unit[:SIZE], 0) == b""
        assert hold.push(next_video, 0) == video_unit
        assert hold.push(audio_unit[SIZE:] + picture(mux), 0) == audio_unit[:SIZE] + next_video + audio_unit[SIZE:]

    def test_unit_that_ends_behind_the_cut(self) -> None:
        mux, hold = Mux(), PesHold()
        video_unit, one, two, next_video = picture(mux), audio(mux, 300), audio(mux, 300), picture(mux)
        data = video_unit + one[:SIZE] + next_video + one[SIZE:] + two
        assert hold.push(data, 0) == video_unit
        assert hold.take_all() == one[:SIZE] + next_video + one[SIZE:] + two

    def test_slow_audio_unit_is_released(self) -> None:
        mux, hold = Mux(), PesHold()
        data = audio(mux, 3000)
        assert hold.push(data[:SIZE], 0) == b""
        assert hold.push(data[SIZE : 2 * SIZE], MAX_HOLD_SECONDS - 0.01) == b""
        assert hold.push(data[2 * SIZE : 3 * SIZE], MAX_HOLD_SECONDS) == data[: 3 * SIZE]

    def test_timeout_starts_anew_for_each_unit(self) -> None:
        """After each push another unit is incomplete; all units are complete when released."""
        mux, hold, out = Mux(), PesHold(), b""
        units = [audio(mux) for _ in range(40)]
        for number, (one, other) in enumerate(pairwise(units)):
            out += hold.push(one[-2 * SIZE :] + other[: -2 * SIZE], number * 0.1)
            assert hold.size == len(other) - 2 * SIZE
        assert out == b"".join(units)[len(units[0]) - 2 * SIZE : len(out) + len(units[0]) - 2 * SIZE]

    def test_unit_with_lost_packets_is_released(self) -> None:
        mux, hold = Mux(), PesHold()
        damaged, whole = audio(mux), audio(mux)
        assert hold.push(damaged[:SIZE], 0) == b""
        assert hold.push(whole, 0) == damaged[:SIZE] + whole


class TestOtherPackets:
    def test_tables_clock_and_padding_pass(self) -> None:
        mux, hold = Mux(), PesHold()
        data = mux.pat({1: 0x1000}) + mux.pmt(0x1000, 1, [(0x1B, 0x100)]) + mux.null()
        assert hold.push(data, 0) == data

    def test_scrambled_audio_passes(self) -> None:
        mux, hold = Mux(), PesHold()
        data = mux.unit(0x101, pes(b"\xff" * 500, stream_id=0xC0), scrambling=2)
        assert hold.push(data, 0) == data

    def test_no_packets(self) -> None:
        assert PesHold().push(b"", 0) == b""


def test_few_pids_are_held_by_length() -> None:
    """Units of very many PIDs never become complete. Searching for the rest of each would stop the other streams."""
    mux, hold = Mux(), PesHold()
    units = [audio(mux, 3000, pid)[: 3 * SIZE] for pid in range(0x100, 0x600)]
    assert len(hold.push(b"".join(units), 0.0)) >= (len(units) - 64) * 3 * SIZE
    assert 0 < hold.size < 64 * 3 * SIZE


def test_long_units_of_several_pids_are_released() -> None:
    mux, hold, out = Mux(), PesHold(), b""
    units = [audio(mux, 60_000, pid)[:-SIZE] for pid in range(0x100, 0x118)]
    for unit in units:
        out += hold.push(unit, 0.0)
        assert hold.size <= MAX_HOLD_BYTES
    assert sorted(of_pid(out + hold.take_all(), 0x100)) == sorted(of_pid(units[0], 0x100))
