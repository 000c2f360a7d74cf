"""The access index: access points and the tables in force at each, on hand-made streams."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tsbuild import (
    AAC,
    H264,
    HEVC,
    IDR,
    SIZE,
    SLICE,
    Mux,
    packet,
    pat_section,
    pes,
    pmt_section,
    psi_packets,
    section,
)

from m3uproxy.core.mpegts.access_index import AccessIndex, AccessPoint
from m3uproxy.core.mpegts.psi import SectionAssembler
from m3uproxy.core.mpegts.random_access import AccessKind

PMT_PID, VIDEO, SOUND = 0x1000, 0x100, 0x101
STREAMS = [(H264, VIDEO), (AAC, SOUND)]
LONG = [(H264, VIDEO, b"\x0a\x04eng\0" * 40), (AAC, SOUND, b"\x0a\x04deu\0" * 30)]


def key(mux: Mux, pid: int = VIDEO, *, flag: bool = True) -> bytes:
    return mux.unit(pid, pes(IDR + b"\xab" * 700), key=flag)


def picture(mux: Mux, pid: int = VIDEO) -> bytes:
    return mux.unit(pid, pes(SLICE + b"\xab" * 300))


def audio(mux: Mux, pid: int = SOUND) -> bytes:
    return mux.unit(pid, pes(b"\xff\xf1" * 150, stream_id=0xC0))


def tables(mux: Mux) -> bytes:
    return mux.pat({1: PMT_PID}) + mux.pmt(PMT_PID, 1, STREAMS)


def wrong_crc(data: bytes) -> bytes:
    return data[:-4] + bytes(byte ^ 0x55 for byte in data[-4:])


def counters(packets: bytes) -> list[int]:
    return [packets[at] & 0x0F for at in range(3, len(packets), SIZE)]


def offsets(points: list[AccessPoint]) -> list[int]:
    return [point.offset for point in points]


class TestFinding:
    def test_key_frame_behind_its_tables(self) -> None:
        mux = Mux()
        psi = tables(mux)
        assert AccessIndex().scan(psi + key(mux) + picture(mux)) == [AccessPoint(2 * SIZE, psi, AccessKind.IDR)]

    def test_key_frames_without_the_random_access_flag(self) -> None:
        mux = Mux()
        psi = tables(mux)
        assert AccessIndex().scan(psi + key(mux, flag=False)) == [AccessPoint(2 * SIZE, psi, AccessKind.IDR)]

    def test_key_frame_carries_the_last_tables_before_it(self) -> None:
        mux = Mux()
        first, picture_1, second, picture_2 = tables(mux), key(mux), tables(mux), key(mux)
        assert first != second, "counters run on"
        points = AccessIndex().scan(first + picture_1 + second + picture_2 + tables(mux))
        assert [point.psi for point in points] == [first, second]

    def test_tables_from_an_earlier_chunk(self) -> None:
        mux, index = Mux(), AccessIndex()
        psi = tables(mux)
        assert index.scan(psi) == []
        assert index.psi == psi
        assert index.scan(picture(mux)) == []
        assert index.scan(key(mux)) == [AccessPoint(0, psi, AccessKind.IDR)]

    def test_no_access_point_before_both_tables(self) -> None:
        mux, index = Mux(), AccessIndex()
        assert index.scan(key(mux)) == []
        assert index.scan(mux.pmt(PMT_PID, 1, STREAMS) + key(mux)) == [], "the PAT does not name this PMT yet"
        assert index.scan(mux.pat({1: PMT_PID}) + key(mux)) == []
        assert index.psi == b""
        assert len(index.scan(mux.pmt(PMT_PID, 1, STREAMS) + key(mux))) == 1

    def test_audio_and_other_pictures_are_not_access_points(self) -> None:
        mux = Mux()
        assert AccessIndex().scan(tables(mux) + picture(mux) + audio(mux) + mux.null()) == []

    def test_audio_counts_without_video(self) -> None:
        mux = Mux()
        head = mux.pat({1: PMT_PID}) + mux.pmt(PMT_PID, 1, [(AAC, SOUND), (AAC, 0x102)])
        made = [audio(mux), audio(mux, 0x102), audio(mux)]
        points = AccessIndex().scan(head + b"".join(made))
        assert offsets(points) == [len(head), len(head) + len(made[0]) + len(made[1])]

    def test_program_without_audio_and_video(self) -> None:
        mux, index = Mux(), AccessIndex()
        head = mux.pat({1: PMT_PID}) + mux.pmt(PMT_PID, 1, [(0x06, VIDEO)])
        assert index.scan(head + key(mux)) == []
        assert index.psi == head

    def test_first_video_stream_counts_at_any_position(self) -> None:
        mux = Mux()
        head = mux.pat({1: PMT_PID}) + mux.pmt(PMT_PID, 1, [(AAC, SOUND), (H264, VIDEO), (HEVC, 0x200)])
        points = AccessIndex().scan(head + key(mux, 0x200) + key(mux))
        assert offsets(points) == [len(head) + len(key(mux))]

    def test_damaged_key_frame_is_ignored(self) -> None:
        mux = Mux()
        damaged = packet(VIDEO, pes(IDR), start=True, error=True)
        assert AccessIndex().scan(tables(mux) + damaged) == []

    def test_empty_chunk(self) -> None:
        assert AccessIndex().scan(b"") == []

    @given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=30))
    def test_chunks_make_no_difference(self, sizes: list[int]) -> None:
        mux = Mux()
        long_tables = mux.pat({1: PMT_PID}) + mux.pmt(PMT_PID, 1, LONG)
        run = long_tables + key(mux) + audio(mux) + tables(mux) + picture(mux) + key(mux, flag=False)
        run += mux.pmt(PMT_PID, 1, LONG) + picture(mux) + key(mux)
        whole, parts, at = AccessIndex(), AccessIndex(), 0
        found = []
        for size in [*sizes, len(run)]:
            chunk = run[at : at + size * SIZE]
            found += [AccessPoint(at + p.offset, p.psi, p.kind) for p in parts.scan(chunk)]
            at += len(chunk)
        assert found == whole.scan(run)
        assert len(found) == 3
        assert parts.psi == whole.psi


class TestDeepPictures:
    """Pictures whose parameter sets are behind the first packet."""

    SEI = b"\0\0\0\1\x06\x05" + b"\xab" * 2000

    def deep(self, mux: Mux, data: bytes = IDR) -> bytes:
        return mux.unit(VIDEO, pes(self.SEI + data + b"\xab" * 700))

    def test_key_frame_behind_sei(self) -> None:
        mux, index = Mux(), AccessIndex()
        psi = tables(mux)
        run = psi + self.deep(mux, SLICE) + self.deep(mux) + self.deep(mux, SLICE)
        at = 2 * SIZE + len(self.deep(Mux(), SLICE))
        assert index.scan(run) == [AccessPoint(at, psi, AccessKind.IDR)]

    @given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=30))
    def test_chunks_make_no_difference(self, sizes: list[int]) -> None:
        mux, index = Mux(), AccessIndex()
        run = tables(mux) + self.deep(mux) + audio(mux) + self.deep(mux, SLICE) + tables(mux) + self.deep(mux)
        found, at = [], 0
        for size in [*sizes, len(run)]:
            chunk = run[at : at + size * SIZE]
            found += [at + point.offset for point in index.scan(chunk)]
            at += len(chunk)
        assert found == offsets(AccessIndex().scan(run))
        assert len(found) == 2

    def test_flags_that_stop_are_not_waited_for_for_ever(self) -> None:
        mux, index = Mux(), AccessIndex()
        assert len(index.scan(tables(mux) + key(mux))) == 1
        assert index.scan(key(mux, flag=False)) == [], "flags are relied on"
        for _ in range(250):
            index.scan(picture(mux))
        assert len(index.scan(key(mux, flag=False))) == 1


class TestChanges:
    def test_new_version_replaces_the_map(self) -> None:
        mux = Mux()
        pat, old, new = (
            mux.pat({1: PMT_PID}),
            mux.pmt(PMT_PID, 1, STREAMS),
            mux.pmt(PMT_PID, 1, [(H264, 0x200), (AAC, SOUND)], version=1),
        )
        run = pat + old + key(mux) + new + key(mux) + key(mux, 0x200)
        points = AccessIndex().scan(run)
        assert [point.psi for point in points] == [pat + old, pat + new]
        assert offsets(points) == [2 * SIZE, run.rindex(key_start(0x200))]

    def test_codec_changes_with_the_map(self) -> None:
        mux, index = Mux(), AccessIndex()
        irap = pes(b"\0\0\1" + bytes([19 << 1, 1]) + b"\xab" * 100)
        assert index.scan(tables(mux) + mux.unit(VIDEO, irap)) == []
        change = mux.pmt(PMT_PID, 1, [(HEVC, VIDEO), (AAC, SOUND)], version=1)
        assert len(index.scan(change + mux.unit(VIDEO, irap))) == 1

    def test_map_on_another_pid(self) -> None:
        mux, index = Mux(), AccessIndex()
        index.scan(tables(mux))
        pat = mux.pat({1: 0x1100}, version=1)
        assert index.scan(pat + key(mux) + mux.pmt(PMT_PID, 1, STREAMS) + key(mux)) == []
        assert index.psi == b"", "not before the map that the new PAT names"
        pmt = mux.pmt(0x1100, 1, STREAMS)
        points = index.scan(pmt + key(mux))
        assert [point.psi for point in points] == [pat + pmt]

    def test_another_program_on_the_same_pid(self) -> None:
        mux, index = Mux(), AccessIndex()
        index.scan(tables(mux))
        pat = mux.pat({2: PMT_PID}, version=1)
        assert index.scan(pat + mux.pmt(PMT_PID, 1, STREAMS) + key(mux)) == []
        pmt = mux.pmt(PMT_PID, 2, STREAMS)
        assert [point.psi for point in index.scan(pmt + key(mux))] == [pat + pmt]

    def test_new_pat_for_the_same_program_keeps_the_map(self) -> None:
        mux, index = Mux(), AccessIndex()
        index.scan(mux.pat({1: PMT_PID}))
        pmt = mux.pmt(PMT_PID, 1, STREAMS)
        index.scan(pmt)
        pat = mux.pat({1: PMT_PID, 2: 0x1200}, version=1)
        assert [point.psi for point in index.scan(pat + key(mux))] == [pat + pmt]

    def test_next_tables_are_ignored(self) -> None:
        mux, index = Mux(), AccessIndex()
        psi = tables(mux)
        ahead = mux.pat({1: 0x1100}, version=1, current=False)
        ahead += mux.pmt(PMT_PID, 1, [(H264, 0x200)], version=1, current=False)
        assert [point.psi for point in index.scan(psi + ahead + key(mux))] == [psi]

    def test_broken_tables_keep_the_old_ones_in_force(self) -> None:
        mux, index = Mux(), AccessIndex()
        psi = tables(mux)
        pat, pmt = bytearray(pat_section({1: 0x1100})), bytearray(pmt_section(1, [(H264, 0x200)]))
        pat[-1] ^= 1
        pmt[-1] ^= 1
        broken = mux.psi(0, bytes(pat)) + mux.psi(PMT_PID, bytes(pmt))
        assert [point.psi for point in index.scan(psi + broken + key(mux))] == [psi]
        good = tables(mux)
        assert [point.psi for point in index.scan(good + key(mux))] == [good]

    def test_wrong_crcs_are_no_obstacle(self) -> None:
        mux, index = Mux(), AccessIndex()
        pat = wrong_crc(pat_section({1: PMT_PID}))
        pmt = wrong_crc(pmt_section(1, LONG))
        psi = mux.psi(0, pat) + mux.psi(PMT_PID, pmt)
        repaired = Mux().psi(0, pat_section({1: PMT_PID})) + Mux().psi(PMT_PID, pmt_section(1, LONG))
        assert [point.psi for point in index.scan(psi + key(mux))] == [repaired], "players get a correct CRC"
        again = mux.psi(0, pat) + mux.psi(PMT_PID, pmt)
        (point,) = index.scan(again + key(mux))
        assert counters(point.psi) == counters(again), "counters continue"

    def test_wrong_crc_of_a_changed_table_must_be_repeated(self) -> None:
        mux, index = Mux(), AccessIndex()
        index.scan(tables(mux))
        changed = wrong_crc(pmt_section(1, [(H264, 0x200)], version=1))
        assert index.scan(mux.psi(PMT_PID, changed) + key(mux, 0x200)) == []
        assert index.scan(tables(mux) + mux.psi(PMT_PID, changed) + key(mux, 0x200)) == [], "not in a row"
        assert len(index.scan(mux.psi(PMT_PID, changed) + key(mux, 0x200))) == 1

    def test_correct_table_replaces_a_wrong_one(self) -> None:
        mux, index = Mux(), AccessIndex()
        wrong = wrong_crc(pmt_section(1, [(H264, 0x200)]))
        run = mux.pat({1: PMT_PID}) + mux.psi(PMT_PID, wrong) + mux.pmt(PMT_PID, 1, STREAMS)
        assert len(index.scan(run + key(mux) + key(mux, 0x200))) == 1

    def test_unreadable_table_with_a_wrong_crc_is_ignored(self) -> None:
        mux, index = Mux(), AccessIndex()
        wrong = bytearray(pmt_section(1, STREAMS))
        wrong[11] = 0xFF
        assert index.scan(mux.pat({1: PMT_PID}) + mux.psi(PMT_PID, bytes(wrong)) + key(mux)) == []
        assert index.psi == b""

    def test_other_tables_on_the_same_pids(self) -> None:
        mux, index = Mux(), AccessIndex()
        psi = tables(mux)
        other = mux.psi(0, section(0x42, 1, b"\0\1\xf1\0")) + mux.psi(PMT_PID, section(0xC0, 1, b"\xe1\0\xf0\0"))
        assert [point.psi for point in index.scan(psi + other + key(mux))] == [psi]

    def test_damaged_or_scrambled_tables_are_ignored(self) -> None:
        mux, index = Mux(), AccessIndex()
        psi = tables(mux)
        moved = b"\0" + pat_section({1: 0x1100})
        damaged = packet(0, moved, start=True, error=True) + packet(0, moved, start=True, scrambling=2)
        assert [point.psi for point in index.scan(psi + damaged + key(mux))] == [psi]

    def test_reset_clears_the_tables(self) -> None:
        mux, index = Mux(), AccessIndex()
        index.scan(mux.pat({1: PMT_PID}) + mux.pmt(PMT_PID, 1, LONG)[:SIZE])
        index.scan(tables(mux))
        index.reset()
        assert (index.psi, index.program_map) == (b"", None)
        assert index.scan(mux.pmt(PMT_PID, 1, STREAMS) + key(mux)) == []
        psi = tables(mux)
        assert [point.psi for point in index.scan(psi + key(mux))] == [psi]


class TestSeveralPrograms:
    def test_first_program_is_served(self) -> None:
        mux = Mux()
        pat = mux.pat({0: 0x10, 3: 0x1300, 1: PMT_PID})
        other = mux.pmt(PMT_PID, 1, STREAMS)
        ours = mux.pmt(0x1300, 3, [(H264, 0x300)])
        both = key(mux, 0x300) + key(mux)
        run = pat + other + ours + other + both + both
        points = AccessIndex().scan(run)
        assert {point.kind for point in points} == {AccessKind.IDR}
        assert offsets(points) == [run.index(key_start(0x300)), run.rindex(key_start(0x300))]
        assert [point.psi for point in points] == [pat + ours, pat + ours + other], "tables of all that is sent"

    def test_programs_that_are_not_sent_are_passed_over(self) -> None:
        mux, index = Mux(), AccessIndex()
        pat = mux.pat({1: 0x1001, 2: 0x1002, 3: PMT_PID, 4: 0x1004})
        pmt = mux.pmt(PMT_PID, 3, STREAMS)
        assert index.scan(pat + pmt + key(mux) + picture(mux)) == [AccessPoint(2 * SIZE, pat + pmt, AccessKind.IDR)]
        assert not index.is_settled, "the others may follow"
        again = mux.pat({1: 0x1001, 2: 0x1002, 3: PMT_PID, 4: 0x1004}) + mux.pmt(PMT_PID, 3, STREAMS)
        assert [point.psi for point in index.scan(again + key(mux))] == [again]
        assert index.is_settled

    def test_tables_without_streams_are_passed_over(self) -> None:
        mux, index = Mux(), AccessIndex()
        pat = mux.pat({1: 0x1001, 3: PMT_PID})
        silent, sent = mux.pmt(0x1001, 1, [(H264, 0x300)]), mux.pmt(PMT_PID, 3, STREAMS)
        points = index.scan(pat + silent + sent + key(mux))
        assert [point.psi for point in points] == [pat + sent]

    def test_pat_of_several_sections(self) -> None:
        mux = Mux()
        pat = mux.pat({1: 0x1001}, last=1) + mux.pat({3: PMT_PID}, number=1, last=1)
        pmt = mux.pmt(PMT_PID, 3, STREAMS)
        assert [point.psi for point in AccessIndex().scan(pat + pmt + key(mux))] == [pat + pmt]

    def test_certain_program_is_followed_before_its_streams_come(self) -> None:
        mux, index = Mux(), AccessIndex(3, is_certain=True)
        pat = mux.pat({1: 0x1001, 3: PMT_PID})
        index.scan(pat + mux.pmt(0x1001, 1, [(H264, 0x300)]) + mux.pmt(PMT_PID, 3, STREAMS))
        assert index.program_map is not None
        assert (index.program_map.program, index.is_settled) == (3, True)

    def test_video_that_does_not_come_is_replaced(self) -> None:
        mux, index = Mux(), AccessIndex()
        streams = [(H264, 0x300), (H264, VIDEO), (AAC, SOUND)]
        found = []
        for _ in range(4):
            found += index.scan(mux.pat({1: PMT_PID}) + mux.pmt(PMT_PID, 1, streams) + key(mux) + audio(mux))
        assert found
        assert index.program_map is not None
        assert (index.program_map.main_pid, index.program_map.main_video) == (VIDEO, index.program_map.streams[1])

    def test_audio_replaces_announced_video_that_does_not_come(self) -> None:
        mux, index = Mux(), AccessIndex()
        assert index.scan((tables(mux) + audio(mux)) * 19) == []
        assert index.scan((tables(mux) + audio(mux)) * 5) != []
        index.scan(picture(mux))
        assert [point.kind for point in index.scan(audio(mux) + key(mux))] == [AccessKind.IDR]

    def test_maps_of_two_programs_on_one_pid(self) -> None:
        mux = Mux()
        pat = mux.pat({3: PMT_PID, 1: PMT_PID})
        both = mux.psi(PMT_PID, pmt_section(1, STREAMS) + pmt_section(3, [(H264, 0x300)]))
        only = mux.pmt(PMT_PID, 1, STREAMS)
        points = AccessIndex().scan(pat + both + only + key(mux, 0x300) + key(mux))
        assert [point.psi for point in points] == [pat + both]

    def test_program_map_property(self) -> None:
        mux, index = Mux(), AccessIndex()
        index.scan(mux.pat({3: PMT_PID}) + mux.pmt(PMT_PID, 3, STREAMS, pcr_pid=0x1FF))
        assert index.program_map is not None
        assert (index.program_map.program, index.program_map.pcr_pid) == (3, 0x1FF)


class TestLongTables:
    def test_map_over_several_packets(self) -> None:
        mux, index = Mux(), AccessIndex()
        pat, parts = mux.pat({1: PMT_PID}), psi_packets(PMT_PID, pmt_section(1, LONG))
        assert len(parts) == 3
        early, between = key(mux), picture(mux)
        run = pat + parts[0] + early + parts[1] + between + parts[2] + audio(mux)
        assert index.scan(run) == []
        assert index.psi == pat + b"".join(parts)
        assert offsets(index.scan(key(mux))) == [0]

    def test_old_map_is_in_force_until_the_new_one_is_complete(self) -> None:
        mux = Mux()
        psi = tables(mux)
        parts = psi_packets(PMT_PID, pmt_section(1, LONG, version=1), counter=1)
        points = AccessIndex().scan(psi + b"".join(parts[:2]) + key(mux) + parts[2] + key(mux))
        assert [point.psi for point in points] == [psi, psi[:SIZE] + b"".join(parts)]

    def test_repeated_long_map_is_kept_as_last_seen(self) -> None:
        mux, index = Mux(), AccessIndex()
        pat, first, second = mux.pat({1: PMT_PID}), mux.pmt(PMT_PID, 1, LONG), mux.pmt(PMT_PID, 1, LONG)
        index.scan(pat + first + second)
        assert index.psi == pat + second

    def test_long_map_with_a_packet_missing_is_dropped(self) -> None:
        mux, index = Mux(), AccessIndex()
        psi = tables(mux)
        one, _, three = psi_packets(PMT_PID, pmt_section(1, LONG, version=1))
        points = index.scan(psi + one + three + key(mux))
        assert [point.psi for point in points] == [psi]
        again = tables(mux)
        assert [point.psi for point in index.scan(again + key(mux))] == [again]

    def test_end_of_a_long_map_alone_is_ignored(self) -> None:
        mux, index = Mux(), AccessIndex()
        pat, pmt = mux.pat({1: PMT_PID}), mux.pmt(PMT_PID, 1, LONG)
        index.scan(pat + pmt)
        unfinished = mux.pat(dict.fromkeys(range(1, 101), PMT_PID))[:SIZE]
        index.scan(unfinished + pmt[-SIZE:])
        assert index.psi == pat + pmt

    def test_damaged_part_of_a_map_is_ignored(self) -> None:
        index = AccessIndex()
        pat = Mux().pat({1: PMT_PID})
        one, two, three = psi_packets(PMT_PID, pmt_section(1, LONG))
        index.scan(pat + one + packet(PMT_PID, b"?" * 184, error=True) + two + three)
        assert index.psi == pat + one + two + three

    def test_pat_of_many_programs(self) -> None:
        mux, index = Mux(), AccessIndex()
        pat = mux.pat({number: 0x1000 + number for number in range(1, 101)})
        assert len(pat) == 3 * SIZE
        pmt = mux.pmt(0x1001, 1, STREAMS)
        assert [point.psi for point in index.scan(pat + pmt + key(mux))] == [pat + pmt]

    def test_second_section_of_a_pat_follows_the_first(self) -> None:
        mux, index = Mux(), AccessIndex()
        first = mux.pat({1: PMT_PID}, number=0, last=1)
        second = mux.pat({9: 0x1900}, number=1, last=1)
        pmt = mux.pmt(PMT_PID, 1, STREAMS)
        points = index.scan(first + second + pmt + second + key(mux))
        assert [point.psi for point in points] == [first + second + pmt]


def test_repeated_tables_are_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mux, index = Mux(), AccessIndex()
    index.scan(tables(mux))
    monkeypatch.delattr(SectionAssembler, "feed")
    again = tables(mux)
    index.scan(again)
    assert index.psi == again


garbage = st.tuples(
    st.sampled_from([0, PMT_PID, VIDEO]), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=184)
)


@given(st.lists(garbage))
def test_garbage_in_every_pid_is_ignored(made: list[tuple[int, int, int, bytes]]) -> None:
    mux, index = Mux(), AccessIndex()
    index.scan(tables(mux))
    run = b"".join(
        bytes([0x47, (flags & 0xE0) | pid >> 8, pid & 0xFF, control]) + rest.ljust(184, b"\xff")
        for pid, flags, control, rest in made
    )
    for point in index.scan(run):
        assert run[point.offset] == 0x47
        assert len(point.psi) % SIZE == 0


def key_start(pid: int) -> bytes:
    """Return the beginning of the first packet of :func:`key`."""
    return key(Mux(), pid)[:4]
