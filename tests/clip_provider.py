"""Providers that play clips of their own, and checks of a change from one to the other at a player.

The second provider has another encode, other PIDs and another clock. The played stream must show nothing of the change.
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

#: Distance of the backup's clock from that of the primary, ticks.
BACKUP_ORIGIN = 40_000 * TICKS
#: Seconds of the past at the start of a connection, and seconds between two key frames of a clip.
BURST, GROUP = 1.5, 0.96
#: Bytes at the end of a packet that identify it. Timestamps and values written by a splice are not among them.
KEY = 100
#: PIDs of the primary, and so of the player.
VIDEO, PMT = 0x100, 0x1000


@pytest_twisted.async_yield_fixture
async def start_provider(rig):
    """Start a provider with a clip of its own."""
    providers = []

    async def start_provider(recipe: Recipe, origin: int = 0) -> Provider:
        provider = Provider(rig.reactor, origin=origin, clip=clip_of(recipe))
        providers.append(provider)
        await provider.listen()
        return provider

    yield start_provider
    for player in rig.players:
        await player.leave()
    for provider in providers:
        await provider.stop()


def url(provider: Provider, query: str = f"rate=4&burst={BURST}") -> str:
    """Return the URL of the provider's channel ``x``."""
    return provider.url(f"/live/x.ts?{query}")


async def watch_source_change(
    rig, start_provider, old: Recipe, new: Recipe, fault: str = "close=0", **options: object
) -> Player:
    """Return a player with at least half a clip of both sources, or a player whose connection ended.

    The backup begins some time before its first key frame. Else the audio for that picture would have been sent before.
    """
    while True:
        first, second = await start_provider(old), await start_provider(new, BACKUP_ORIGIN)
        player = await rig.ask(f"/stream/{rig.register(url(first), url(second)).id}", **options)
        await rig.until_bytes(player, len(clip_of(old).data) // 2, 20)
        await rig.until(lambda: (second.station.uptime() - BURST) % GROUP < 0.3, 20)  # noqa: B023
        first.control("x", f"{fault}&status=404")
        await rig.until(lambda: second.channel("x").tally.total, 20)  # noqa: B023
        await rig.until_bytes(player, len(player.body) + len(clip_of(new).data) // 2, 20)
        if player.closed or start_in_clip(second, new) % GROUP < GROUP - 0.45:
            return player


def start_in_clip(provider: Provider, recipe: Recipe) -> float:
    """Return the offset in its clip at which a provider began to send to its only player, seconds."""
    (body,) = provider.channel("x").bodies
    clip = clip_of(recipe)
    return clip.due[(body._place - body._sent) // PACKET % clip.packets]


# the played stream


def packets_of(body: bytes) -> list[bytes]:
    """Return the whole packets."""
    return [body[at : at + PACKET] for at in range(0, len(body) - PACKET + 1, PACKET)]


def pid(packet: bytes) -> int:
    """Return the PID of a packet."""
    return (packet[1] & 0x1F) << 8 | packet[2]


def without_torn_tail(body: bytes) -> bytes:
    """Return the body without the last unit of each PID: the player disconnected at any byte."""
    packets = packets_of(body)
    last_start = {pid(packet): number for number, packet in enumerate(packets) if packet[1] & 0x40}
    return b"".join(p for number, p in enumerate(packets) if number < last_start.get(pid(p), len(packets)))


def keys(recipe: Recipe) -> set[bytes]:
    """Return the keys of the packets of a clip."""
    return {packet[-KEY:] for packet in packets_of(clip_of(recipe).data)}


def pictures_before_splice(body: bytes, old: Recipe, new: Recipe) -> list[int]:
    """Return the pictures before the unit with the first packet that only the new source has."""
    found, kept, begin = keys(new) - keys(old), [], None
    for packet in packets_of(body):
        if pid(packet) != VIDEO:
            kept += [packet] if pid(packet) in (0, PMT) else []
            continue
        begin = len(kept) if packet[1] & 0x40 else begin
        if packet[-KEY:] in found:
            return decode(b"".join(kept[:begin])).pictures
        kept.append(packet)
    raise AssertionError("no packet of the new source was played")


def steps(times: list[int]) -> list[int]:
    """Return the differences of neighbours."""
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def assert_audio_continues(sounds: list[int], frame: int, audio_present: bool) -> None:
    """Check that less than one audio frame is missing, once; more if the new source did not send it."""
    gaps = [step for step in steps(sounds) if step > frame + 1]
    assert min(steps(sounds)) > 0
    assert len(gaps) <= 1
    assert sum(gaps) < (2 * frame if audio_present else TICKS // 2)


def assert_pictures_continue(pictures: list[int], highest: int, old: Recipe, new: Recipe) -> None:
    """Check that the first new picture follows the last old one at the usual distance.

    Pictures lost in a torn group stay lost.
    """
    assert min(steps(pictures)) > 0
    before = [time for time in pictures if time <= highest]
    after = [time for time in pictures if time > highest][:-4]
    assert max(steps(before)) <= 3 * old.picture
    assert after[0] - highest == old.picture
    assert set(steps(after)) == {new.picture}


def assert_clock_continues(body: bytes) -> None:
    """Check that the clock never steps back or more than a second ahead, and that no unit arrives after it is due."""
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


def assert_seamless_change(body: bytes, old: Recipe, new: Recipe, audio_arrived: bool = True) -> None:
    """Check that no decoder complains, no clock steps back, and only torn units are missing.

    :param audio_arrived: False if the new source did not send the audio for its first picture.
    """
    assert_whole_packets(body)
    assert_clock_continues(body)
    body = without_torn_tail(body)
    whole = decode(body)
    assert whole.complaints == []
    assert_audio_continues(whole.sounds, old.sound, audio_arrived)
    if old.video:
        assert_pictures_continue(whole.pictures, max(pictures_before_splice(body, old, new)), old, new)


class ReactorLateness:
    """The sum of the delays of reactor calls: the time that a busy machine adds to any measured time."""

    EVERY = 0.005

    def __init__(self) -> None:
        self._calls = [time.monotonic()]
        self._loop = LoopingCall(lambda: self._calls.append(time.monotonic()))
        self._loop.start(self.EVERY)

    def between(self, first: float, last: float) -> float:
        """Return the delays between two times, in seconds."""
        calls = [first, *(call for call in self._calls if first < call < last), last]
        return sum(max(0.0, later - earlier - self.EVERY) for earlier, later in itertools.pairwise(calls))

    def stop(self) -> None:
        """Stop the calls."""
        self._loop.stop()
