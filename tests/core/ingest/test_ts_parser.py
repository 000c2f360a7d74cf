"""Bytes cut at any offset become chunks of whole packets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from fakes import Programme, packets
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.ingest.parser import CHUNK_BYTES, Chunk
from m3uproxy.core.ingest.ts_parser import TsParser
from m3uproxy.core.mpegts.packets import null_packet
from m3uproxy.core.splice.plan import SpliceKind


def parse_in_pieces(parser: TsParser, data: bytes, cuts: list[int]) -> tuple[bytes, list[bytes]]:
    """Return all output, and the first packet of each chunk that begins at an access point."""
    blocks = []
    bounds = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for begin, end in pairwise(bounds):
        blocks += parser.feed(data[begin:end], 0.0)
    blocks += parser.flush(0.0)
    return b"".join(block.data for block in blocks), [block.data[:188] for block in blocks if block.access]


@given(st.lists(st.integers(1, 9000), max_size=12))
def test_cuts_in_the_body_make_no_difference(cuts: list[int]) -> None:
    programme = Programme()
    data = b"".join(programme.group() for _ in range(3))
    whole, points = parse_in_pieces(TsParser(), data + programme.picture(), cuts)
    assert whole == data  # the last picture is incomplete
    assert len(points) == 3


def test_chunk_is_returned_at_the_size_limit() -> None:
    programme = Programme()
    parser = TsParser()
    fed, blocks = 0, []
    while not blocks:
        assert fed < CHUNK_BYTES
        data = programme.group()
        blocks = parser.feed(data, 0.0)
        fed += len(data)
    assert fed >= CHUNK_BYTES
    assert 0 < fed - sum(len(block.data) for block in blocks) < 1500  # the last picture is held


def test_access_point_carries_its_tables() -> None:
    programme = Programme()
    parser = TsParser()
    tables, picture = programme.tables(), programme.picture(key=True)
    parser.feed(tables, 0.0)
    parser.feed(picture + programme.picture(), 0.0)
    before, block = parser.flush(0.0)
    assert before.data == tables
    assert (block.data, block.access, block.psi) == (picture, True, tables)


def test_torn_unit_at_the_end_of_a_source_is_dropped() -> None:
    programme = Programme()
    parser = TsParser()
    good = programme.group()
    parser.feed(good + programme.picture()[:-100], 0.0)
    blocks = parser.flush(0.0)
    assert parser.media.size >= len(good) * 0.9
    blocks += parser.next_source(0.0)
    assert b"".join(block.data for block in blocks) == good
    assert parser.media.size == 0


def test_next_source_is_spliced_to_the_sent_packets() -> None:
    sent: list[bytes] = []
    parser = TsParser(lambda: b"".join(sent))

    def send(blocks: list[Chunk]) -> list[Chunk]:
        sent.extend(block.data for block in blocks)
        return blocks

    first, second = Programme(b"A"), Programme(b"B")
    second.group(40)  # its clock is another
    send(parser.feed(first.group() + first.picture(), 0.0) + parser.flush(0.0) + parser.next_source(0.0))
    assert parser.take_reports() == []
    began = len(b"".join(sent))
    blocks = send(parser.feed(second.group() + second.group() + second.picture(), 1.0) + parser.flush(1.0))
    (report,) = parser.take_reports()
    assert report.kind is SpliceKind.SHIFTED
    assert any(block.access and block.psi for block in blocks)
    assert continuity_errors(packets(b"".join(sent))) == 0
    assert b"B00000041." in b"".join(sent)[began:]


def test_unfinished_join_continues_without_more_bytes() -> None:
    """The sent packets are too many to be read in one call, and the source pauses behind its first group."""
    first, second = Programme(b"A"), Programme(b"B")
    padding = b"\x47\x1f\xff\x10".ljust(188, b"\xff")
    second.group(40)  # its clock is another
    sent = padding * 200_000 + first.group()
    parser = TsParser(lambda: sent)
    parser.next_source(0.0)
    parser.feed(second.group() + second.group() + second.picture(), 0.0)
    calls = 0
    while not (blocks := parser.flush(0.0)):
        calls += 1
        assert calls < 50
    assert calls > 1
    assert [report.kind for report in parser.take_reports()] == [SpliceKind.SHIFTED]
    assert b"B00000041." in b"".join(block.data for block in blocks)
    assert parser.flush(0.0) == []


def continuity_errors(stream: list[bytes]) -> int:
    """Count the packets with payload whose counter does not follow the one before on the PID."""
    last: dict[int, int] = {}
    errors = 0
    for packet in stream:
        pid, counter = (packet[1] & 0x1F) << 8 | packet[2], packet[3] & 0x0F
        errors += pid in last and counter != (last[pid] + 1) % 16
        last[pid] = counter
    return errors


def test_garbage_yields_no_chunks() -> None:
    parser = TsParser()
    assert parser.feed(b"<html>" * 10_000, 0.0) == []
    assert parser.flush(0.0) == []
    assert parser.media.size == 0


class ProgrammeOnOtherPids(Programme):
    """A programme on other PIDs."""

    PMT_PID, VIDEO_PID = 0x200, 0x201


def test_observer_gets_unchanged_packets_and_their_pmt() -> None:
    sent, observed = bytearray(), []
    parser = TsParser(lambda: bytes(sent))

    def play(data: bytes, begin: float) -> bytes:
        parser.next_source(begin)
        parser.observer = lambda now, packets, program: observed.append((now, packets, program))
        observed.clear()
        for number, at in enumerate(range(0, len(data), 1000)):
            sent.extend(b"".join(cut.data for cut in parser.feed(data[at : at + 1000], begin)))
            sent.extend(b"".join(cut.data for cut in parser.flush(begin + number * 0.1)))
        return b"".join(packets for _, packets, _ in observed)

    def observed_pids() -> set[int]:
        return {program.streams[0].pid for _, _, program in observed if program is not None}

    first, second = Programme(b"A"), ProgrammeOnOtherPids(b"B")
    data = b"".join(first.group() for _ in range(5))
    assert play(data, 0) == data
    assert observed_pids() == {Programme.VIDEO_PID}
    data = b"".join(second.group() for _ in range(20))
    assert play(data, 10) == data
    assert {report.kind for report in parser.take_reports()} >= {SpliceKind.SHIFTED}
    assert observed_pids() == {ProgrammeOnOtherPids.VIDEO_PID}
    assert observed[0][2] is None, "the PMT is still unknown"
    assert ProgrammeOnOtherPids.VIDEO_PID not in {
        (packet[1] & 0x1F) << 8 | packet[2] for packet in packets(bytes(sent))
    }
    parser.next_source(20)
    assert parser.observer is None


# what comes before the media


def test_padding_and_tables_alone_yield_no_chunks() -> None:
    programme, parser = Programme(), TsParser()
    for number in range(200):
        assert parser.feed(null_packet() * 7 + programme.tables(), number * 0.1) == []
        assert parser.flush(number * 0.1) == []
    assert parser.media.recognised
    assert parser.media.size == 0


def test_first_media_are_preceded_by_the_tables_that_came_before() -> None:
    programme, parser = Programme(), TsParser()
    tables = programme.tables()
    parser.feed(null_packet() * 7 + tables + null_packet() * 7, 0.0)
    assert parser.flush(0.0) == []
    picture = programme.picture(key=True)
    parser.feed(picture + programme.picture(), 5.0)
    before, block = parser.flush(5.0)
    assert before.data == tables
    assert (block.data, block.access, block.psi) == (picture, True, tables)


def test_tables_before_the_media_are_bounded() -> None:
    programme, parser = Programme(), TsParser()
    for number in range(3000):
        parser.feed(programme.tables(), number * 0.1)
        parser.flush(number * 0.1)
    assert len(parser._lead) <= 1024 * 188
    parser.feed(programme.group() + programme.picture(), 400)
    assert len(b"".join(chunk.data for chunk in parser.flush(400))) < 250_000


def test_padding_before_the_media_of_another_source_is_no_wait_for_its_join() -> None:
    """A new source sends padding for longer than a join may take."""
    sent: list[bytes] = []
    parser = TsParser(lambda: b"".join(sent))
    first, second = Programme(b"A"), Programme(b"B")
    second.group(40)  # its clock is another
    sent += [chunk.data for chunk in parser.feed(first.group() + first.picture(), 0.0) + parser.flush(0.0)]
    parser.next_source(0.0)
    for number in range(150):
        parser.feed(null_packet() * 7 + second.tables(), number * 0.1)
        assert parser.flush(number * 0.1) == []
    parser.feed(second.group() + second.group() + second.picture(), 15.0)
    parser.flush(15.0)
    (report,) = parser.take_reports()
    assert report.kind is SpliceKind.SHIFTED
    assert report.waited < 1


def test_media_are_measured_while_a_join_is_pending() -> None:
    """The new source has no random access point for a while."""
    first, second = Programme(b"A"), Programme(b"B")
    data = first.group()
    parser = TsParser(lambda: data)
    parser.next_source(0.0)
    second.group(40)
    parser.feed(b"".join(second.picture() for _ in range(101)), 0.0)
    assert parser.flush(0.0) == []
    assert parser.media.size > 50_000
    assert parser.media.seconds == pytest.approx(4)
