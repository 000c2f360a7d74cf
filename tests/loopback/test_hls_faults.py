"""Providers that let a playlist or a segment down: players go on."""

from __future__ import annotations

import re

import pytest
import pytest_twisted

PACKET = 188
#: What is wrong with the source in use.
FAULTS = {
    "a web page for a playlist": "only=playlist&html=1",
    "a playlist cut short": "only=playlist&close=60",
    "a playlist that stops in the middle": "only=playlist&stall=60",
    "no answer to a playlist": "only=playlist&hang=head",
    "a web page for each segment": "only=segment&html=1",
    "segments cut short": "only=segment&close=2000",
    "segments that are reset": "only=segment&reset=2000",
    "segments that stop in the middle": "only=segment&stall=2000",
    "segments that are gone": "only=segment&status=404",
}


class Watching:
    """A player that asks as players do: for the playlist, for each new segment once, and on after what fails."""

    def __init__(self, rig, stream) -> None:
        self.rig = rig
        self.path = f"/hls/{stream.id}/playlist.m3u8?client_id=me"
        self.seen = -1
        self.whole: list[int] = []
        self.failed: list[int] = []

    async def get(self, path: str):
        player = await self.rig.ask(path, version="1.0")
        await player.ended
        return player

    async def look(self) -> None:
        """One round. A playlist that is answered is one, and its numbers go up."""
        answer = await self.get(self.path)
        if answer.status != 200:
            return
        text = answer.body.decode()
        assert text.startswith("#EXTM3U")
        first = int(re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text)[1])
        names = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert first + len(names) - 1 >= self.seen
        for number, name in enumerate(names, first):
            if number > self.seen:
                self.seen = number
                await self.take(number, name)

    async def take(self, number: int, name: str) -> None:
        segment = await self.get(name)
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", segment.head)
        if segment.status != 200 or (length and int(length[1]) != len(segment.body)):
            self.failed.append(number)
            return
        assert segment.body[::PACKET] == b"G" * (len(segment.body) // PACKET), "it is a segment, or none"
        self.whole.append(number)

    async def until(self, condition, what: str) -> None:
        """Go on, at the pace of a player."""
        for _ in range(60):
            await self.look()
            if condition():
                return
            await self.rig.sleep(0.25)
        raise AssertionError(what)


@pytest.mark.parametrize("name", FAULTS)
@pytest_twisted.ensureDeferred
async def test_a_source_that_lets_players_down_is_left(rig, name):
    await rig.start(live_chunk_timeout_seconds=0.7)
    stream = rig.register("/hls/one/high/index.m3u8?target=1", "/hls/two/high/index.m3u8?target=1")
    player = Watching(rig, stream)
    await player.until(lambda: player.whole, "it plays")
    rig.provider.control("one", FAULTS[name])
    await player.until(lambda: stream.source_index == 1, "the backup is in use")
    rig.provider.control("two", "")
    before = len(player.whole)
    await player.until(lambda: len(player.whole) >= before + 2, "it goes on")
    assert player.whole == sorted(set(player.whole))
    assert len(player.failed) <= 5
    assert stream.failover_attempts == 1


@pytest.mark.parametrize("fault", ["status=404", "html=1", "close=2000", "stall=2000"])
@pytest_twisted.ensureDeferred
async def test_one_segment_that_cannot_be_had_is_an_accident(rig, fault):
    await rig.start(live_chunk_timeout_seconds=0.7)
    stream = rig.register("/hls/one/high/index.m3u8?target=1", "/hls/two/high/index.m3u8?target=1")
    player = Watching(rig, stream)
    rig.provider.control("one", f"only=segment&times=1&{fault}")
    await player.until(lambda: player.failed and len(player.whole) >= 5, "it goes on")
    assert len(player.failed) == 1
    assert stream.source_index == stream.failover_attempts == 0


@pytest.mark.parametrize("fault", ["html=1", "close=60"])
@pytest_twisted.ensureDeferred
async def test_the_only_source_is_asked_again(rig, fault):
    """For a moment players get what there was; then it goes on."""
    stream = rig.register("/hls/one/high/index.m3u8?target=1")
    player = Watching(rig, stream)
    await player.until(lambda: player.whole, "it plays")
    rig.provider.control("one", f"only=playlist&times=2&{fault}")
    before = len(player.whole)
    await player.until(lambda: len(player.whole) >= before + 3, "it goes on")
    assert player.failed == []
