"""Replays of a provider that closes at any byte: unchanged, multiplexed again, or with other timestamps.

The replays are made by the test provider, which shares no code with the package. Every unit of the broadcast must
arrive once, on one timeline.
"""

from __future__ import annotations

import random
from functools import cache

import attrs
import pytest
from replays import frames_across, from_first_units, units_of
from ts_programme import SOUND, WRAP, Programme, Reception, distance, make_programme
from tsbuild import AAC, Mux, pes

from m3uproxy.core.mpegts.align import Aligner
from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.core.splice.splicer import Splicer, SpliceReport
from m3uproxy.provider.clip import PACKET, load_clip
from m3uproxy.provider.multiplex import Layout
from m3uproxy.provider.remux import Change, Remux, Restamp
from m3uproxy.provider.timeline import Timeline

CLIP = load_clip()
#: Bytes of the clip in a second.
SECOND = len(CLIP.data) / CLIP.seconds
KINDS = ("as it was", "remuxed", "restamped", "wrapped", "remuxed, restamped", "remuxed, wrapped")


@attrs.frozen
class ConnectionBody:
    """The body of one connection: a replay at once, then live data at the speed of playback."""

    replay: bytes
    live: bytes


class ReplayingProvider:
    """A provider whose connections begin with some seconds of the connection before."""

    def __init__(self, kind: str, seed: int) -> None:
        self.dice = random.Random(seed)
        self.kind, self._seed, self._connections = kind, seed, 0
        self.timeline = Timeline(CLIP, self.dice.choice([0, 0, WRAP - 90_000 * self.dice.randrange(1, 30)]))
        self.reached = self.begin = self.timeline.due_at(self.dice.uniform(0, 8))
        self.pids, self.clock = (0x100, 0x101), 0x100

    def connect(self, replay: float, seconds: float) -> ConnectionBody:
        """Open a connection that ends in the middle of a packet."""
        timeline, edge = self.timeline, self.timeline.seconds_at(self.reached)
        first, last = timeline.due_at(edge - replay), timeline.due_at(edge + seconds)
        changes = self._changes(timeline.clock_at(edge - replay * self.dice.uniform(-1, 1)))
        pieces = []
        for piece in (timeline.span(first, self.reached), timeline.span(self.reached, last)):
            for change in changes:
                piece = change.feed(piece)
            pieces.append(piece)
        self.reached = last
        return ConnectionBody(pieces[0], pieces[1][: -self.dice.randrange(1, PACKET)])

    def _changes(self, wraps: int) -> list[Change]:
        changes: list[Change] = []
        if "wrapped" in self.kind:
            changes.append(Restamp(-wraps))
        elif "restamped" in self.kind:
            changes.append(Restamp(self.dice.randrange(WRAP)))
        if "remuxed" in self.kind:
            layout = Layout.from_number(self._seed * 31 + self._connections, self.dice.random() < 0.4)
            changes.append(Remux(layout))
            if not self._connections:
                self.pids, self.clock = layout.pids[:2], layout.clock or layout.pids[0]
        self._connections += 1
        return changes


class ReplayRig:
    """A splicer and its output."""

    def __init__(self, known: float, dice: random.Random) -> None:
        self.out, self.reports, self.now = bytearray(), list[SpliceReport](), 0.0
        self._dice, self._bytes = dice, int(known * SECOND) // PACKET * PACKET
        self.splicer = Splicer(lambda: bytes(self.out[-self._bytes :]), self.reports.append)

    def play(self, body: ConnectionBody) -> None:
        self.out += self.splicer.next_source(self.now)
        aligner = Aligner()
        for data, rate in ((body.replay, 1e7), (body.live, SECOND)):
            at = 0
            while at < len(data):
                piece = data[at : at + self._dice.randrange(1, 20_000)]
                self.now += len(piece) / rate
                self.out += self.splicer.push(aligner.feed(piece), self.now)
                at += len(piece)

    def end(self) -> bytes:
        return bytes(self.out + self.splicer.flush(self.now))


@cache
def original() -> tuple[list[bytes], list[int], list[bytes], list[int]]:
    """Return the pictures with their DTS and the audio frames with their PTS, from two loops before the start on."""
    pictures, sounds = units_of(Timeline(CLIP).span(-2 * len(CLIP.data), 7 * len(CLIP.data)), 0x100, 0x101, 0x100)
    stamp = next(n for n, (pts, _) in enumerate(sounds) if pts is not None)
    times = [((sounds[stamp][0] or 0) + (n - stamp) * SOUND) % WRAP for n in range(len(sounds))]
    return [u.data for u in pictures], [u.dts or 0 for u in pictures], [data for _, data in sounds], times


def assert_exact(data: bytes, provider: ReplayingProvider) -> None:
    """Check that every picture and audio frame arrives once, all shifted by the same time."""
    video, sound = provider.pids
    pictures, frames = units_of(from_first_units(data, {video, sound}), video, sound, provider.clock)
    source, dts_values, audio, times = original()
    first = source.index(pictures[0].data)
    assert [unit.data for unit in pictures] == source[first : first + len(pictures)]
    assert len(pictures) > (provider.reached - provider.begin) / SECOND * 25 - 40
    moved = {distance(unit.dts or 0, dts) for unit, dts in zip(pictures, dts_values[first:], strict=False)}
    assert len(moved) == 1
    opening = [frame for _, frame in frames[:4]]
    begin = next(n for n in range(len(audio)) if audio[n : n + 4] == opening)
    assert [frame for _, frame in frames] == audio[begin : begin + len(frames)]
    offsets = {distance(pts, due) for (pts, _), due in zip(frames, times[begin:], strict=False) if pts is not None}
    # The clip is a loop, so audio may be found one loop away from its pictures.
    loop = CLIP.period
    assert {(offset - moved.copy().pop() + 5) % loop - 5 for offset in offsets} <= {-1, 0, 1}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_every_unit_arrives_once(kind: str, seed: int) -> None:
    provider = ReplayingProvider(kind, seed)
    dice = provider.dice
    rig = ReplayRig(7, dice)
    rig.play(provider.connect(0, dice.uniform(4, 6)))
    connections = dice.randrange(2, 5)
    for _ in range(connections):
        rig.play(provider.connect(dice.uniform(0.8, 3.5), dice.uniform(0.2, 4)))
    assert_exact(rig.end(), provider)
    assert [report.kind for report in rig.reports] == [SpliceKind.PLAIN] + [SpliceKind.OVERLAP] * connections


@pytest.mark.parametrize("kind", ["as it was", "remuxed"])
@pytest.mark.parametrize("seed", range(6))
def test_replay_begins_before_the_known_past(kind: str, seed: int) -> None:
    """The sent audio may end within a frame. Only the rest of that frame can follow."""
    provider = ReplayingProvider(kind, 100 + seed)
    rig = ReplayRig(3, provider.dice)
    rig.play(provider.connect(0, 5))
    for _ in range(3):
        rig.play(provider.connect(4.5, 2))
    assert_exact(rig.end(), provider)


@pytest.mark.parametrize("kind", ["restamped", "remuxed, restamped"])
def test_short_replay_that_fits_an_earlier_loop_too(kind: str) -> None:
    """The clip is a loop, so the replay also fits the loop before. The end of the sent packets decides."""
    for seed in range(3):
        provider = ReplayingProvider(kind, 200 + seed)
        rig = ReplayRig(20, provider.dice)
        rig.play(provider.connect(0, 11))
        rig.play(provider.connect(0.7, 4))
        assert_exact(rig.end(), provider)
        assert rig.reports[-1].kind is SpliceKind.OVERLAP


# streams with audio only


def audio_only_stream(programme: Programme, pack: int, carry: int, origin: int) -> bytes:
    """Return a stream of audio only.

    The last ``carry`` bytes of each unit's last frame are in the next unit, as some broadcasters cut it.
    """
    mux, out, carried = Mux(), b"", b""
    for first in range(0, len(programme.sounds), pack):
        if first % (pack * 4) == 0:
            out += mux.pat({1: 0x1000}) + mux.pmt(0x1000, 1, [(AAC, 0x101)], pcr_pid=0x101)
        frames = programme.sounds[first : first + pack]
        pts = (frames[0].pts + origin) % WRAP
        data = carried + b"".join(frame.data for frame in frames)
        carried = data[len(data) - carry :]
        made = pes(data[: len(data) - carry], stream_id=0xC0, pts=pts)
        out += mux.unit(0x101, made, pcr=(pts - 27_000) % WRAP * 300)
    return out


@pytest.mark.parametrize("carry", [0, 5])
@pytest.mark.parametrize("packs", [(1, 1), (4, 1), (1, 4), (3, 5), (5, 3)])
def test_audio_timestamps_continue(carry: int, packs: tuple[int, int]) -> None:
    """The timestamp of a unit that begins within a frame is that of the next frame."""
    programme = make_programme(5, 100)
    data = audio_only_stream(programme, packs[0], carry, 0)
    for cut in range(len(data) // 2, len(data) // 2 + 10 * PACKET, 77):
        for carried in (0, 5):
            again = audio_only_stream(programme, packs[1], carried, 777_777_777)
            back = int(len(again) * (cut / len(data) - 0.3)) // PACKET * PACKET
            rig = ReplayRig(60, random.Random(cut))
            rig.play(ConnectionBody(data[:cut], b""))
            rig.play(ConnectionBody(again[back:], b""))
            assert [report.kind for report in rig.reports] == [SpliceKind.PLAIN, SpliceKind.OVERLAP]
            got = frames_across(Reception(rig.end(), 0x77, 0x101, 0x101).sound)
            assert [frame for _, frame in got] == [unit.data for unit in programme.sounds[: len(got)]]
            assert len(got) >= len(programme.sounds) - 1
            offsets = {pts - n * SOUND for n, (pts, _) in enumerate(got) if pts is not None}
            assert offsets <= {-1, 0, 1}
