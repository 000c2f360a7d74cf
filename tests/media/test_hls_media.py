"""ffmpeg plays each kind of HLS over a rolling live window and across a change of source."""

from __future__ import annotations

import re

import av
import pytest
import pytest_twisted
from clip_provider import BACKUP_ORIGIN
from playing import TICKS, address, kinds, steps, watch
from twisted.internet.threads import deferToThread

from m3uproxy.provider.site import Provider

pytestmark = pytest.mark.media

#: Messages of ffmpeg about missing segments, and about audio or pictures that end there.
MISSING_SEGMENT_MESSAGES = re.compile(
    "404|Unable to open|Failed to open|failed too many times|keepalive request|Packet corrupt"
)
#: Message of ffmpeg for each live MP4 playlist, of any server: each reload reads the initialization section again.
REPEATED_INIT_MESSAGES = re.compile("duplicated MOOV")
#: libavformat 63 loses a segment at each end of a growing file, with any server, the provider included.
DEMUXER_LOSES_SEGMENTS = av.library_versions["libavformat"] >= (63,)
#: Kinds of HLS, and the kinds of resources that each requires besides playlists.
KINDS = {
    "high/index.m3u8?target=1&window=3": {"seg"},
    "master.m3u8?target=1&renditions=1": {"seg"},
    "master.m3u8?target=1&fmp4=1": {"seg", "init"},
    "master.m3u8?target=1&keys=1": {"seg", "key"},
    "high/index.m3u8?target=1&ranges=3": {"file"},
    "master.m3u8?target=1&sign=1&uris=other&pass=a%2Bb%3D%3D": {"seg"},
}


@pytest.mark.parametrize("query", KINDS)
@pytest_twisted.ensureDeferred
async def test_live_playlist_of_each_kind(rig, query):
    """Play more than the initial window: even timestamps and no messages of ffmpeg."""
    stream = rig.register(f"/hls/one/{query}")
    pictures, sounds, complaints = await deferToThread(watch, address(rig, stream), 5)
    if not ("ranges" in query and DEMUXER_LOSES_SEGMENTS):
        assert [text for text in complaints if not REPEATED_INIT_MESSAGES.search(text)] == []
        assert len({*steps(pictures)}) == len({*steps(sounds)}) == 1
    paths = [each["path"] for each in rig.provider.station.requests]
    assert all(query.partition("?")[2] in path for path in paths)
    assert {kind for path in paths for kind in ("seg", "init", "key", "file") if f"/{kind}" in path} == KINDS[query]


@pytest_twisted.ensureDeferred
async def test_renditions_and_subtitles(rig):
    """libavformat requests no subtitle segments, so they are read as a web player reads them."""
    url = "/hls/one/master.m3u8?vod=2&target=1&renditions=1"
    stream = rig.register(url)
    listed = await deferToThread(kinds, address(rig, stream))
    assert listed == await deferToThread(kinds, rig.provider.url(url))
    assert {*listed} == {"video", "audio", "subtitle"}

    async def get(path: str) -> str:
        player = await rig.ask(path, version="1.0")
        await player.ended
        assert player.status == 200
        return player.body.decode()

    master = await get(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    playlist = await get(re.search('TYPE=SUBTITLES.*URI="([^"]*)"', master)[1])
    names = [line for line in playlist.splitlines() if not line.startswith("#")]
    cues = [await get(name) for name in names]
    assert all(".vtt?" in name for name in names)
    assert all(text.startswith("WEBVTT\nX-TIMESTAMP-MAP=") for text in cues)
    assert [text.split()[-1] for text in cues] == ["0", "1"]


@pytest.mark.parametrize("kind", ["", "&keys=1", "&fmp4=1", "&ranges=3"])
@pytest_twisted.ensureDeferred
async def test_playback_across_a_change_of_source(rig, kind):
    """
    The backup has another clock, after a discontinuity.

    Pictures are complete on both sides. Between them only the failed segments are missing.
    """
    second = Provider(rig.reactor, origin=BACKUP_ORIGIN)
    await second.listen()
    backup = second.url(f"/hls/two/high/index.m3u8?target=1{kind}")
    stream = rig.register(f"/hls/one/high/index.m3u8?target=1{kind}", backup)
    failed = []

    def fail_source(shown: float) -> None:
        if shown > 2 and not failed:
            failed.append(True)
            what = "file" if "ranges" in kind else "segment"
            rig.reactor.callFromThread(rig.provider.control, "one", f"status=404&only={what}")

    pictures, sounds, complaints = await deferToThread(watch, address(rig, stream), 5, fail_source)
    await second.stop()
    assert stream.source_index == 1
    assert [
        text
        for text in complaints
        if not MISSING_SEGMENT_MESSAGES.search(text) and not REPEATED_INIT_MESSAGES.search(text)
    ] == []
    assert len(pictures) > 5 * 24
    assert len(sounds) > 5 * 40
    if not ("ranges" in kind and DEMUXER_LOSES_SEGMENTS):
        assert sum(not 0 < step < TICKS / 5 for step in steps(pictures)) <= 1
