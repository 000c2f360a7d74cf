"""Sections and tables, read from hand-made ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tsbuild import SIZE, packet, pat_section, pmt_section, psi_packets, section

from m3uproxy.core.mpegts import psi
from m3uproxy.core.mpegts.psi import Codec, ElementaryStream, Section, SectionAssembler

LONG_PMT = pmt_section(7, [(0x1B, 0x100, b"\x0a\x04eng\0" * 40), (0x0F, 0x101, b"\x0a\x04deu\0" * 30)])


def sections_of(packets: list[bytes]) -> list[bytes]:
    assembler = SectionAssembler()
    return [made.data for packet in packets for made in assembler.feed(packet)]


def whole(data: bytes) -> Section:
    made = Section(data, b"")
    assert made.is_valid
    return made


class TestAssembly:
    def test_section_in_one_packet(self) -> None:
        assembler = SectionAssembler()
        (only,) = psi_packets(0, pat_section({1: 0x1000}))
        assert assembler.feed(only) == [Section(pat_section({1: 0x1000}), only)]
        assert not assembler.unfinished

    def test_section_over_several_packets_comes_with_all_of_them(self) -> None:
        made = psi_packets(0x1000, LONG_PMT)
        assert len(made) == 3
        assembler = SectionAssembler()
        assert assembler.feed(made[0]) == []
        assert assembler.unfinished
        assert assembler.feed(made[1]) == []
        assert assembler.feed(made[2]) == [Section(LONG_PMT, b"".join(made))]
        assert not assembler.unfinished

    def test_several_sections_in_one_packet(self) -> None:
        first, second = pmt_section(1, [(0x1B, 0x100)]), pmt_section(2, [(0x1B, 0x200)])
        assert sections_of(psi_packets(0x1000, first + second)) == [first, second]

    def test_section_that_ends_where_the_next_begins(self) -> None:
        other = pmt_section(8, [(0x1B, 0x200)])
        first = packet(0x1000, b"\0" + LONG_PMT[:183], start=True)
        middle = packet(0x1000, LONG_PMT[183:300])
        (last,) = psi_packets(0x1000, other, pointer=LONG_PMT[300:])
        assembler = SectionAssembler()
        assert assembler.feed(first) + assembler.feed(middle) == []
        assert assembler.feed(last) == [Section(LONG_PMT, first + middle + last), Section(other, last)]

    def test_header_split_over_packets(self) -> None:
        data = pat_section({1: 0x1000})
        for size in (1, 2, 3, 4):
            made = [packet(0, b"\0" + data[:size], start=True), packet(0, data[size:])]
            assert sections_of(made) == [data]

    @given(sizes=st.lists(st.integers(1, 183), max_size=20))
    def test_any_division_into_packets(self, sizes: list[int]) -> None:
        rest, made = b"\0" + LONG_PMT, []
        for size in [max(2, sum(sizes[:1])), *sizes[1:], 183, 183, 183]:
            if rest:
                made.append(packet(0x1000, rest[:size], start=not made, counter=len(made)))
            rest = rest[size:]
        assert sections_of(made) == [LONG_PMT]

    def test_duplicate_packet_counts_once(self) -> None:
        one, two, three = psi_packets(0x1000, LONG_PMT)
        assert sections_of([one, one, two, two, three, three]) == [LONG_PMT]

    def test_packet_without_payload_changes_nothing(self) -> None:
        one, two, three = psi_packets(0x1000, LONG_PMT)
        assert sections_of([one, packet(0x1000, b"", flags=0), two, three]) == [LONG_PMT]

    def test_packets_before_the_first_start_are_skipped(self) -> None:
        one, two, three = psi_packets(0x1000, LONG_PMT)
        assert sections_of([two, three, one, two, three]) == [LONG_PMT]

    def test_new_start_drops_an_unfinished_section(self) -> None:
        one, _, _ = psi_packets(0x1000, LONG_PMT)
        other = pmt_section(8, [(0x1B, 0x200)])
        assert sections_of([one, *psi_packets(0x1000, other)]) == [other]

    def test_start_without_payload_is_ignored(self) -> None:
        assert sections_of([packet(0x1000, b"", start=True, flags=0)]) == []

    def test_section_above_the_size_limit_is_dropped(self) -> None:
        assembler = SectionAssembler()
        longest, too_long = (b"\0\x02" + (0xB000 | size).to_bytes(2, "big") for size in (1021, 1022))
        assembler.feed(packet(0x1000, longest + b"\0" * 180, start=True))
        assert assembler.unfinished
        assembler.feed(packet(0x1000, too_long + b"\0" * 180, start=True))
        assert not assembler.unfinished

    @given(st.lists(st.binary(min_size=184, max_size=184), max_size=20), st.booleans())
    def test_garbage_is_dropped_within_a_memory_limit(self, payloads: list[bytes], start: bool) -> None:
        assembler = SectionAssembler()
        for payload in payloads:
            for made in assembler.feed(packet(0x1000, payload, start=start or payload[0] & 1 == 1)):
                assert len(made.data) <= 1024
            assert len(assembler._data) <= 1024


class TestValidation:
    def test_crc(self) -> None:
        assert psi.crc32(b"123456789") == 0x0376E6E7, "the check value of CRC-32/MPEG-2"

    @given(at=st.integers(0, 18), bit=st.integers(0, 7))
    def test_one_wrong_bit_is_detected(self, at: int, bit: int) -> None:
        data = bytearray(pmt_section(1, [(0x1B, 0x100)]))
        data[at] ^= 1 << bit
        assert not Section(bytes(data), b"").is_valid

    def test_short_header(self) -> None:
        assert not Section(b"\0\x30\0", b"").is_valid
        assert not Section(bytes([0, 0xB0, 4]) + psi.crc32(bytes([0, 0xB0, 4])).to_bytes(4, "big"), b"").is_valid

    def test_short_form_of_header(self) -> None:
        data = bytes([0, 0x30, 9, 0, 1, 0xC1, 0, 0])
        assert not Section(data + psi.crc32(data).to_bytes(4, "big"), b"").is_valid

    def test_fields(self) -> None:
        made = whole(section(2, 0x1234, b"", number=3, last=4))
        assert (made.table_id, made.table_id_extension, made.number) == (2, 0x1234, 3)
        assert made.applies_now
        assert not whole(section(2, 1, b"", current=False)).applies_now


class TestTables:
    @given(st.dictionaries(st.integers(1, 0xFFFF), st.integers(0x10, 0x1FFE), max_size=40))
    def test_pat(self, programs: dict[int, int]) -> None:
        read = psi.read_pat(whole(pat_section(programs)))
        assert list(read.items()) == list(programs.items())

    def test_network_pid_is_not_a_program(self) -> None:
        assert psi.read_pat(whole(pat_section({0: 0x10, 5: 0x1000}))) == {5: 0x1000}

    @given(
        pcr_pid=st.integers(0, 0x1FFF),
        info=st.binary(max_size=100),
        streams=st.lists(st.tuples(st.integers(0, 255), st.integers(0, 0x1FFF), st.binary(max_size=40))),
    )
    def test_pmt(self, pcr_pid: int, info: bytes, streams: list[tuple[int, int, bytes]]) -> None:
        read = psi.read_pmt(whole(pmt_section(9, streams[:15], pcr_pid=pcr_pid, info=info)))
        expected = tuple(ElementaryStream(*stream) for stream in streams[:15])
        assert read == psi.ProgramMap(9, pcr_pid, expected)

    def test_pmt_with_contradicting_lengths_is_refused(self) -> None:
        assert psi.read_pmt(whole(section(2, 1, b"\xe1\0\xf0\xff"))) is None
        assert psi.read_pmt(whole(section(2, 1, b"\xe1\0\xf0\0\x1b\xe1\0\xf0\x09"))) is None
        assert psi.read_pmt(whole(section(2, 1, b"\xe1\0\xf0\0\x1b\xe1\0"))) is None
        assert psi.read_pmt(whole(section(2, 1, b""))) is None

    @given(st.binary(max_size=60))
    def test_any_body_is_read_or_refused(self, body: bytes) -> None:
        psi.read_pmt(whole(section(2, 1, body)))
        psi.read_pat(whole(section(0, 1, body)))


CODECS = [
    (0x01, b"", Codec.MPEG_VIDEO),
    (0x02, b"", Codec.MPEG_VIDEO),
    (0x1B, b"", Codec.H264),
    (0x24, b"", Codec.HEVC),
    (0x33, b"", Codec.OTHER_VIDEO),
    (0x03, b"", Codec.AUDIO),
    (0x0F, b"", Codec.AUDIO),
    (0x11, b"", Codec.AUDIO),
    (0x81, b"", Codec.AUDIO),
    (0x05, b"", Codec.DATA),
    (0x86, b"", Codec.DATA),
    (0x06, b"", Codec.DATA),
    (0x06, b"\x59\x08engX\0\1\0\1", Codec.DATA),
    (0x06, b"\x0a\x04eng\0\x6a\x01\0", Codec.AUDIO),
    (0x06, b"\x7a\x01\0", Codec.AUDIO),
    (0x06, b"\x7f\x02\x80\x02", Codec.AUDIO),
    (0x06, b"\x7f\x02\x06\x02", Codec.DATA),
    (0x06, b"\x05\x04Opus", Codec.AUDIO),
    (0x06, b"\x05\x04HEVC", Codec.HEVC),
    (0x06, b"\x05\x04AV01", Codec.OTHER_VIDEO),
    (0x06, b"\x05\x04ABCD", Codec.DATA),
    (0x06, b"\x6a", Codec.DATA),
    (0x06, b"\x05\x09HEVC", Codec.DATA),
]


@pytest.mark.parametrize(("stream_type", "loop", "codec"), CODECS)
def test_codec(stream_type: int, loop: bytes, codec: Codec) -> None:
    assert ElementaryStream(stream_type, 0x100, loop).codec is codec
    assert codec.is_video is (codec not in (Codec.AUDIO, Codec.DATA))


def test_builder_makes_whole_packets() -> None:
    assert {len(each) for each in psi_packets(0, LONG_PMT)} == {SIZE}
