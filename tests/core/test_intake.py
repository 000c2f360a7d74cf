"""From bytes cut anywhere to blocks of whole packets."""

from __future__ import annotations

from itertools import pairwise

from fakes import Programme, packets
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.coalesce import BLOCK_LIMIT
from m3uproxy.core.intake import Intake


def run(intake: Intake, data: bytes, cuts: list[int]) -> tuple[bytes, list[bytes]]:
    """All that comes out, and the starts of the blocks that are access points."""
    blocks = []
    bounds = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for begin, end in pairwise(bounds):
        blocks += intake.feed(data[begin:end])
    blocks += intake.flush()
    return b"".join(block.data for block in blocks), [block.data[:188] for block in blocks if block.access]


@given(st.lists(st.integers(1, 9000), max_size=12))
def test_cuts_in_the_body_make_no_difference(cuts: list[int]) -> None:
    programme = Programme()
    data = b"".join(programme.group() for _ in range(3))
    whole, points = run(Intake(), data, cuts)
    assert whole == data
    assert len(points) == 3


def test_waits_for_a_block_and_closes_at_the_limit() -> None:
    programme = Programme()
    intake = Intake()
    fed, blocks = 0, []
    while not blocks:
        assert fed < BLOCK_LIMIT
        data = programme.group()
        blocks = intake.feed(data)
        fed += len(data)
    assert fed >= BLOCK_LIMIT
    assert sum(len(block.data) for block in blocks) == fed


def test_the_tables_of_an_access_point_come_with_it() -> None:
    programme = Programme()
    intake = Intake()
    tables = programme.tables()
    intake.feed(tables)
    intake.feed(programme.picture(key=True))
    before, block = intake.flush()
    assert before.data == tables
    assert block.access
    assert block.psi == tables


def test_the_next_source_starts_afresh() -> None:
    first, second = Programme(b"A"), Programme(b"B")
    intake = Intake()
    good = first.group()
    intake.feed(good)
    intake.flush()
    more = first.picture()
    intake.feed(more + first.picture()[:100])
    assert intake.packets == len(good) // 188
    left = intake.next_source()
    assert b"".join(block.data for block in left) == more
    assert intake.packets == 0
    fresh = second.group()
    blocks = intake.feed(fresh) + intake.flush()
    assert b"".join(block.data for block in blocks) == fresh
    assert not blocks[0].psi
    assert packets(b"".join(block.data for block in blocks))


def test_garbage_gives_nothing() -> None:
    intake = Intake()
    assert intake.feed(b"<html>" * 10_000) == []
    assert intake.flush() == []
    assert intake.packets == 0
