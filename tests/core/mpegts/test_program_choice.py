"""The choice of a program: rules for any order in which tables and streams come."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.mpegts.program_choice import ProgramChoice
from m3uproxy.core.mpegts.psi import ElementaryStream, ProgramMap

H264, AAC = 0x1B, 0x0F


def program(number: int, *, video: bool = True) -> ProgramMap:
    """Return a program with audio, and with video if wanted, on PIDs of its own."""
    streams = [ElementaryStream(AAC, number * 16 + 1, b"")]
    if video:
        streams.insert(0, ElementaryStream(H264, number * 16, b""))
    return ProgramMap(number, streams[0].pid, tuple(streams))


def multiplex(
    choice: ProgramChoice, listed: list[int], sent: list[int], radio: set[int], dice: random.Random, rounds: int = 12
) -> None:
    """Send tables and units of some of the listed programs for some rounds, in any order within a round."""
    choice.set_programs({number: 0x1000 + number for number in listed})
    known: set[int] = set()
    for _ in range(rounds):
        order = [(number, kind) for number in sent for kind in ("map", "units")]
        dice.shuffle(order)
        for number, kind in order:
            if kind == "units":
                for stream in program(number, video=number not in radio).streams:
                    choice.unit_started(stream.pid)
            elif number in known:
                choice.map_repeated(number)
            else:
                known.add(number)
                choice.set_map(number, program(number, video=number not in radio))
        choice.pat_repeated()


PROGRAMS = st.lists(st.integers(1, 60), min_size=1, max_size=8, unique=True)


@given(PROGRAMS, st.data(), st.randoms(use_true_random=False))
def test_first_sent_program_with_video_is_followed(listed: list[int], data: st.DataObject, dice: random.Random) -> None:
    sent = data.draw(st.lists(st.sampled_from(listed), min_size=1, unique=True))
    radio = set(data.draw(st.lists(st.sampled_from(listed), unique=True)))
    choice = ProgramChoice()
    multiplex(choice, listed, sent, radio, dice)
    in_order = [number for number in listed if number in sent]
    with_video = [number for number in in_order if number not in radio]
    assert choice.settled
    assert choice.followed in sent
    if with_video:
        assert choice.followed in with_video
    # Within the first rounds, all that is sent has come.
    assert choice.followed == (with_video or in_order)[0] or len(sent) > 1


@given(PROGRAMS, st.data(), st.randoms(use_true_random=False))
def test_order_within_a_round_makes_no_difference(listed: list[int], data: st.DataObject, dice: random.Random) -> None:
    """All maps come before the first units, as from most multiplexers."""
    sent = data.draw(st.lists(st.sampled_from(listed), min_size=1, unique=True))
    choice = ProgramChoice()
    choice.set_programs({number: 0x1000 + number for number in listed})
    for number in dice.sample(sent, len(sent)):
        choice.set_map(number, program(number))
    for number in dice.sample(sent, len(sent)):
        choice.unit_started(number * 16)
    for number in sent:
        choice.map_repeated(number)
    assert choice.settled
    assert choice.followed == next(number for number in listed if number in sent)


@given(PROGRAMS, st.data(), st.randoms(use_true_random=False))
def test_sent_program_that_players_know_is_preferred(
    listed: list[int], data: st.DataObject, dice: random.Random
) -> None:
    sent = data.draw(st.lists(st.sampled_from(listed), min_size=1, unique=True))
    known = data.draw(st.integers(1, 60))
    choice = ProgramChoice(known)
    multiplex(choice, listed, sent, set(), dice)
    assert choice.followed is not None
    assert (choice.followed == known) == (known in sent) or len(sent) > 1


@given(PROGRAMS, st.randoms(use_true_random=False))
def test_settled_choice_stays_while_the_program_comes(listed: list[int], dice: random.Random) -> None:
    choice = ProgramChoice()
    last = listed[-1]
    multiplex(choice, listed, [last], set(), dice)
    assert (choice.followed, choice.settled) == (last, True)
    multiplex(choice, listed, listed, set(), dice, rounds=200)
    assert choice.followed == last


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_program_that_stops_is_left_for_one_that_comes(listed: list[int], dice: random.Random) -> None:
    choice = ProgramChoice()
    multiplex(choice, listed, listed[:1], set(), dice)
    assert choice.followed == listed[0]
    multiplex(choice, listed, listed[1:2], set(), dice, rounds=40)
    assert choice.followed == listed[0], "it may come back"
    multiplex(choice, listed, listed[1:2], set(), dice, rounds=40)
    assert choice.followed == listed[1]


def test_program_that_the_pat_no_longer_names_is_left() -> None:
    choice = ProgramChoice()
    multiplex(choice, [1, 2], [1], set(), random.Random(1))
    choice.set_programs({2: 0x1002})
    assert choice.followed is None
    choice.set_map(2, program(2))
    assert (choice.followed, choice.settled) == (2, True)


def test_silence_of_all_programs_changes_nothing() -> None:
    choice = ProgramChoice()
    multiplex(choice, [1, 2], [1, 2], set(), random.Random(1))
    for _ in range(500):
        choice.pat_repeated()
    assert choice.followed == 1


def test_units_are_needed_only_while_they_can_change_the_choice() -> None:
    choice = ProgramChoice()
    choice.set_programs({1: 0x1001})
    choice.set_map(1, program(1))
    assert choice.needs_units
    choice.unit_started(17)
    assert choice.needs_units, "the video has not come"
    choice.unit_started(16)
    assert not choice.needs_units
