"""Providers that play clips of their own, and what a change from one to the other looks like to a player.

The second is another encode of another provider: other PIDs, another clock. What is played shows nothing of it.
"""

from __future__ import annotations

import itertools
import time

import pytest_twisted
from clips import TICKS, Recipe, clip_of
from decoding import decode
from loopback_rig import PACKET, Player, assert_whole_packets
from twisted.internet.task import LoopingCall

from m3uproxy.provider.clip import WRAP, pcr_offset, read_pcr, read_stamp, stamp_offsets
from m3uproxy.provider.site import Provider

#: The backup's clock is so far from that of the primary.
FAR = 40_000 * TICKS
#: Seconds of the past that a connection begins with, and between two key pictures of a clip.
BURST, GROUP = 1.5, 0.96
#: Bytes at the end of a packet by which it is known; stamps and what is written for a splice are not among them.
KEY = 100
#: PIDs of the primary, and so of the player.
VIDEO, PMT = 0x100, 0x1000


@pytest_twisted.async_yield_fixture
async def air(rig):
    """Puts a provider with a clip of its own on the air."""
    providers = []

    async def air(recipe: Recipe, origin: int = 0) -> Provider:
        provider = Provider(rig.reactor, origin=origin, clip=clip_of(recipe))
        providers.append(provider)
        await provider.listen()
        return provider

    yield air
    for player in rig.players:
        await player.leave()
    for provider in providers:
        await provider.stop()


def url(provider: Provider, query: str = f"rate=4&burst={BURST}") -> str:
    """Of its channel ``x``."""
    return provider.url(f"/live/x.ts?{query}")


async def change(rig, air, old: Recipe, new: Recipe, fault: str = "close=0", **options: object) -> Player:
    """A player that has seen something of both, half a clip at least, or whose connection ended.

    The backup begins some time before its first key picture: else the sound for it was sent before.
    """
    while True:
        first, second = await air(old), await air(new, FAR)
        player = await rig.ask(f"/stream/{rig.register(url(first), url(second)).id}", **options)
        await rig.until_bytes(player, len(clip_of(old).data) // 2, 20)
        await rig.until(lambda: (second.station.uptime() - BURST) % GROUP < 0.3, 20)  # noqa: B023
        first.control("x", f"{fault}&status=404")
        await rig.until(lambda: second.channel("x").tally.total, 20)  # noqa: B023
        await rig.until_bytes(player, len(player.body) + len(clip_of(new).data) // 2, 20)
        if player.closed or began(second, new) % GROUP < GROUP - 0.45:
            return player


def began(provider: Provider, recipe: Recipe) -> float:
    """Where in its clip a provider began to send to its only viewer, seconds."""
    (body,) = provider.channel("x").bodies
    clip = clip_of(recipe)
    return clip.due[(body._place - body._sent) // PACKET % clip.packets]


# what is played


def packets_of(body: bytes) -> list[bytes]:
    """Whole packets."""
    return [body[at : at + PACKET] for at in range(0, len(body) - PACKET + 1, PACKET)]


def pid(packet: bytes) -> int:
    """Its PID."""
    return (packet[1] & 0x1F) << 8 | packet[2]


def without_torn_tail(body: bytes) -> bytes:
    """The player hung up somewhere: leave out, for each PID, the last unit, which may not be whole."""
    packets = packets_of(body)
    last_start = {pid(packet): number for number, packet in enumerate(packets) if packet[1] & 0x40}
    return b"".join(p for number, p in enumerate(packets) if number < last_start.get(pid(p), len(packets)))


def keys(recipe: Recipe) -> set[bytes]:
    """What the packets of a clip are known by."""
    return {packet[-KEY:] for packet in packets_of(clip_of(recipe).data)}


def pictures_before_the_seam(body: bytes, old: Recipe, new: Recipe) -> list[int]:
    """Of what comes before the unit with the first packet that only the new source has."""
    found, kept, begin = keys(new) - keys(old), [], None
    for packet in packets_of(body):
        if pid(packet) != VIDEO:
            kept += [packet] if pid(packet) in (0, PMT) else []
            continue
        begin = len(kept) if packet[1] & 0x40 else begin
        if packet[-KEY:] in found:
            return decode(b"".join(kept[:begin])).pictures
        kept.append(packet)
    raise AssertionError("nothing of the new source was played")


def steps(times: list[int]) -> list[int]:
    """From each to the next."""
    return [later - sooner for sooner, later in itertools.pairwise(times)]


def assert_sound_runs_on(sounds: list[int], frame: int, came: bool) -> None:
    """Less than a frame is missing, once; more if it never came."""
    gaps = [step for step in steps(sounds) if step > frame + 1]
    assert min(steps(sounds)) > 0
    assert len(gaps) <= 1
    assert sum(gaps) < (2 * frame if came else TICKS // 2)


def assert_pictures_run_on(pictures: list[int], highest: int, old: Recipe, new: Recipe) -> None:
    """The first new picture follows the last old one as pictures do; what a torn group lost stays lost."""
    assert min(steps(pictures)) > 0
    before = [time for time in pictures if time <= highest]
    after = [time for time in pictures if time > highest][:-4]
    assert max(steps(before)) <= 3 * old.picture
    assert after[0] - highest == old.picture
    assert set(steps(after)) == {new.picture}


def assert_clock_runs_on(body: bytes) -> None:
    """The clock never steps back, nor by more than a second on, and no unit comes later than it is due."""
    clock, values = 0, 0
    for at in range(0, len(body) - PACKET + 1, PACKET):
        pcr = pcr_offset(body, at)
        if pcr is not None:
            value = read_pcr(body, pcr)
            assert not values or 0 < (value - clock) % WRAP < TICKS
            clock, values = value, values + 1
        for stamp in stamp_offsets(body, at)[-1:]:
            assert not values or 0 < (read_stamp(body, stamp) - clock) % WRAP < 2 * TICKS
    assert values > 20


def assert_invisible(body: bytes, old: Recipe, new: Recipe, sound_came: bool = True) -> None:
    """No decoder complains, no clock steps back, nothing is missing but what was torn.

    :param sound_came: whether the new source sent the sound for its first picture.
    """
    assert_whole_packets(body)
    assert_clock_runs_on(body)
    body = without_torn_tail(body)
    whole = decode(body)
    assert whole.complaints == []
    assert_sound_runs_on(whole.sounds, old.sound, sound_came)
    if old.video:
        assert_pictures_run_on(whole.pictures, max(pictures_before_the_seam(body, old, new)), old, new)


class Lateness:
    """How much later than asked for the reactor calls, in sum: what a busy machine adds to any time measured."""

    EVERY = 0.005

    def __init__(self) -> None:
        self._calls = [time.monotonic()]
        self._loop = LoopingCall(lambda: self._calls.append(time.monotonic()))
        self._loop.start(self.EVERY)

    def between(self, first: float, last: float) -> float:
        """Seconds."""
        calls = [first, *(call for call in self._calls if first < call < last), last]
        return sum(max(0.0, later - sooner - self.EVERY) for sooner, later in itertools.pairwise(calls))

    def stop(self) -> None:
        """Ask no more."""
        self._loop.stop()
