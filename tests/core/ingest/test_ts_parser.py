"""From bytes cut anywhere to blocks of whole packets."""

from __future__ import annotations

from itertools import pairwise

from fakes import Programme, packets
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.ingest.parser import CHUNK_BYTES, Chunk
from m3uproxy.core.ingest.ts_parser import TsParser
from m3uproxy.core.splice.plan import SpliceKind


def run(intake: TsParser, data: bytes, cuts: list[int]) -> tuple[bytes, list[bytes]]:
    """All that comes out, and the starts of the blocks that are access points."""
    blocks = []
    bounds = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for begin, end in pairwise(bounds):
        blocks += intake.feed(data[begin:end], 0.0)
    blocks += intake.flush(0.0)
    return b"".join(block.data for block in blocks), [block.data[:188] for block in blocks if block.access]


@given(st.lists(st.integers(1, 9000), max_size=12))
def test_cuts_in_the_body_make_no_difference(cuts: list[int]) -> None:
    programme = Programme()
    data = b"".join(programme.group() for _ in range(3))
    whole, points = run(TsParser(), data + programme.picture(), cuts)
    assert whole == data  # the end of the last picture is not known yet
    assert len(points) == 3


def test_waits_for_a_block_and_closes_at_the_limit() -> None:
    programme = Programme()
    intake = TsParser()
    fed, blocks = 0, []
    while not blocks:
        assert fed < CHUNK_BYTES
        data = programme.group()
        blocks = intake.feed(data, 0.0)
        fed += len(data)
    assert fed >= CHUNK_BYTES
    assert 0 < fed - sum(len(block.data) for block in blocks) < 1500  # but for the last picture


def test_the_tables_of_an_access_point_come_with_it() -> None:
    programme = Programme()
    intake = TsParser()
    tables, picture = programme.tables(), programme.picture(key=True)
    intake.feed(tables, 0.0)
    intake.feed(picture + programme.picture(), 0.0)
    before, block = intake.flush(0.0)
    assert before.data == tables
    assert (block.data, block.access, block.psi) == (picture, True, tables)


def test_what_is_torn_at_the_end_of_a_source_is_dropped() -> None:
    programme = Programme()
    intake = TsParser()
    good = programme.group()
    intake.feed(good + programme.picture()[:-100], 0.0)
    blocks = intake.flush(0.0)
    assert intake.packets >= len(good) // 188
    blocks += intake.next_source(0.0)
    assert b"".join(block.data for block in blocks) == good
    assert intake.packets == 0


def test_the_next_source_goes_on_from_what_was_sent() -> None:
    sent: list[bytes] = []
    intake = TsParser(lambda: b"".join(sent))

    def send(blocks: list[Chunk]) -> list[Chunk]:
        sent.extend(block.data for block in blocks)
        return blocks

    first, second = Programme(b"A"), Programme(b"B")
    second.group(40)  # its clock is another
    send(intake.feed(first.group() + first.picture(), 0.0) + intake.flush(0.0) + intake.next_source(0.0))
    assert intake.take_reports() == []
    began = len(b"".join(sent))
    blocks = send(intake.feed(second.group() + second.group() + second.picture(), 1.0) + intake.flush(1.0))
    (report,) = intake.take_reports()
    assert report.kind is SpliceKind.SHIFTED
    assert any(block.access and block.psi for block in blocks)
    assert continuity_errors(packets(b"".join(sent))) == 0
    assert b"B00000041." in b"".join(sent)[began:]


def continuity_errors(stream: list[bytes]) -> int:
    """Packets with payload whose counter does not follow that of the one before on the PID."""
    last: dict[int, int] = {}
    errors = 0
    for packet in stream:
        pid, counter = (packet[1] & 0x1F) << 8 | packet[2], packet[3] & 0x0F
        errors += pid in last and counter != (last[pid] + 1) % 16
        last[pid] = counter
    return errors


def test_garbage_gives_nothing() -> None:
    intake = TsParser()
    assert intake.feed(b"<html>" * 10_000, 0.0) == []
    assert intake.flush(0.0) == []
    assert intake.packets == 0


class Elsewhere(Programme):
    """The same on other PIDs."""

    PMT_PID, VIDEO_PID = 0x200, 0x201


def test_packets_are_shown_as_they_came_with_the_tables_of_their_source() -> None:
    sent, shown = bytearray(), []
    intake = TsParser(lambda: bytes(sent))

    def play(data: bytes, begin: float) -> bytes:
        intake.next_source(begin)
        intake.observer = lambda now, packets, program: shown.append((now, packets, program))
        shown.clear()
        for number, at in enumerate(range(0, len(data), 1000)):
            sent.extend(b"".join(cut.data for cut in intake.feed(data[at : at + 1000], begin)))
            sent.extend(b"".join(cut.data for cut in intake.flush(begin + number * 0.1)))
        return b"".join(packets for _, packets, _ in shown)

    def known() -> set[int]:
        return {program.streams[0].pid for _, _, program in shown if program is not None}

    first, second = Programme(b"A"), Elsewhere(b"B")
    data = b"".join(first.group() for _ in range(5))
    assert play(data, 0) == data
    assert known() == {Programme.VIDEO_PID}
    data = b"".join(second.group() for _ in range(20))
    assert play(data, 10) == data
    assert {report.kind for report in intake.take_reports()} >= {SpliceKind.SHIFTED}
    assert known() == {Elsewhere.VIDEO_PID}
    assert shown[0][2] is None, "nothing is known of it yet"
    assert Elsewhere.VIDEO_PID not in {(packet[1] & 0x1F) << 8 | packet[2] for packet in packets(bytes(sent))}
    intake.next_source(20)
    assert intake.observer is None
