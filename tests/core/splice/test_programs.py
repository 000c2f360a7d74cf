"""Sources whose PAT names several programs, of which all or only one are sent."""

from __future__ import annotations

import attrs
import pytest
from test_splicer import AWAY, ONE, OTHER, SplicerRig, at_unit, receive
from ts_programme import Layout, make_programme, multiplex
from tsbuild import SIZE

from m3uproxy.core.ingest.parser import Chunk
from m3uproxy.core.ingest.ts_parser import TsParser
from m3uproxy.core.mpegts.packets import pid
from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.core.splice.splicer import Splicer

FILTERED = Layout(program=3, listed=(1, 2, 4, 5))
SECOND = Layout(video=0x500, sound=0x501, pmt=0x1E02, program=2, clock=0x500)


class ParserRig:
    """A parser of transport streams, and its output."""

    def __init__(self) -> None:
        self.out: list[Chunk] = []
        self.parser = TsParser(lambda: b"".join(chunk.data for chunk in self.out))
        self.kinds: list[SpliceKind] = []

    def next(self, now: float) -> ParserRig:
        return self._take(self.parser.next_source(now))

    def feed(self, data: bytes, now: float) -> ParserRig:
        self._take(self.parser.feed(data, now))
        return self._take(self.parser.flush(now))

    def _take(self, chunks: list[Chunk]) -> ParserRig:
        self.kinds += [report.kind for report in self.parser.take_reports()]
        self.out += chunks
        return self

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.out)

    @property
    def first_access(self) -> Chunk:
        return next(chunk for chunk in self.out if chunk.access)


def tables_of(psi: bytes) -> list[bytes]:
    """Return the packets without their counters."""
    return [psi[at : at + 3] + psi[at + 4 : at + SIZE] for at in range(0, len(psi), SIZE)]


def without(data: bytes, *pids: int) -> bytes:
    return b"".join(data[at : at + SIZE] for at in range(0, len(data), SIZE) if pid(data, at) not in pids)


def two_programs(first: bytes, second: bytes, step: int) -> bytes:
    """Return packets of two programs in turn. The tables of the second one come at first."""
    second = without(second, 0)
    size = step * SIZE
    parts = [first[at : at + size] + second[at : at + size] for at in range(0, max(len(first), len(second)), size)]
    return first[:SIZE] + b"".join(parts)[SIZE:]


def rig_with_program(program: int) -> SplicerRig:
    """Return a rig whose players follow a program."""
    rig = SplicerRig()
    rig.splicer = Splicer(lambda: rig.out, rig.reports.append, program=lambda: program)
    return rig


def test_sent_program_is_joined_as_if_it_were_the_only_one() -> None:
    data = multiplex(ONE, FILTERED)
    rig = SplicerRig().feed(data[: at_unit(data, FILTERED, 30)]).next().feed(data[at_unit(data, FILTERED, 8) :])
    got = receive(rig.end(), FILTERED)
    assert rig.kinds == [SpliceKind.OVERLAP]
    assert [unit.data for unit in got.video] == [unit.data for unit in ONE.pictures]


def test_sent_program_of_another_source_continues_the_sent_one() -> None:
    one = multiplex(ONE, FILTERED)
    other = multiplex(OTHER, attrs.evolve(AWAY, listed=(1, 2)))
    rig = SplicerRig().feed(one[: at_unit(one, FILTERED, 20)]).next().feed(other)
    got = receive(rig.end(), FILTERED)
    assert rig.kinds == [SpliceKind.SHIFTED]
    assert {unit.data for unit in OTHER.pictures} <= {unit.data for unit in got.video}
    assert got.pids == {0, FILTERED.pmt, FILTERED.video, FILTERED.sound}


@pytest.mark.parametrize("step", [1, 7, 50])
@pytest.mark.parametrize("number", [1, 2])
def test_program_that_players_follow_continues(step: int, number: int) -> None:
    """Two programs are sent. The one that the last source had is continued, whichever tables come first."""
    layout = Layout(program=1, pmt=0x1E01, listed=(2,)) if number == 1 else Layout(program=1, pmt=0x1E01)
    sent = multiplex(ONE, attrs.evolve(layout, listed=()))
    new = two_programs(multiplex(OTHER, attrs.evolve(layout, listed=(2,), origin=10**9)), multiplex(ONE, SECOND), step)
    rig = rig_with_program(1)
    got = receive(rig.feed(sent[: at_unit(sent, layout, 20)]).next().feed(new).end(), layout)
    assert rig.kinds == [SpliceKind.SHIFTED]
    assert {unit.data for unit in OTHER.pictures} <= {unit.data for unit in got.video}


def test_other_programs_of_a_joined_source_change_nothing() -> None:
    """Tables of a program that is not followed come, with new versions, while the source is rewritten."""
    layout = Layout(program=1, pmt=0x1E01)
    sent = multiplex(ONE, layout)
    programme = make_programme(7, 200)
    first = multiplex(programme, attrs.evolve(layout, listed=(2,), origin=10**9))
    rig = rig_with_program(1).feed(sent[: at_unit(sent, layout, 20)]).next()
    rig.feed(two_programs(first, multiplex(make_programme(8, 200), SECOND), 5))
    got = receive(rig.end(), layout)
    assert rig.kinds == [SpliceKind.SHIFTED]
    assert got.pids == {0, layout.pmt, layout.video, layout.sound}
    assert {unit.data for unit in programme.pictures} <= {unit.data for unit in got.video}


def test_program_is_chosen_once_for_all() -> None:
    """The index of the players, the content checks and the end of the source name the same program."""
    seen: list[int | None] = []
    rig = ParserRig().next(0.0)
    rig.parser.observer = lambda _now, _packets, program: seen.append(None if program is None else program.program)
    data = multiplex(ONE, FILTERED)
    rig.feed(data[: at_unit(data, FILTERED, 30)], 0.0)
    assert seen == [3]
    rig.next(1.0)
    rig.parser.observer = lambda _now, _packets, program: seen.append(None if program is None else program.program)
    rig.feed(data[at_unit(data, FILTERED, 8) :], 1.0)
    assert rig.kinds[-1:] == [SpliceKind.OVERLAP]
    assert seen == [3, 3]


# late tables


def test_first_source_begins_at_a_picture_before_its_late_map() -> None:
    data = multiplex(ONE, Layout(tables_every=1000))
    pat, pmt, pictures = data[:SIZE], data[SIZE : 2 * SIZE], data[2 * SIZE :]
    rig = ParserRig().next(0.0).feed(pat, 0.0)
    cut = at_unit(pictures, Layout(), 30)
    for number in range(3):
        rig.feed(pictures[number * cut // 3 // SIZE * SIZE : (number + 1) * cut // 3 // SIZE * SIZE], number * 1.0)
        assert rig.out == [], "players cannot start before"
    rig.feed(pmt + pictures[cut:], 3.5)
    assert tables_of(rig.first_access.psi) == tables_of(pat + pmt)
    assert rig.first_access.data.startswith(pictures[:SIZE])
    assert rig.data.startswith(pat + pictures[: 4 * SIZE]), "unchanged"


@pytest.mark.parametrize("begin", [0, 1, 5, 12])
def test_counters_of_the_tables_continue_into_the_stream(begin: int) -> None:
    """The tables are known from the end of the first packets. A player starts at their beginning."""
    data = multiplex(ONE, Layout(tables_every=3, counter=9))
    data = data[at_unit(data, Layout(), begin) :]
    rig = ParserRig().next(0.0).feed(data, 0.0)
    first = rig.out.index(rig.first_access)
    got = receive(rig.first_access.psi + b"".join(chunk.data for chunk in rig.out[first:]), Layout())
    assert len(got.video) > 30


@pytest.mark.parametrize(("begin", "latest"), [(2 * SIZE, 0.6), (SIZE, 0.6)])
def test_source_without_a_pat_passes_soon(begin: int, latest: float) -> None:
    data = multiplex(ONE, Layout(tables_every=1000))[begin:]
    rig = ParserRig().next(0.0)
    rig.feed(data[: 50 * SIZE], 0.0).feed(data[50 * SIZE : 100 * SIZE], latest)
    assert rig.data.startswith(data[: 50 * SIZE])


def test_source_without_a_map_passes_at_last() -> None:
    data = multiplex(ONE, Layout(tables_every=1000))
    data = data[:SIZE] + data[2 * SIZE :]
    rig = ParserRig().next(0.0)
    for number in range(9):
        assert (rig.data == b"") == (number < 9)
        rig.feed(data[number * 16 * SIZE : (number + 1) * 16 * SIZE], number * 1.0)
    assert rig.data.startswith(data[: 100 * SIZE])


def test_body_that_ends_before_its_tables_is_complete_passes_whole() -> None:
    """A short programme: its PAT names programs that never come, and it is read in one piece."""
    data = multiplex(ONE, attrs.evolve(FILTERED, tables_every=1000))
    for body in (data, data[2 * SIZE :]):
        rig = ParserRig().next(0.0).feed(body, 0.0)
        assert rig.out == []
        rig.out += rig.parser.finish(0.0)
        assert rig.data == body


def test_waiting_for_tables_is_bounded_in_bytes() -> None:
    pat = multiplex(ONE, Layout())[:SIZE]
    filler = b"\x47\x01\x00\x10".ljust(SIZE, b"\xaa") * 5000
    rig = ParserRig().next(0.0).feed(pat, 0.0)
    for _ in range(17):
        rig.feed(filler, 0.0)
    assert len(rig.data) < 17 * len(filler)
    for _ in range(5):
        rig.feed(filler, 0.0)
    assert rig.data


def test_programs_that_come_late_are_waited_for_only_shortly() -> None:
    """The PAT names an earlier program. It does not come, and the tables are not repeated either."""
    data = multiplex(ONE, attrs.evolve(FILTERED, tables_every=1000))
    rig = ParserRig().next(0.0).feed(data[: 60 * SIZE], 0.0)
    assert rig.out == []
    rig.feed(data[60 * SIZE :], 0.5)
    assert tables_of(rig.first_access.psi) == tables_of(data[: 2 * SIZE])
