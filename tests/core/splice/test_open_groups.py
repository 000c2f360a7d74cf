"""Sources whose groups of pictures are open: their random access points are no IDR pictures."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
from test_splicer import AWAY, ONE, OTHER, SplicerRig, at_unit, receive
from ts_programme import PICTURE, Layout, Programme, make_programme, multiplex
from tsbuild import SIZE

from m3uproxy.core.splice.plan import SpliceKind

RATE = 25.0
#: Seconds of a group of :data:`OTHER` at 25 pictures a second.
GROUP = 12 / RATE


def without_idr(programme: Programme, *but: int) -> Programme:
    """Return the programme with recovery points in place of IDR pictures, except for some by their number."""
    pictures = [
        unit if number in but else attrs.evolve(unit, data=unit.data.replace(b"\x65\x88", b"\x41\x9a"))
        for number, unit in enumerate(programme.pictures)
    ]
    return Programme(tuple(pictures), programme.sounds)


OPEN = without_idr(OTHER)
LONG = without_idr(make_programme(11, 300, gop=75, reorder=1))


class LiveRig(SplicerRig):
    """A rig to which sources are fed picture by picture, at the speed of playback."""

    def play(self, data: bytes, layout: Layout, begin: int, end: int, speed: float = 1.0) -> LiveRig:
        """Feed the pictures from ``begin`` to ``end``, with the tables before the first one."""
        self.out += self.splicer.push(data[: 2 * SIZE], self.now)
        for number in range(begin, end):
            piece = data[at_unit(data, layout, number) : at_unit(data, layout, number + 1)]
            self.out += self.splicer.push(piece, self.now)
            self.now += 1 / RATE / speed
        return self


def joined(rig: SplicerRig, programme: Programme, layout: Layout) -> list[int]:
    """Return the numbers of the pictures of a programme that were sent."""
    numbers = {unit.data: number for number, unit in enumerate(programme.pictures)}
    return [numbers[unit.data] for unit in receive(rig.end(), layout).video if unit.data in numbers]


def test_two_recovery_points_are_enough() -> None:
    one, new = multiplex(ONE, Layout()), multiplex(OPEN, AWAY)
    rig = LiveRig().feed(one[: at_unit(one, Layout(), 20)]).next()
    assert isinstance(rig, LiveRig)
    rig.play(new, AWAY, 0, 40)
    assert rig.kinds == [SpliceKind.SHIFTED]
    assert rig.reports[0].waited == pytest.approx(GROUP, abs=0.1)
    assert joined(rig, OPEN, Layout())[0] == 0, "nothing that has come is lost"


def test_idr_picture_between_recovery_points_is_preferred() -> None:
    one = multiplex(ONE, Layout())
    mixed = without_idr(OTHER, 12)
    rig = LiveRig().feed(one[: at_unit(one, Layout(), 20)]).next()
    assert isinstance(rig, LiveRig)
    rig.play(multiplex(mixed, AWAY), AWAY, 0, 40)
    assert joined(rig, mixed, Layout())[0] == 12


def test_single_recovery_point_is_used_after_the_timeout() -> None:
    one, new = multiplex(ONE, Layout()), multiplex(LONG, AWAY)
    rig = LiveRig().feed(one[: at_unit(one, Layout(), 20)]).next()
    assert isinstance(rig, LiveRig)
    rig.play(new, AWAY, 0, 70)
    assert rig.reports[0].waited == pytest.approx(2.0, abs=0.1)
    assert joined(rig, LONG, Layout())[0] == 0


def sent_until(number: int) -> tuple[LiveRig, Layout]:
    """Return a rig to which another encode with the clock of LONG was sent, up to a picture of LONG."""
    other = make_programme(12, 300, gop=75, reorder=1)
    data = multiplex(other, Layout())
    rig = LiveRig().feed(data[: at_unit(data, Layout(), number)]).next()
    assert isinstance(rig, LiveRig)
    return rig, Layout()


SAME_CLOCK = attrs.evolve(AWAY, origin=0)


@pytest.mark.parametrize("speed", [20.0, 500.0])
def test_source_with_the_same_clock_never_goes_back(speed: float) -> None:
    """It begins with 3.4 s that were sent. The second recovery point is the first picture that was not sent."""
    rig, layout = sent_until(145)
    rig.play(multiplex(LONG, SAME_CLOCK), SAME_CLOCK, 60, 200, speed)
    assert rig.kinds == [SpliceKind.LATER]
    assert rig.reports[0].waited < 0.5
    assert joined(rig, LONG, layout)[0] == 150


def test_last_point_before_what_was_sent_is_used_if_it_is_near() -> None:
    """The next one comes after 2.7 s. The two recovery points before it were sent, the last one 0.3 s ago."""
    rig, layout = sent_until(158)
    data = multiplex(LONG, SAME_CLOCK)
    rig.play(data, SAME_CLOCK, 70, 158, 200).play(data, SAME_CLOCK, 158, 215)
    assert rig.kinds == [SpliceKind.SHIFTED]
    assert rig.reports[0].waited == pytest.approx(2.4, abs=0.5)
    assert joined(rig, LONG, layout)[0] == 150


def test_seconds_are_not_repeated_while_the_next_point_is_near() -> None:
    """The last recovery point that was sent is 2.3 s old, and the next one comes after the usual timeout."""
    rig, layout = sent_until(133)
    data = multiplex(LONG, SAME_CLOCK)
    rig.play(data, SAME_CLOCK, 70, 100, 200).play(data, SAME_CLOCK, 100, 160, 1.0)
    assert rig.kinds == [SpliceKind.LATER]
    assert joined(rig, LONG, layout)[0] == 150


def test_source_that_stays_behind_begins_at_once_it_can() -> None:
    """A backup that is six seconds behind, at the speed of playback, cannot be waited for."""
    rig, layout = sent_until(250)
    rig.play(multiplex(LONG, SAME_CLOCK), SAME_CLOCK, 70, 200)
    assert rig.kinds == [SpliceKind.SHIFTED]
    assert joined(rig, LONG, layout)[0] == 75
    assert rig.reports[0].waited < 3.3


def test_pictures_are_shown_at_their_usual_distance() -> None:
    rig, layout = sent_until(145)
    rig.play(multiplex(LONG, SAME_CLOCK), SAME_CLOCK, 60, 200, 500)
    shown = sorted(unit.pts or 0 for unit in receive(rig.end(), layout).video)
    steps = [later - earlier for earlier, later in pairwise(shown)]
    assert steps.count(PICTURE) >= len(steps) - 1, "one picture of the torn group is missing"
    assert max(steps) <= 2 * PICTURE
