"""Random events of players, API and providers: no account sees more connections than it allows."""

from __future__ import annotations

import random

import pytest
import pytest_twisted
from loopback_rig import Established

from m3uproxy.hls.stream import HlsStream

EVENTS = 200
LIMITS = {"ann": 1, "bob": 2, "cid": 3}


class AccountPeaks:
    """Peak of the open sockets of each account, by the slot table's count."""

    def __init__(self, desk) -> None:
        self.most = dict.fromkeys(LIMITS, 0)
        self._slots = desk.table
        self._opened = desk.table.socket_opened
        desk.table.socket_opened = self.opened

    def opened(self, token: int) -> bool:
        allowed = self._opened(token)
        for name in LIMITS:
            self.most[name] = max(self.most[name], self._slots.open_sockets(name))
        return allowed


def sources(name: str, number: int) -> list[str]:
    """Return the URLs of a film, a playlist or a channel. The backups of the last two end or fail by themselves."""
    limit = f"account_limit={LIMITS[name]}"
    if number % 3 == 1:
        path = f"/hls/{name}{number}/master.m3u8?target=1&window=4"
        return [f"{path}&redirect=other&only=segment", f"{path}&renditions=1&status=500&times=2"]
    if number % 3 == 0:
        return [f"/movie/{name}/pw/{name}{number}.mp4?size=50M&{limit}{more}" for more in ("", "&n=2")]
    return [f"/live/{name}/pw/{number}{more}&{limit}" for more in (".ts?burst=1", "b.ts?burst=1&die_after=0.3")]


class RandomEvents:
    """Random events on streams of all accounts."""

    def __init__(self, rig, seed: int) -> None:
        self.rig = rig
        self.random = random.Random(seed)
        self.players = []
        self.streams = []
        for name in LIMITS:
            for number in range(6):
                self._register(name, number)

    def _register(self, name: str, number: int) -> None:
        urls = sources(name, number)
        if self.random.random() < 0.3 and len(self.streams) > 20:
            urls = urls[:1]
        stream = self.rig.register(*urls, provider=name, max_connections=LIMITS[name])
        self.streams = [each for each in self.streams if each[2].id != stream.id] + [(name, number, stream)]

    async def event(self) -> None:
        rand = self.random
        name, number, stream = rand.choice(self.streams)
        what = rand.choices(["play", "leave", "fail over", "delete", "renew", "wait"], [9, 5, 2, 1, 1, 4])[0]
        if what == "play" and isinstance(stream, HlsStream):
            await self._play(stream, rand.choice(["A", "B", "C"]))
        elif what == "leave" and isinstance(stream, HlsStream) and rand.random() < 0.5:
            stream.abort_client(rand.choice(["A", "B", "C"]))
        elif what == "play":
            agent = rand.choice(["A", "B", "C"])
            begin = rand.choice([0, 1_000_000, 49_000_000])
            headers = (f"User-Agent: {agent}", *([f"Range: bytes={begin}-"] if rand.random() < 0.5 else []))
            window = rand.choice([None, 65_536])
            self.players.append(await self.rig.ask(f"/stream/{stream.id}", headers=headers, window=window))
        elif what == "leave" and self.players:
            await self.players.pop(rand.randrange(len(self.players))).leave()
        elif what == "fail over":
            stream.fail_over(rand.choice([None, 0, 1]) if stream.may_fail_over else 0)
        elif what == "delete":
            self.rig.registry.delete(stream.id)
            self._register(name, number)
        elif what == "renew":
            self._register(name, number)
        else:
            await self.rig.sleep(rand.choice([0, 0.01, 0.05, 0.2]))

    async def _play(self, stream, agent: str) -> None:
        """Request the playlist, then some resources that it names, then some resources that these name."""
        paths = [f"/hls/{stream.id}/playlist.m3u8?client_id={agent}"]
        for _ in range(3):
            asked = [await self.rig.ask(path, version="1.0", headers=(f"User-Agent: {agent}",)) for path in paths]
            self.players += asked
            turns = self.random.choice([0, 5, 40])
            while turns and not all(player.closed for player in asked):
                await self.rig.sleep(0.01)
                turns -= 1
            named = [line for player in asked for line in player.body.decode("latin-1").splitlines()]
            named = [line for line in named if "/hls/" in line and line.startswith("/")]
            paths = self.random.sample(named, min(2, len(named)))


@pytest.mark.parametrize("seed", [1, 2])
@pytest_twisted.ensureDeferred
async def test_accounts_never_see_more_connections_than_allowed(rig, seed):
    await rig.start(stream_timeout=0, slot_wait=0.4, start_timeout=2, linger=0.1)
    peaks = AccountPeaks(rig.registry.slots)
    established = Established(rig.provider)
    events = RandomEvents(rig, seed)
    for _ in range(EVENTS):
        await events.event()
        for row in rig.registry.slots.report(())["providers"]:
            assert row["slots_taken"] <= row["max_connections"], row
    for player in events.players:
        await player.leave()
    for _, _, stream in events.streams:
        rig.registry.delete(stream.id)
    await rig.until(lambda: rig.service._sockets.open == 0, 5, "sockets are left")
    assert rig.registry.slots.report(())["providers"] == []
    names = [name for name in rig.provider.station.resources if "/seg" in name]
    assert names, "no segment was played"
    assert established.peak <= sum(LIMITS.values())
    assert all(peaks.most[name] <= limit for name, limit in LIMITS.items()), peaks.most
    assert all(peaks.most.values()), "the test opens nothing"
    seen = {name: rig.provider.station.account(name).peak for name in LIMITS}
    assert all(seen[name] <= limit for name, limit in LIMITS.items()), seen
