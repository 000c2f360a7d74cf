"""Playlists behind a real nginx that strips a prefix: a player follows their URLs to a segment."""

from __future__ import annotations

import pytest
import pytest_twisted
from nginx import NGINX, nginx


async def follow(rig, port: int, path: str):
    """Ask for a playlist, then for what it lists first, until something else is answered."""
    for _ in range(4):
        player = await rig.ask(path, port=port, headers=("Connection: close",))
        await rig.until(lambda player=player: player.closed, 10)
        assert player.status == 200, path
        if b"mpegurl" not in player.head:
            return player
        line = next(line for line in player.body.decode().splitlines() if line and line[0] not in "#0123456789abcdef")
        path = line if line.startswith("/") else path.rpartition("/")[0] + "/" + line
    raise AssertionError("too many playlists")


@pytest.mark.skipif(NGINX is None, reason="this machine has no nginx")
@pytest.mark.parametrize(
    ("prefix", "tell", "settings"),
    [
        ("/m3u-proxy", False, {}),
        ("/m3u-proxy", False, {"public_url": "https://tv.example"}),
        ("/tv", True, {}),
        ("/tv", False, {"public_url": "https://tv.example/tv"}),
        ("/tv", False, {"root_path": "/tv"}),
        ("/a/b", True, {"root_path": ""}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_player_behind_nginx(rig, tmp_path, prefix, tell, settings):
    await rig.start(**settings)
    streams = rig.register("/hls/one/master.m3u8?vod=2&target=1"), rig.register("/live/a.ts?burst=3")
    with nginx(tmp_path, rig.port, prefix, tell) as port:
        for stream in streams:
            segment = await follow(rig, port, f"{prefix}/hls/{stream.id}/playlist.m3u8?client_id=me")
            assert segment.body[:1] == b"G"
