"""Sources spliced to one stream, on programmes of numbered units: none twice, none missing, none torn."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ts_programme import (
    PICTURE,
    SOUND,
    WRAP,
    Layout,
    Programme,
    Reception,
    Unit,
    distance,
    make_programme,
    multiplex,
    shift_clock,
    steps,
)
from tsbuild import HEVC, IDR, SIZE, SLICE, Mux, pes

from m3uproxy.core.mpegts.access_index import AccessIndex
from m3uproxy.core.mpegts.align import Aligner
from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.core.splice.splicer import Splicer, SpliceReport, SpliceTimeouts

ONE = make_programme(1, 48)
OTHER = make_programme(2, 48, gop=12, reorder=1)
AWAY = Layout(video=0x300, sound=0x44, pmt=0x20, clock=0x300, program=9, pack=3, origin=50_000 * 90_000, counter=11)


class SplicerRig:
    """A splicer and its output."""

    def __init__(
        self, *, announce_codecs: bool = False, timeouts: SpliceTimeouts | None = None, known: int = 1 << 24
    ) -> None:
        self.out = b""
        self.reports: list[SpliceReport] = []
        self.now = 0.0
        self.splicer = Splicer(
            lambda: self.out[-known // SIZE * SIZE :], self.reports.append, timeouts, announce_codecs
        )

    def feed(self, data: bytes, *, chunk: int = 40, rate: float = 1e7) -> SplicerRig:
        """Feed bytes of the current source, cut at any offset.

        Bytes of an incomplete packet are dropped, as in a torn body.
        """
        aligner = Aligner()
        for at in range(0, len(data), chunk * SIZE):
            piece = data[at : at + chunk * SIZE]
            self.now += len(piece) / rate
            self.out += self.splicer.push(aligner.feed(piece), self.now)
        return self

    def next(self) -> SplicerRig:
        self.out += self.splicer.next_source(self.now)
        return self

    def end(self) -> bytes:
        return self.out + self.splicer.flush(self.now)

    @property
    def kinds(self) -> list[SpliceKind]:
        return [report.kind for report in self.reports]


def receive(data: bytes, layout: Layout) -> Reception:
    return Reception(data, layout.video, layout.sound, layout.clock)


def scrambled(data: bytes, pids: Collection[int] = (0x100, 0x101)) -> bytes:
    """Return the stream with scrambled video and audio. The tables stay clear."""
    out = bytearray(data)
    for at in range(0, len(out), SIZE):
        if (out[at + 1] & 0x1F) << 8 | out[at + 2] in pids:
            out[at + 3] |= 0x80
    return bytes(out)


def at_unit(data: bytes, layout: Layout, number: int) -> int:
    """Return the offset of the packet in which the unit of a picture starts."""
    found = -1
    for at in range(0, len(data), SIZE):
        starts = data[at + 1] & 0x40 and (data[at + 1] & 0x1F) << 8 | data[at + 2] == layout.video
        found += bool(starts)
        if starts and found == number:
            return at
    raise AssertionError("no such picture")


pids = st.lists(st.integers(0x20, 0x1FFE), min_size=4, max_size=4, unique=True)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    video, sound, pmt, own = draw(pids)
    return Layout(
        video=video,
        sound=sound,
        pmt=pmt,
        clock=draw(st.sampled_from([video, video, sound, own])),
        program=draw(st.integers(1, 0xFFFF)),
        pack=draw(st.integers(1, 6)),
        spread=draw(st.booleans()),
        origin=draw(st.sampled_from([0, 1 << 32, WRAP - 20 * PICTURE, WRAP - 40 * PICTURE, 12345])),
        padding=draw(st.sampled_from([0, 0, 3])),
        tables_every=draw(st.integers(1, 9)),
        counter=draw(st.integers(0, 15)),
    )


def assert_shifted(got: Reception, sent: Programme, new: Programme, report: SpliceReport) -> None:
    """Check that the pictures of one programme and then of the other arrive on one timeline."""
    own = {unit.data: n for n, unit in enumerate(sent.pictures)}
    new_own = {unit.data: n for n, unit in enumerate(new.pictures)}
    split = next(n for n, unit in enumerate(got.video) if unit.data in new_own)
    before = [own[unit.data] for unit in got.video[:split]]
    after = [new_own[unit.data] for unit in got.video[split:]]
    assert before == list(range(split))
    assert new.pictures[after[0]].key
    assert after == list(range(after[0], len(new.pictures)))
    assert all(step > 0 for step in steps([unit.dts for unit in got.video]))
    pts = [unit.pts for unit in got.video]
    highest = max(pts[:split], key=lambda each: distance(each or 0, pts[0] or 0))
    lowest = min(pts[split:], key=lambda each: distance(each or 0, pts[0] or 0))
    gap = distance(lowest or 0, highest or 0)
    clock_held_back = report.clock_offset is not None and abs(report.clock_offset - report.offset) > 1e-6
    assert gap == PICTURE or (gap > PICTURE and clock_held_back)


def assert_audio_continues(got: Reception, sent: Programme, new: Programme, gap: int = SOUND) -> None:
    frames = got.frames()
    own = {unit.data: n for n, unit in enumerate(sent.sounds)}
    new_own = {unit.data: n for n, unit in enumerate(new.sounds)}
    split = next((n for n, unit in enumerate(frames) if unit.data in new_own), len(frames))
    assert [own[unit.data] for unit in frames[:split]] == list(range(split))
    after = [new_own[unit.data] for unit in frames[split:]]
    assert after == list(range(after[0], len(new.sounds)))
    taken = [step for step in steps([unit.pts for unit in frames]) if step != SOUND]
    assert len(taken) <= 1
    assert all(-90 <= step - SOUND < gap for step in taken)


class TestShift:
    def test_other_encode_on_other_pids_with_another_clock(self) -> None:
        one, other = multiplex(ONE, Layout()), multiplex(OTHER, AWAY)
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next().feed(other)
        got = receive(rig.end(), Layout())
        assert rig.kinds == [SpliceKind.SHIFTED]
        assert_shifted(got, ONE, OTHER, rig.reports[0])
        assert_audio_continues(got, ONE, OTHER, 4 * SOUND)
        assert got.pids == {0, 0x1000, 0x100, 0x101}

    @given(layouts(), layouts(), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 60))
    def test_any_cut_of_any_layout(self, one: Layout, other: Layout, cut: int, begin: int, chunk: int) -> None:
        other = attrs.evolve(other, origin=other.origin + 10**9)
        data, new = multiplex(ONE, one), multiplex(OTHER, other)
        first, last = at_unit(data, one, 8), at_unit(data, one, 46)
        cut = first + cut % (last - first)
        begin = begin % at_unit(new, other, 20)
        rig = SplicerRig().feed(data[:cut], chunk=chunk).next().feed(new[begin:], chunk=chunk)
        got = receive(rig.end(), one)
        assert rig.kinds == [SpliceKind.SHIFTED]
        assert_shifted(got, ONE, OTHER, rig.reports[0])
        # The audio before the first picture of the new source limits how small the gap can be.
        assert_audio_continues(got, ONE, OTHER, 40 * SOUND)
        assert got.pids <= {0, 0x1FFF, one.pmt, one.video, one.sound, one.clock}

    def test_audio_continues_at_the_next_frame_if_present(self) -> None:
        one, other = multiplex(ONE, Layout()), multiplex(OTHER, AWAY)
        for number in range(10, 40):
            cut = at_unit(one, Layout(), number)
            rig = SplicerRig().feed(one[:cut]).next().feed(other[at_unit(other, AWAY, 3) :])
            got = receive(rig.end(), Layout())
            assert_shifted(got, ONE, OTHER, rig.reports[0])
            assert_audio_continues(got, ONE, OTHER, SOUND)

    @pytest.mark.exhaustive
    def test_cut_at_every_byte(self) -> None:
        """Cut at each byte of some pictures and an audio unit. Torn packets and torn units are never sent."""
        programme = make_programme(3, 14, picture=300)
        layout = Layout(spread=True, pack=6)
        data, new = multiplex(programme, layout), multiplex(make_programme(4, 10, picture=200), AWAY)
        first = at_unit(data, layout, 5)
        for cut in range(first, first + 9 * SIZE):
            got = receive(SplicerRig().feed(data[:cut], chunk=7).next().feed(new).end(), layout)
            assert steps([unit.dts for unit in got.video])
            assert got.frames()

    def test_clock_never_steps_back_with_a_longer_delay(self) -> None:
        other = shift_clock(multiplex(OTHER, AWAY), -100_000)
        one = multiplex(ONE, Layout())
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next().feed(other)
        got = receive(rig.end(), Layout())
        assert_shifted(got, ONE, OTHER, rig.reports[0])
        report = rig.reports[0]
        assert report.clock_offset is not None
        assert report.clock_offset > report.offset

    def test_clock_is_never_later_than_the_timestamps(self) -> None:
        """The clock of the first source ran late. The pictures of the next source must wait for it."""
        one, other = shift_clock(multiplex(ONE, Layout()), 60_000), multiplex(OTHER, AWAY)
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next().feed(other)
        got = receive(rig.end(), Layout())
        assert len(got.ahead) == len(got.video)
        assert max(got.ahead[:19]) < 0
        assert min(got.ahead[19:]) > 0
        assert_shifted(got, ONE, OTHER, rig.reports[0])

    def test_clock_moves_between_audio_and_its_own_pid(self) -> None:
        """The first source has its clock on the audio PID.

        The second source has it on a separate PID with the same number.
        """
        sounding = Layout(clock=0x101, pack=2)
        other = attrs.evolve(AWAY, clock=0x101)
        one, new = multiplex(ONE, sounding), multiplex(OTHER, other)
        for chunk in (1, 3, 40):
            rig = SplicerRig().feed(one[: at_unit(one, sounding, 20)]).next().feed(new, chunk=chunk)
            got = receive(rig.end(), sounding)
            assert_shifted(got, ONE, OTHER, rig.reports[0])
            assert len(got.clocks) > 30

    def test_access_point_is_sent_soon_at_live_speed(self) -> None:
        one, other = multiplex(ONE, Layout()), multiplex(OTHER, AWAY)
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next()
        before = len(rig.out)
        for number in range(10):
            begin, end = at_unit(other, AWAY, number) if number else 0, at_unit(other, AWAY, number + 1)
            rig.out += rig.splicer.push(other[begin:end], number * 0.04)
            if len(rig.out) > before:
                break
        assert rig.kinds == [SpliceKind.SHIFTED]
        assert rig.reports[0].waited <= 0.12

    def test_complete_audio_unit_is_sent_at_the_end_of_a_source(self) -> None:
        one = multiplex(ONE, Layout())
        start = at_unit(one, Layout(), 20)
        sound = next(at for at in range(start, len(one), SIZE) if one[at + 1 : at + 3] == b"\x41\x01")
        rig = SplicerRig().feed(one[: sound + 2 * SIZE])
        before = receive(rig.out, Layout())
        after = receive(rig.next().out, Layout())
        assert len(after.sound) == len(before.sound) + 1
        assert len(after.video) == len(before.video) == 20

    def test_long_reordering_leaves_no_gap(self) -> None:
        """Pictures are decoded long before they are presented. The DTS of the first ones are moved."""
        late = Programme(tuple(attrs.evolve(unit, pts=unit.pts + 4 * PICTURE) for unit in OTHER.pictures), OTHER.sounds)
        one = multiplex(ONE, Layout())
        for number in range(12, 30):
            rig = SplicerRig().feed(one[: at_unit(one, Layout(), number)]).next().feed(multiplex(late, AWAY))
            got = receive(rig.end(), Layout())
            assert_shifted(got, ONE, late, rig.reports[0])
            assert all(distance(unit.pts or 0, unit.dts or 0) >= 0 for unit in got.video)

    @pytest.mark.parametrize("chunk", [1, 3, 40])
    def test_leading_pictures_are_dropped_and_their_clock_kept(self, chunk: int) -> None:
        pictures = list(ONE.pictures)
        # An open group: two pictures after the key picture are shown before it.
        key = next(n for n, unit in enumerate(pictures) if unit.key and n > 8)
        for n in (key + 1, key + 2):
            pictures[n] = attrs.evolve(pictures[n], pts=pictures[key].pts - (key + 3 - n) * 100)
        new = Programme(tuple(pictures), ONE.sounds)
        data = multiplex(new, AWAY)
        one = multiplex(OTHER, Layout())
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next()
        rig.feed(data[at_unit(data, AWAY, key - 2) : at_unit(data, AWAY, key + 1) + SIZE], chunk=chunk)
        assert rig.kinds == [SpliceKind.SHIFTED], "the key frame must not wait for them"
        rig.feed(data[at_unit(data, AWAY, key + 1) + SIZE :], chunk=chunk)
        got = receive(rig.end(), Layout())
        inputs = [unit.data for unit in got.video]
        at = inputs.index(pictures[key].data)
        assert inputs[at + 1] == pictures[key + 3].data
        assert all(step <= 2 * PICTURE for step in steps(got.clocks)), "the clock of the dropped pictures"

    def test_an_access_point_before_the_first_tables_counts(self) -> None:
        data = multiplex(OTHER, attrs.evolve(AWAY, tables_every=20))
        key = next(n for n, unit in enumerate(OTHER.pictures) if unit.key and n)
        tables = data.index(b"\x47\x40\0", at_unit(data, AWAY, key))
        assert tables > at_unit(data, AWAY, key + 1)
        one = multiplex(ONE, Layout())
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next().feed(data[at_unit(data, AWAY, key) :])
        got = receive(rig.end(), Layout())
        assert OTHER.pictures[key].data in [unit.data for unit in got.video]

    @pytest.mark.parametrize("clear", [0, 10, 60])
    def test_splice_after_scrambled_pictures(self, clear: int) -> None:
        """The scrambled pictures last longer than the detection.

        Their timestamps are unreadable, but their time counts.
        """
        programme = make_programme(7, 120)
        data = multiplex(programme, Layout())
        begin = at_unit(data, Layout(), clear)
        data = data[:begin] + scrambled(data[begin : at_unit(data, Layout(), 110)], {0x100})
        got = receive(SplicerRig().feed(data).next().feed(multiplex(OTHER, AWAY)).end(), Layout())
        new = {unit.data: unit for unit in OTHER.pictures}
        new_units = [unit for unit in got.video if unit.data in new]
        assert got.pids == {0, 0x1000, 0x100, 0x101}
        assert len(new_units) == len(OTHER.pictures)
        assert new_units[0].pts is not None
        due = max(unit.pts for unit in programme.pictures[:110])
        assert abs(distance(new_units[0].pts, due)) < 5 * PICTURE
        assert all(step > 0 for step in steps([unit.pts for unit in got.frames()]))

    def test_audio_only(self) -> None:
        layout = Layout(video=0x77, clock=0x101)
        one, other = (Programme((), make_programme(n, 60).sounds) for n in (5, 6))
        head = [audio_only(each, lay) for each, lay in ((one, layout), (other, attrs.evolve(layout, origin=10**9)))]
        rig = SplicerRig().feed(head[0][: len(head[0]) // 2]).next().feed(head[1])
        got = receive(rig.end(), layout)
        assert rig.kinds == [SpliceKind.SHIFTED]
        assert_audio_continues(got, one, other, 1)

    def test_source_after_source(self) -> None:
        rig, programmes = SplicerRig(), [make_programme(n, 30) for n in range(20, 26)]
        for n, programme in enumerate(programmes):
            layout = attrs.evolve(AWAY, video=0x400 + n, clock=0x400 + n, origin=n * 1_000_000_007) if n else Layout()
            rig.feed(multiplex(programme, layout)[: 120 * SIZE + 50]).next()
        got = receive(rig.end(), Layout())
        assert len(rig.reports) == 5
        assert all(step > 0 for step in steps([unit.dts for unit in got.video]))
        assert all(step > 0 for step in steps([unit.pts for unit in got.frames()]))


def audio_only(programme: Programme, layout: Layout) -> bytes:
    """Return a stream of audio only, as radio is sent."""
    mux, out = Mux(), b""
    for first in range(0, len(programme.sounds), layout.pack):
        if first % (layout.pack * 4) == 0:
            out += mux.pat({1: layout.pmt})
            out += mux.pmt(layout.pmt, 1, [(layout.sound_type, layout.sound)], pcr_pid=layout.sound)
        frames = programme.sounds[first : first + layout.pack]
        pts = (frames[0].pts + layout.origin + 90_000) % WRAP
        made = pes(b"".join(frame.data for frame in frames), stream_id=0xC0, pts=pts)
        out += mux.unit(layout.sound, made, pcr=(pts - 27_000) % WRAP * 300)
    return out


def assert_exact(got: Reception, programme: Programme, first: int = 0) -> None:
    """Check that all units arrive once, from picture ``first`` on."""
    assert [unit.data for unit in got.video] == [unit.data for unit in programme.pictures[first:]]
    assert [unit.data for unit in got.frames()] == [unit.data for unit in programme.sounds]
    begin = got.video[0].dts or 0
    expected = [unit.dts - programme.pictures[first].dts for unit in programme.pictures[first:]]
    assert [distance(unit.dts or 0, begin) for unit in got.video] == expected
    assert all(step in (SOUND, SOUND + 1, SOUND - 1) for step in steps([unit.pts for unit in got.frames()]))


class TestOverlap:
    @given(layouts(), layouts(), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 60), st.booleans())
    def test_remuxed_and_restamped_replay(
        self, one: Layout, other: Layout, cut: int, back: int, chunk: int, kept: bool
    ) -> None:
        """Every unit arrives once, with any two multiplexes."""
        other = attrs.evolve(other, origin=one.origin) if kept else other
        data, new = multiplex(ONE, one), multiplex(ONE, other)
        first, last = at_unit(data, one, 12), at_unit(data, one, 38)
        cut = first + cut % (last - first)
        shown = sum(at_unit(data, one, n) <= cut for n in range(48)) - 1
        begin = at_unit(new, other, max(shown - 5 - back % 7, 0))
        rig = SplicerRig().feed(data[:cut], chunk=chunk).next().feed(new[begin:], chunk=chunk)
        got = receive(rig.end(), one)
        assert rig.kinds == [SpliceKind.OVERLAP]
        assert_exact(got, ONE)
        assert got.pids <= {0, 0x1FFF, one.pmt, one.video, one.sound, one.clock}

    def test_repeated_replays(self) -> None:
        data = multiplex(ONE, Layout())
        rig, at = SplicerRig(), 0
        for number in range(10, 48, 4):
            rig.feed(data[at : at_unit(data, Layout(), number) + 100]).next()
            at = at_unit(data, Layout(), max(number - 7, 0))
        got = receive(rig.feed(data[at:]).end(), Layout())
        assert set(rig.kinds) == {SpliceKind.OVERLAP}
        assert_exact(got, ONE)

    @pytest.mark.parametrize(("seconds", "kind"), [(1.0, SpliceKind.OVERLAP), (5.0, SpliceKind.SHIFTED)])
    def test_burst_replay_is_waited_for_and_live_loop_is_not(self, seconds: float, kind: SpliceKind) -> None:
        """Five seconds, four of them sent before, arrive with other timestamps: in one second or in five."""
        programme = make_programme(3, 150)
        layout, again = Layout(), Layout(origin=99_000_000)
        data, replay = multiplex(programme, layout), multiplex(programme, again)
        rig = SplicerRig().feed(data[: at_unit(data, layout, 125)]).next()
        replay = replay[at_unit(replay, again, 25) :]
        rig.feed(replay, chunk=4, rate=len(replay) / seconds)
        (report,) = rig.reports
        assert report.kind is kind
        assert report.waited < 2

    def test_restamped_loop(self) -> None:
        """The programme repeats every 16 pictures, so the replay fits in several positions.

        The splicer must not wait for the oldest.
        """
        pictures = tuple(attrs.evolve(unit, data=ONE.pictures[n % 16].data) for n, unit in enumerate(ONE.pictures))
        loop = attrs.evolve(ONE, pictures=pictures)
        other = Layout(origin=777_777_777)
        data, new = multiplex(loop, Layout()), multiplex(loop, other)
        rig = SplicerRig().feed(data[: at_unit(data, Layout(), 40)]).next()
        rig.feed(new[at_unit(new, other, 26) :], chunk=5)
        assert rig.kinds == [SpliceKind.OVERLAP]
        assert rig.reports[0].repeated == 13
        assert_exact(receive(rig.end(), Layout()), loop)

    def test_replay_begins_with_a_unit_sent_damaged(self) -> None:
        pictures = list(ONE.pictures)
        pictures[12] = attrs.evolve(pictures[12], data=pictures[12].data[:40])
        damaged = Programme(tuple(pictures), ONE.sounds)
        data, new = multiplex(damaged, Layout()), multiplex(ONE, Layout())
        rig = SplicerRig().feed(data[: at_unit(data, Layout(), 21)]).next().feed(new[at_unit(new, Layout(), 12) :])
        assert_exact(receive(rig.end(), Layout()), damaged)

    def test_replay_begins_before_the_known_past(self) -> None:
        data = multiplex(ONE, Layout())
        rig = SplicerRig(known=60 * SIZE).feed(data[: at_unit(data, Layout(), 40) + 99]).next().feed(data)
        assert_exact(receive(rig.end(), Layout()), ONE)
        assert rig.kinds == [SpliceKind.OVERLAP]

    @pytest.mark.parametrize(("origin", "period"), [(0, 16), (WRAP - 20 * PICTURE, 60), (777, 60)])
    def test_black_pictures_and_silence(self, origin: int, period: int) -> None:
        """Each picture occurs at least twice and all audio frames are equal.

        With equal timestamps the period is shorter.
        """
        black = Programme(
            tuple(
                attrs.evolve(unit, data=(IDR if unit.key else SLICE) + bytes([1 + n % period // 2]))
                for n, unit in enumerate(ONE.pictures)
            ),
            tuple(attrs.evolve(unit, data=ONE.sounds[0].data) for unit in ONE.sounds),
        )
        other = Layout(origin=origin, pack=2)
        data, new = multiplex(black, Layout()), multiplex(black, other)
        for number in range(20, 44, 3):
            rig = SplicerRig().feed(data[: at_unit(data, Layout(), number) + 10]).next()
            rig.feed(new[at_unit(new, other, number - 13) :])
            assert_exact(receive(rig.end(), Layout()), black)

    def test_other_encode_with_equal_timestamps_is_not_an_overlap(self) -> None:
        other = Programme(make_programme(9, 48).pictures, make_programme(9, 48).sounds)
        data, new = multiplex(ONE, Layout()), multiplex(other, Layout())
        rig = SplicerRig().feed(data[: at_unit(data, Layout(), 21)]).next().feed(new[at_unit(new, Layout(), 9) :])
        got = receive(rig.end(), Layout())
        assert rig.kinds == [SpliceKind.LATER]
        assert_shifted(got, ONE, other, rig.reports[0])
        first = next(unit for unit in got.video if unit.data in {each.data for each in other.pictures})
        assert first.data == other.pictures[24].data, "the first access point not sent yet"
        assert rig.reports[0].offset == pytest.approx(-2 * PICTURE / 90_000, abs=3 * PICTURE / 90_000)

    def test_pictures_with_equal_beginnings_are_not_an_overlap(self) -> None:
        """One picture differs only in its last byte."""
        pictures = list(ONE.pictures)
        pictures[18] = attrs.evolve(pictures[18], data=pictures[18].data[:-1] + b"\x01")
        data, new = multiplex(ONE, Layout()), multiplex(Programme(tuple(pictures), ONE.sounds), Layout())
        rig = SplicerRig().feed(data[: at_unit(data, Layout(), 21)]).next().feed(new[at_unit(new, Layout(), 16) :])
        rig.end()
        assert SpliceKind.OVERLAP not in rig.kinds

    @given(st.integers(0, 200), st.integers(1, 6), st.integers(1, 6))
    def test_audio_only(self, cut: int, pack: int, other_pack: int) -> None:
        programme = Programme((), make_programme(5, 80).sounds)
        layout = Layout(video=0x77, clock=0x101, pack=pack)
        other = attrs.evolve(layout, pack=other_pack, sound=0x55, clock=0x55, origin=4242)
        data, new = audio_only(programme, layout), audio_only(programme, other)
        assume(len(data) // 2 + cut * 50 < len(data))
        where = (len(data) // 2 + cut * 50) / len(data)
        begin = int(len(new) * (where - 0.3)) // SIZE * SIZE
        rig = SplicerRig().feed(data[: int(len(data) * where)]).next().feed(new[begin:])
        got = receive(rig.end(), layout)
        assert rig.kinds == [SpliceKind.OVERLAP]
        assert [unit.data for unit in got.frames()] == [unit.data for unit in programme.sounds]


class TestChangeWithinASource:
    def test_new_pids_and_times_within_a_source(self) -> None:
        """An advertisement has new tables and PIDs. It continues on the known tracks; its own jump in time stays."""
        advert = attrs.evolve(AWAY, video=0x555, sound=0x556, pmt=0x557, clock=0x555, origin=AWAY.origin + 900_000)
        break_ = make_programme(31, 20)
        new = multiplex(OTHER, AWAY)[: at_unit(multiplex(OTHER, AWAY), AWAY, 30)] + multiplex(break_, advert)
        one = multiplex(ONE, Layout())
        for chunk in (1, 7, 20):
            rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next().feed(new, chunk=chunk)
            got = receive(rig.end(), Layout())
            assert rig.kinds == [SpliceKind.SHIFTED]
            assert [unit.data for unit in got.video[-20:]] == [unit.data for unit in break_.pictures]
            jump = [step for step in steps([unit.dts for unit in got.video]) if step > 10 * PICTURE]
            assert jump == [900_000 - 29 * PICTURE]
            assert got.pids == {0, 0x1000, 0x100, 0x101}

    def test_new_codec_within_a_source(self) -> None:
        advert = attrs.evolve(AWAY, video=0x555, clock=0x555, video_type=HEVC, origin=AWAY.origin + 900_000)
        new = multiplex(OTHER, AWAY) + multiplex(make_programme(31, 20), advert)
        one = multiplex(ONE, Layout())
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next().feed(new)
        rig.end()
        assert rig.kinds == [SpliceKind.SHIFTED, SpliceKind.CODEC_CHANGE]
        assert rig.reports[1].changed == ("H.264 to HEVC",)


class TestOtherCodecs:
    def test_source_passes_unchanged_and_is_reported(self) -> None:
        hevc = attrs.evolve(AWAY, video_type=HEVC)
        one, other = multiplex(ONE, Layout()), multiplex(OTHER, hevc)
        rig = SplicerRig().feed(one[: at_unit(one, Layout(), 20)]).next()
        before = len(rig.out)
        rig.feed(other)
        assert rig.kinds == [SpliceKind.CODEC_CHANGE]
        assert rig.reports[0].changed == ("H.264 to HEVC",)
        assert rig.end()[before:] == other

    def test_codecs_are_announced_on_the_known_pids(self) -> None:
        hevc = attrs.evolve(AWAY, video_type=HEVC)
        one, other = multiplex(ONE, Layout()), multiplex(OTHER, hevc)
        rig = SplicerRig(announce_codecs=True).feed(one[: at_unit(one, Layout(), 20)]).next()
        before = len(rig.out)
        got = receive(rig.feed(other).end(), Layout())
        assert rig.kinds == [SpliceKind.CODEC_CHANGE]
        assert all(step > 0 for step in steps([unit.dts for unit in got.video]))
        index = AccessIndex()
        index.scan(rig.out[before:])
        assert index.program_map is not None
        assert [(each.stream_type, each.pid) for each in index.program_map.streams] == [(HEVC, 0x100), (0x0F, 0x101)]
        versions = {rig.out[at + 10] >> 1 & 31 for at in range(0, len(rig.out), SIZE) if rig.out[at + 1] == 0x50}
        assert versions == {0, 1}


class TestUnchanged:
    def test_first_source_passes_unchanged(self) -> None:
        data = multiplex(ONE, Layout())
        rig = SplicerRig().next().feed(data)
        assert rig.end() == data
        assert rig.kinds == [SpliceKind.PLAIN]

    def test_scrambled_source_passes_unchanged(self) -> None:
        data = scrambled(multiplex(ONE, Layout()))
        one = multiplex(OTHER, Layout())
        rig = SplicerRig(timeouts=SpliceTimeouts(total=1)).feed(one[: at_unit(one, Layout(), 20)]).next()
        before = len(rig.out)
        rig.feed(data, rate=len(data) / 4)
        assert sorted_packets(rig.end()[before:]) == sorted_packets(data)

    @pytest.mark.parametrize("alike", [True, False])
    def test_source_after_a_scrambled_one_passes_at_once(self, alike: bool) -> None:
        first, second = scrambled(multiplex(OTHER, Layout())), multiplex(ONE, Layout())
        second = scrambled(second) if alike else second
        rig = SplicerRig().feed(first).next()
        before = len(rig.out)
        rig.feed(second)
        assert [(report.kind, report.waited) for report in rig.reports] == [(SpliceKind.PLAIN, 0.0)]
        assert sorted_packets(rig.end()[before:]) == sorted_packets(second)

    def test_source_without_tables_passes_unchanged(self) -> None:
        noise = b"".join(unit_packets(unit) for unit in ONE.pictures)
        one = multiplex(OTHER, Layout())
        rig = SplicerRig(timeouts=SpliceTimeouts(total=1)).feed(one[: at_unit(one, Layout(), 20)]).next()
        before = len(rig.out)
        rig.feed(noise, rate=len(noise) / 4)
        assert rig.end()[before:] == noise
        assert rig.kinds == [SpliceKind.PLAIN]

    def test_held_bytes_stay_below_the_limit(self) -> None:
        one = multiplex(ONE, Layout())
        rig = SplicerRig(timeouts=SpliceTimeouts(max_bytes=100 * SIZE)).feed(one[: at_unit(one, Layout(), 20)]).next()
        for _ in range(40):
            rig.feed(b"\x47\x1f\xff\x10".ljust(SIZE, b"\xff") * 10)
            assert rig.splicer.held_bytes <= 110 * SIZE


def unit_packets(unit: Unit) -> bytes:
    return Mux().unit(0x123, pes(unit.data))


def sorted_packets(data: bytes) -> list[bytes]:
    return sorted(data[at : at + SIZE] for at in range(0, len(data), SIZE))
