"""The calls of m3u-editor over real HTTP: the API on its port, players through nginx."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
import pytest_twisted
import treq
from loopback_rig import assert_whole_packets
from nginx import NGINX, nginx
from twisted.web.client import Agent, HTTPConnectionPool

TOKEN = "editor-and-proxy-share-this"
PLAYLIST = "6a1c8f9e-playlist"


class Editor:
    """API client as in m3u-editor: paths without prefix, token in the header, JSON."""

    def __init__(self, rig) -> None:
        self._rig = rig
        self._pool = HTTPConnectionPool(rig.reactor, persistent=False)

    async def call(self, method: str, path: str, body: object = None, **query: object):
        """Send a request; return status and JSON of the answer."""
        url = f"http://localhost:{self._rig.port}{path}" + (f"?{urlencode(query)}" if query else "")
        response = await treq.request(
            method,
            url,
            agent=Agent(self._rig.reactor, pool=self._pool),
            headers={"X-API-Token": TOKEN, "Accept": "application/json", "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        return response.code, await response.json()

    async def ok(self, method: str, path: str, body: object = None, **query: object):
        """Send a request that must succeed; return the JSON of the answer."""
        status, value = await self.call(method, path, body, **query)
        assert status == 200, value
        return value

    async def create(self, channel: int, *urls: str, **metadata: object) -> str:
        """Register a channel as the editor does, with null header values and booleans; return its id."""
        created = await self.ok(
            "POST",
            "/streams",
            {
                "url": urls[0],
                "failover_urls": list(urls[1:]),
                "user_agent": "TiviMate/5.1",
                "headers": {"Referer": "http://portal.example/", "X-Nothing": None},
                "strict_live_ts": True,
                "use_sticky_session": False,
                "metadata": {
                    "id": channel,
                    "channel_id": str(channel),
                    "type": "channel",
                    "playlist_uuid": PLAYLIST,
                    "original_channel_id": channel,
                    "original_playlist_uuid": PLAYLIST,
                    "is_failover": False,
                    "provider_profile_id": 3,
                    **metadata,
                },
            },
        )
        return created["stream_id"]

    async def active(self, field: str = "playlist_uuid", value: object = PLAYLIST) -> int:
        """Return the number of active streams with given metadata."""
        found = await self.ok("GET", "/streams/by-metadata", field=field, value=value, active_only=1)
        return found["total_matching"]


@pytest_twisted.async_yield_fixture
async def editor(rig):
    await rig.start(api_token=TOKEN, stream_retry_attempts=1)
    yield Editor(rig)


@pytest_twisted.ensureDeferred
async def test_player_counts_while_it_is_connected(rig, editor):
    stream = await editor.create(7, rig.provider.url("/live/x.ts?burst=2"))
    assert await editor.active() == 0
    player = await rig.ask(f"/stream/{stream}?username=family", headers=("User-Agent: VLC/3",))
    assert await editor.active() == 1, "active from the moment that a player is connected"
    await rig.until_bytes(player, 30_000)
    assert (await editor.ok("GET", "/streams/counts-by-metadata", field="provider_profile_id", values="3,4")) == {
        "field": "provider_profile_id",
        "counts": {"3": 1, "4": 0},
    }
    clients = (await editor.ok("GET", "/clients"))["clients"]
    assert [(client["username"], client["user_agent"]) for client in clients] == [("family", "VLC/3")]
    await player.leave()
    await rig.sleep(0.1)
    assert await editor.active() == 0


@pytest_twisted.ensureDeferred
async def test_second_player_shares_the_active_stream(rig, editor):
    stream = await editor.create(7, rig.provider.url("/live/x.ts?burst=2"))
    player = await rig.ask(f"/stream/{stream}")
    found = await editor.ok("GET", "/streams/by-metadata", field="original_channel_id", value=7, active_only=1)
    (match,) = found["matching_streams"]
    assert match["stream_id"] == stream
    assert match["metadata"]["original_playlist_uuid"] == PLAYLIST
    assert match["metadata"]["is_failover"] == "False"
    assert "transcoding" not in match["metadata"]
    second = await rig.ask(f"/stream/{stream}")
    await rig.until_bytes(player, 30_000)
    await rig.until_bytes(second, 30_000)
    assert rig.provider.channel("x").tally.total == 1


@pytest_twisted.ensureDeferred
async def test_deleted_oldest_stream_does_not_count_100_ms_later(rig, editor):
    players = []
    for channel in (1, 2):
        stream = await editor.create(channel, rig.provider.url(f"/live/c{channel}.ts?burst=2"))
        players.append(await rig.ask(f"/stream/{stream}"))
        await rig.until_bytes(players[-1], 30_000)
    assert await editor.active() == 2
    query = {"field": "playlist_uuid", "value": PLAYLIST}
    stopped = await editor.ok("DELETE", "/streams/oldest-by-metadata", **query, exclude_channel_id=2)
    assert stopped["deleted_count"] == 1
    assert stopped["stream_age_seconds"] >= 0
    await rig.sleep(0.1)
    assert await editor.active() == 1
    assert players[0].closed
    assert not players[1].closed
    again = await editor.ok("DELETE", "/streams/oldest-by-metadata", **query, exclude_channel_id=2)
    assert (again["deleted_count"], again["deleted_stream"]) == (0, None)


@pytest_twisted.ensureDeferred
async def test_closed_tab_deletes_the_stream_without_other_players(rig, editor):
    stream = await editor.create(7, rig.provider.url("/live/x.ts?burst=2"))
    tab = await rig.ask(f"/stream/{stream}?client_id=tab1")
    television = await rig.ask(f"/stream/{stream}?client_id=tv")
    for player in (tab, television):
        await rig.until_bytes(player, 30_000)
    query = {"field": "channel_id", "value": 7, "force": "false"}
    kept = await editor.ok("DELETE", "/streams/by-metadata", **query, client_id="tab1")
    assert kept["deleted_count"] == 0
    assert kept["skipped_streams"] == [{"stream_id": stream, "reason": "has_active_clients", "active_clients": 1}]
    await rig.until(lambda: tab.closed, 1)
    assert not television.closed
    stopped = await editor.ok("DELETE", "/streams/by-metadata", **query, client_id="tv")
    assert stopped["deleted_streams"] == [stream]
    await rig.until(lambda: television.closed, 1)


@pytest_twisted.ensureDeferred
async def test_calls_of_the_monitor_page(rig, editor):
    stream = await editor.create(7, rig.provider.url("/live/x.ts?burst=2"), rig.provider.url("/live/y.ts?burst=2"))
    player = await rig.ask(f"/stream/{stream}")
    await rig.until_bytes(player, 30_000)
    (listed,) = (await editor.ok("GET", "/streams"))["streams"]
    assert listed["stream_id"] == stream
    assert listed["metadata"]["playlist_uuid"] == PLAYLIST
    assert listed["is_active"] is True
    assert isinstance(listed["total_bytes_served"], int)
    assert listed["current_failover_index"] == 0
    moved = await editor.ok("POST", f"/streams/{stream}/failover")
    assert (moved["failover_index"], moved["failover_attempts"]) == (1, 1)
    (listed,) = (await editor.ok("GET", "/streams"))["streams"]
    assert listed["current_failover_index"] == 1
    assert not player.closed
    health = await editor.ok("GET", "/health")
    assert (health["status"], health["stats"]["active_streams"]) == ("healthy", 1)
    info = await editor.ok("GET", "/info")
    assert info["redis"]["pooling_enabled"] is False
    assert info["hardware_acceleration"]["enabled"] is False
    assert info["version"]
    await editor.ok("DELETE", f"/streams/{stream}")
    await rig.until(lambda: player.closed, 1)


@pytest_twisted.ensureDeferred
async def test_connection_test_of_the_editor(rig, editor):
    """The editor makes the proxy fetch a page of the editor; here it is a page of the proxy."""
    mine = f"http://127.0.0.1:{rig.port}/docs"
    tried = await editor.ok("POST", "/test-connection", {"url": mine + "/"})
    assert (tried["success"], tried["url_tested"]) == (True, mine)
    refused = await editor.ok("POST", "/test-connection", {"url": "http://127.0.0.1:1/up"})
    assert refused["success"] is False
    assert refused["message"]


@pytest.mark.skipif(NGINX is None, reason="this machine has no nginx")
@pytest_twisted.ensureDeferred
async def test_players_behind_nginx_that_strips_the_prefix(rig, editor, tmp_path):
    stream = await editor.create(7, rig.provider.url("/live/x.ts?burst=2"))
    with nginx(tmp_path, rig.port) as port:
        player = await rig.ask(f"/m3u-proxy/stream/{stream}?username=family", port=port, headers=("Range: bytes=0-",))
        await rig.until_bytes(player, 60_000)
        assert player.status == 200
        assert b"Content-Range" not in player.head
        assert await editor.active() == 1
        (client,) = (await editor.ok("GET", "/clients"))["clients"]
        assert (client["username"], client["ip_address"]) == ("family", "127.0.0.1")
        docs = await rig.ask("/m3u-proxy/docs", port=port, headers=("Connection: close",))
        await rig.until(lambda: docs.closed)
        assert docs.status == 200
        await player.leave()
        await rig.sleep(0.1)
        assert await editor.active() == 0
        unknown = await rig.ask("/m3u-proxy/stream/0123", port=port, headers=("Connection: close",))
        await rig.until(lambda: unknown.closed)
        assert unknown.status == 404
    assert_whole_packets(_unchunked(player))


def _unchunked(player) -> bytes:
    """Return the body; nginx uses chunks if the length is unknown."""
    if b"chunked" not in player.head:
        return player.body
    body, rest = b"", player.body
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body
