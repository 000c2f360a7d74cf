"""Providers with faulty playlists or segments: playback continues."""

from __future__ import annotations

import re

import pytest
import pytest_twisted

PACKET = 188
#: Faults of the source in use.
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


class PollingPlayer:
    """A player that reloads the playlist, requests each new segment once, and continues after failures."""

    def __init__(self, rig, stream) -> None:
        self.rig = rig
        self.path = f"/hls/{stream.id}/playlist.m3u8?client_id=me"
        self.seen = -1
        self.complete: list[int] = []
        self.failed: list[int] = []

    async def get(self, path: str):
        player = await self.rig.ask(path, version="1.0")
        await player.ended
        return player

    async def poll(self) -> None:
        """Reload once. A 200 answer must be a playlist, and its numbers must not decrease."""
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
                await self.fetch_segment(number, name)

    async def fetch_segment(self, number: int, name: str) -> None:
        segment = await self.get(name)
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", segment.head)
        if segment.status != 200 or (length and int(length[1]) != len(segment.body)):
            self.failed.append(number)
            return
        assert segment.body[::PACKET] == b"G" * (len(segment.body) // PACKET), "a 200 answer is a complete segment"
        self.complete.append(number)

    async def until(self, condition, what: str) -> None:
        """Poll at the pace of a player until the condition is true."""
        for _ in range(60):
            await self.poll()
            if condition():
                return
            await self.rig.sleep(0.25)
        raise AssertionError(what)


@pytest.mark.parametrize("name", FAULTS)
@pytest_twisted.ensureDeferred
async def test_faulty_source_causes_failover(rig, name):
    await rig.start(live_chunk_timeout_seconds=0.7)
    stream = rig.register("/hls/one/high/index.m3u8?target=1", "/hls/two/high/index.m3u8?target=1")
    player = PollingPlayer(rig, stream)
    await player.until(lambda: player.complete, "playback starts")
    rig.provider.control("one", FAULTS[name])
    await player.until(lambda: stream.source_index == 1, "the backup is in use")
    rig.provider.control("two", "")
    before = len(player.complete)
    await player.until(lambda: len(player.complete) >= before + 2, "playback continues")
    assert player.complete == sorted(set(player.complete))
    assert len(player.failed) <= 5
    assert stream.history.failover_attempts == 1


@pytest.mark.parametrize("fault", ["status=404", "html=1", "close=2000", "stall=2000"])
@pytest_twisted.ensureDeferred
async def test_single_failed_segment_causes_no_failover(rig, fault):
    await rig.start(live_chunk_timeout_seconds=0.7)
    stream = rig.register("/hls/one/high/index.m3u8?target=1", "/hls/two/high/index.m3u8?target=1")
    player = PollingPlayer(rig, stream)
    rig.provider.control("one", f"only=segment&times=1&{fault}")
    await player.until(lambda: player.failed and len(player.complete) >= 5, "playback continues")
    assert len(player.failed) == 1
    assert stream.source_index == stream.history.failover_attempts == 0


@pytest.mark.parametrize("fault", ["html=1", "close=60"])
@pytest_twisted.ensureDeferred
async def test_only_source_is_asked_again(rig, fault):
    """For a moment players get the last known playlist, then playback continues."""
    stream = rig.register("/hls/one/high/index.m3u8?target=1")
    player = PollingPlayer(rig, stream)
    await player.until(lambda: player.complete, "playback starts")
    rig.provider.control("one", f"only=playlist&times=2&{fault}")
    before = len(player.complete)
    await player.until(lambda: len(player.complete) >= before + 3, "playback continues")
    assert player.failed == []
