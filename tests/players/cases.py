"""Test cases: live TS with each kind of splice, HLS of each kind, and HLS with a change of source."""

from __future__ import annotations

import attrs
from clips import H264, HEVC, MPEG2, SOUND, Recipe

NATIVE = ("ffmpeg", "mpv", "VLC", "GStreamer")
FOR_TS = (*NATIVE, "mpegts.js")
FOR_HLS = ("ffmpeg", "VLC", "hls.js")
STREAM, PLAYLIST = "/stream/{}", "/hls/{}/playlist.m3u8"


@attrs.frozen
class Case:
    """A stream, a fault, and the expected result.

    :ivar primary: path and query at the first provider.
    :ivar backup: path and query at the second provider, or empty.
    :ivar clips: clips of both providers; None: the clip of the package.
    :ivar path: path at the proxy.
    :ivar fault: fault of the first provider in the middle of the case.
    :ivar agents: value of CARRY_ON_AGENTS.
    :ivar players: names of the players to run.
    :ivar continuing: names of the players that must continue; None: all.
    :ivar still: longest time in seconds without a change of the picture.
    :ivar pictures: least number of decoded pictures in a browser.
    :ivar page_pattern: regular expression that the report of the page must match.
    """

    name: str
    primary: str = "/live/x.ts?burst=3"
    backup: str = ""
    clips: tuple[Recipe, Recipe] | None = None
    path: str = STREAM
    fault: str = ""
    agents: tuple[str, ...] = ()
    players: tuple[str, ...] = FOR_TS
    continuing: tuple[str, ...] | None = None
    still: float = 0.5
    pictures: int = 200
    page_pattern: str = ""

    @property
    def must_continue(self) -> tuple[str, ...]:
        """Names of the players that must continue."""
        return self.players if self.continuing is None else self.continuing


def seam(name: str, old: Recipe, new: Recipe, fault: str = "close=0", burst: int = 2, **changes: object) -> Case:
    """Return a case in which a live stream changes to a source with another encode."""
    return Case(name, backup=f"/live/x.ts?burst={burst}", clips=(old, new), fault=f"{fault}&status=404", **changes)


def hls(name: str, query: str, **changes: object) -> Case:
    """Return a case of HLS from its provider."""
    return Case(name, f"/hls/x/{query}", path=PLAYLIST, players=FOR_HLS, **{"still": 1.5, **changes})


def change(name: str, fault: str, query: str = "high/index.m3u8?", **changes: object) -> Case:
    """Return a case in which HLS changes to another source."""
    return hls(name, query, backup=f"/hls/y/{query}", fault=fault, still=4.5, **changes)


TS = (
    Case("live, no seam", players=("mpegts.js",)),
    seam("closes, H.264 + AAC", H264, H264.backup()),
    seam("resets, HEVC + AC-3", HEVC, HEVC.backup(), "reset=0", players=NATIVE),
    seam("closes, MPEG-2 + MP2", MPEG2, MPEG2.backup(), players=NATIVE),
    seam("stalls, H.264 + AAC", H264, H264.backup(), "stall=0", still=1.5),
    seam("closes, sound only", SOUND, SOUND.backup(), pictures=0),
    # mpegts.js loses the last picture of the old size. If other pictures refer to it, mpegts.js stops.
    seam("other size", H264, H264.backup(width=320, height=192), continuing=NATIVE),
    seam("other picture rate", H264, H264.backup(rate=50)),
    seam("open groups without IDR", H264, H264.backup(video="h264 open"), burst=0, still=1.0),
    seam("other codecs, default", H264, HEVC.backup(), continuing=()),
    seam(
        "other codecs, CARRY_ON_AGENTS",
        H264,
        HEVC.backup(),
        agents=("VLC", "GStreamer"),
        players=NATIVE,
        continuing=("VLC", "GStreamer"),
    ),
)

HLS = (
    hls(
        "variants, sound in renditions, subtitles",
        "master.m3u8?renditions=1",
        page_pattern=r"(?s)@audio 1@.* cues [1-9]",
    ),
    hls("fragmented MP4 with EXT-X-MAP", "master.m3u8?fmp4=1"),
    hls("AES-128, another key for each segment", "master.m3u8?keys=1"),
    hls("byte ranges", "high/index.m3u8?ranges=3"),
    hls("a window of 4 s that rolls", "high/index.m3u8?target=1&window=4"),
    hls("signed URLs with %2B and %3D", "master.m3u8?sign=1&uris=other&pass=a%2Bb%3D%3D"),
    hls("a film", "master.m3u8?vod=12"),
    Case("live TS as HLS", path=PLAYLIST, players=FOR_HLS, still=4.5),
)

HLS_CHANGES = (
    change("segments refused", "status=404&only=segment"),
    change("segments stall", "stall=50k&only=segment"),
    change("segments break off", "close=50k&only=segment"),
    change("playlists refused", "status=503&only=playlist"),
    change("encrypted, segments refused", "status=404&only=segment", "master.m3u8?keys=1"),
    change("MP4, segments refused", "status=404&only=segment", "master.m3u8?fmp4=1"),
    change("renditions, segments refused", "status=404&only=segment", "master.m3u8?renditions=1"),
    seam("live TS as HLS, closes", H264, H264.backup(), path=PLAYLIST, players=FOR_HLS, still=4.5),
    seam("live TS as HLS, other codecs", H264, MPEG2.backup(), path=PLAYLIST, players=FOR_HLS, continuing=()),
)

TABLES = {"live TS": TS, "HLS": HLS, "HLS, the source changes": HLS_CHANGES}
