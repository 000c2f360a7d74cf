"""The aligner: a whole stream passes unchanged, and no torn packet of a damaged one passes."""

from __future__ import annotations

import random
import zlib
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tsbuild import SIZE

from m3uproxy.core.mpegts.align import Aligner

MAX_PENDING = 411
LARGER = st.sampled_from([192, 204])
HTML = b"<!DOCTYPE html><html><head><title>Gone: 403 Go away</title></head><body>GGG</body></html>\r\n"


def numbered(number: int, *, sync_inside: bool = False) -> bytes:
    """Return a packet with a checksum. The payload contains sync bytes only with ``sync_inside``."""
    noise = random.Random(number).randbytes(176)
    if not sync_inside:
        noise = noise.replace(b"G", b"g")
    body = number.to_bytes(4, "big").replace(b"G", b"g") + noise
    check = zlib.crc32(body).to_bytes(4, "big") if sync_inside else checksum_without_sync(body)
    return bytes([0x47, 0x01, 0x00, 0x10 | number & 15]) + body + check


def checksum_without_sync(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big").replace(b"G", b"g")


def is_whole(packet: bytes) -> bool:
    body, check = packet[4:184], packet[184:]
    return packet[0] == 0x47 and check in (zlib.crc32(body).to_bytes(4, "big"), checksum_without_sync(body))


def stream(count: int, *, sync_inside: bool = False) -> bytes:
    return b"".join(numbered(number, sync_inside=sync_inside) for number in range(count))


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def feed(aligner: Aligner, chunks: list[bytes]) -> bytes:
    """Return all output. Check that every output is whole packets and that all missing bytes are counted."""
    out, taken = b"", aligner.skipped + aligner.pending
    for chunk in chunks:
        made = aligner.feed(chunk)
        assert isinstance(made, bytes)
        assert len(made) % SIZE == 0
        assert set(made[::SIZE]) <= {0x47}
        assert aligner.pending <= MAX_PENDING
        out += made
        taken += len(chunk)
        assert len(out) + aligner.skipped + aligner.pending == taken
    return out


def packets_of(data: bytes) -> list[bytes]:
    return [data[at : at + SIZE] for at in range(0, len(data), SIZE)]


def whole_in(damaged: bytes) -> set[bytes]:
    """Return the packets that are still complete, at any offset."""
    found = (damaged[at : at + SIZE] for at in range(len(damaged) - SIZE + 1) if damaged[at] == 0x47)
    return {packet for packet in found if is_whole(packet)}


cuts = st.lists(st.integers(0, 2**20), max_size=30)


class TestWholeStream:
    @given(count=st.integers(2, 30), cuts=cuts, sync_inside=st.booleans())
    def test_output_equals_input(self, count: int, cuts: list[int], sync_inside: bool) -> None:
        data = stream(count, sync_inside=sync_inside)
        aligner = Aligner()
        assert feed(aligner, split(data, cuts)) == data
        assert aligner.locked
        assert (aligner.skipped, aligner.resyncs, aligner.pending) == (0, 0, 0)

    def test_byte_by_byte(self) -> None:
        data = stream(12)
        assert feed(Aligner(), [data[n : n + 1] for n in range(len(data))]) == data

    def test_aligned_chunk_is_not_copied(self) -> None:
        data = stream(10)
        aligner = Aligner()
        aligner.feed(data)
        again = bytes(bytearray(data))
        assert aligner.feed(again) is again

    def test_trickle_of_single_packets_is_held_back_by_one_and_only_once(self) -> None:
        made = packets_of(stream(6))
        aligner = Aligner()
        assert aligner.feed(made[0]) == b""
        assert aligner.feed(made[1]) == made[0] + made[1]
        for each in made[2:]:
            assert aligner.feed(each) == each

    def test_last_packet_of_a_chunk_is_not_held_back(self) -> None:
        data = stream(8)
        aligner = Aligner()
        assert aligner.feed(data[: 5 * SIZE]) == data[: 5 * SIZE]
        assert aligner.feed(data[5 * SIZE : 6 * SIZE + 50]) == data[5 * SIZE : 6 * SIZE]
        assert aligner.feed(data[6 * SIZE + 50 : 7 * SIZE]) == data[6 * SIZE : 7 * SIZE]

    def test_two_packets_are_a_stream_at_the_start_only(self) -> None:
        assert Aligner().feed(stream(2)) == stream(2)
        assert Aligner().feed(b"x" + stream(2)) == b""
        assert Aligner().feed(b"x" + stream(3)) == stream(3)


class TestGarbageBeforeTheStream:
    @given(garbage=st.binary(max_size=1000), count=st.integers(3, 12), cuts=cuts)
    def test_garbage_is_dropped(self, garbage: bytes, count: int, cuts: list[int]) -> None:
        data = stream(count)
        out = feed(Aligner(), split(garbage.replace(b"G", b"g") + data, cuts))
        assert out == data

    @given(inside=st.integers(1, 187), count=st.integers(4, 12), cuts=cuts)
    def test_body_that_starts_inside_a_packet(self, inside: int, count: int, cuts: list[int]) -> None:
        data = stream(count)
        assert feed(Aligner(), split(data[inside:], cuts)) == data[SIZE:]

    def test_html_before_the_stream_is_counted(self) -> None:
        aligner = Aligner()
        assert feed(aligner, [HTML + stream(5)]) == stream(5)
        assert aligner.skipped == len(HTML)
        assert aligner.resyncs == 0


class TestDamage:
    @given(
        holes=st.lists(st.tuples(st.integers(3, 8), st.integers(0, 187), st.integers(1, 700)), min_size=1, max_size=3),
        cuts=cuts,
    )
    def test_no_torn_packet_is_returned(self, holes: list[tuple[int, int, int]], cuts: list[int]) -> None:
        data = stream(12 * len(holes) + 8)
        for part, (number, inside, size) in reversed(list(enumerate(holes))):
            at = (12 * part + number) * SIZE + inside
            if size % SIZE:  # A hole of whole packets keeps the grid and cannot be detected.
                data = data[:at] + data[at + size :]
        aligner = Aligner()
        for chunk in split(data, cuts):
            made = packets_of(feed(aligner, [chunk]))
            # If the chunk ends with a packet, that packet cannot be verified yet.
            known = made if aligner.pending else made[:-1]
            assert all(is_whole(packet) for packet in known)

    @given(at=st.integers(3, 20), inside=st.integers(0, 187), size=st.integers(1, 187))
    def test_few_good_packets_are_lost(self, at: int, inside: int, size: int) -> None:
        data = stream(30)
        hole = at * SIZE + inside
        damaged = data[:hole] + data[hole + size :]
        aligner = Aligner()
        out = packets_of(feed(aligner, [damaged]))
        assert set(out) <= whole_in(damaged)
        assert len(whole_in(damaged)) - len(out) <= 1
        assert aligner.resyncs == 1

    @pytest.mark.parametrize("size", [1, 4, 16, 100, 187, 189, 204, 5000])
    def test_inserted_bytes_cost_one_packet(self, size: int) -> None:
        data = stream(20)
        at = 9 * SIZE + 30
        aligner = Aligner()
        out = feed(aligner, [data[:at] + b"\x01" * size + data[at:]])
        assert out == data[: 9 * SIZE] + data[10 * SIZE :]
        assert aligner.skipped == SIZE + size

    def test_overwritten_sync_byte_costs_that_packet_and_the_one_before(self) -> None:
        data = bytearray(stream(20))
        data[9 * SIZE] = 0
        assert feed(Aligner(), [bytes(data)]) == stream(20)[: 8 * SIZE] + stream(20)[10 * SIZE :]

    def test_chance_sync_byte_at_the_end_of_a_torn_packet(self) -> None:
        made = packets_of(stream(20))
        missing = 40
        made[8] = made[8][:missing] + b"G" + made[8][missing + 1 :]
        data = b"".join(made[:7]) + made[7][: SIZE - missing] + b"".join(made[8:])
        assert data[8 * SIZE] == 0x47, "premise of the test"
        assert feed(Aligner(), [data]) == b"".join(made[:7] + made[8:])

    def test_two_packets_are_not_enough_after_a_loss(self) -> None:
        aligner = Aligner()
        aligner.feed(stream(5))
        assert aligner.feed(b"x" + stream(2)) == b""
        assert aligner.feed(b"!") == b""
        assert not aligner.locked

    def test_html_in_the_middle(self) -> None:
        data = stream(30)
        aligner = Aligner()
        out = feed(aligner, split(data[: 10 * SIZE] + HTML * 20 + data[10 * SIZE :], [777, 2222, 3333]))
        lost = set(packets_of(data)) - set(packets_of(out))
        assert all(is_whole(packet) for packet in packets_of(out))
        assert len(lost) <= 2
        assert aligner.resyncs == 1

    def test_random_holes_in_packets_full_of_sync_bytes(self) -> None:
        """A false grid is rare over a thousand losses. The seed is fixed, so the count is always the same."""
        torn = lost = 0
        chance = random.Random(11)
        data = stream(24, sync_inside=True)
        for _ in range(1000):
            at = chance.randrange(4 * SIZE, 18 * SIZE)
            damaged = data[:at] + data[at + chance.randrange(1, 188) :]
            out = packets_of(feed(Aligner(), [damaged]))
            torn += sum(not is_whole(packet) for packet in out)
            lost += len(whole_in(damaged)) - sum(map(is_whole, out))
        assert torn <= 1
        assert lost <= 20


class TestOtherData:
    @pytest.mark.parametrize("page", [HTML * 500, b"G" * 50_000, b"GIF89a8" * 9000, b"\0" * 50_000])
    def test_other_data_yields_no_packets(self, page: bytes) -> None:
        aligner = Aligner()
        assert feed(aligner, [page[at : at + 999] for at in range(0, len(page), 999)]) == b""
        assert not aligner.locked
        assert aligner.resyncs == 0

    def test_text_with_the_period_of_the_grid_passes(self) -> None:
        line = (b"G 1 " + b"-" * 183 + b"\n")[:SIZE]
        assert line[3] & 0x30, "looks like a header: the worst case"
        aligner = Aligner()
        assert feed(aligner, [line * 3]) == line * 3
        assert feed(Aligner(), [b"G" * SIZE * 10]) == b""

    def test_random_data_yields_at_most_three_packets(self) -> None:
        noise = random.Random(5)
        aligner = Aligner()
        assert len(feed(aligner, [noise.randbytes(20_000) for _ in range(100)])) <= 3 * SIZE

    @given(chunks=st.lists(st.binary(max_size=2000), max_size=10))
    def test_any_bytes_are_accepted(self, chunks: list[bytes]) -> None:
        feed(Aligner(), chunks)


def larger(size: int, data: bytes) -> bytes:
    """Return packets with a time code in front (192 bytes) or Reed-Solomon bytes behind (204 bytes)."""
    noise = random.Random(size)
    if size == 192:
        return b"".join(noise.randbytes(4) + packet for packet in packets_of(data))
    return b"".join(packet + noise.randbytes(16) for packet in packets_of(data))


class TestLargerPackets:
    @given(
        size=LARGER,
        count=st.integers(4, 60),
        cuts=st.lists(st.integers(0, 20_000), max_size=20),
        inside=st.integers(0, 203),
    )
    def test_any_cut_gives_the_packets(self, size: int, count: int, cuts: list[int], inside: int) -> None:
        data = stream(count, sync_inside=True)
        inside %= size
        first = 0 if inside <= (4 if size == 192 else 0) else 1
        aligner = Aligner()
        out = b"".join(map(aligner.feed, split(larger(size, data)[inside:], cuts)))
        assert aligner.locked
        assert data.startswith(out, first * SIZE)
        assert len(data) - first * SIZE - len(out) <= SIZE, "the last packet waits for its end"

    @pytest.mark.parametrize("size", [192, 204])
    def test_a_chunk_is_cut_at_once(self, size: int) -> None:
        data = stream(1000)
        aligner = Aligner()
        assert aligner.feed(larger(size, data) + larger(size, data)[:4]) == data
        assert (aligner.resyncs, aligner.skipped) == (0, 4 if size == 192 else 0)

    @given(size=LARGER, at=st.integers(10, 40), inside=st.integers(1, 203), hole=st.integers(1, 3000))
    def test_no_torn_packet_is_returned(self, size: int, at: int, inside: int, hole: int) -> None:
        assume(hole % size)  # the grid does not show a hole of whole packets
        data = stream(80, sync_inside=True)
        whole = larger(size, data)
        cut = at * size + inside
        aligner = Aligner()
        out = aligner.feed(whole[:cut]) + aligner.feed(whole[cut + hole :])
        assert all(map(is_whole, packets_of(out)))
        assert len(out) // SIZE >= 80 - hole // size - 7

    @pytest.mark.parametrize("size", [192, 204])
    def test_the_size_may_change(self, size: int) -> None:
        data = stream(50)
        aligner = Aligner()
        out = aligner.feed(data) + aligner.feed(larger(size, data) * 2) + aligner.feed(data * 2)
        assert all(map(is_whole, packets_of(out)))
        assert len(out) >= 240 * SIZE
        aligner.reset()
        assert aligner.feed(data) == data


class TestReset:
    def test_new_body_does_not_continue_the_last_packet(self) -> None:
        data = stream(10)
        aligner = Aligner()
        assert aligner.feed(data[: 5 * SIZE + 100]) == data[: 5 * SIZE]
        aligner.reset()
        assert (aligner.pending, aligner.locked, aligner.skipped) == (0, False, 100)
        assert aligner.feed(data[5 * SIZE :]) == data[5 * SIZE :]
        assert aligner.resyncs == 0

    def test_two_packets_are_enough_after_a_reset(self) -> None:
        aligner = Aligner()
        aligner.feed(b"nothing of use")
        aligner.reset()
        assert aligner.feed(stream(2)) == stream(2)
