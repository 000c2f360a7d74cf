"""HLS of the provider with a fake clock and in-memory transports: playlists, resources, faults."""

from __future__ import annotations

import gzip
import re
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from test_provider_connection import StationRig

from m3uproxy.provider.clip import PACKET, load_clip, read_stamp, stamp_offsets
from m3uproxy.provider.hls.answers import key_of
from m3uproxy.provider.hls.options import FIRST, hls_path
from m3uproxy.provider.hls.segmenter import AUDIO, PMT, VIDEO, ClipSegmenter, crc32
from m3uproxy.provider.timeline import Timeline


class HlsStationRig(StationRig):
    def __init__(self):
        super().__init__()
        self.transports = []

    def connect(self):
        self.transports.append(super().connect())
        return self.transports[-1]

    def get(self, target, *headers, method="GET", seconds=0.5):
        """Request a resource. Return status, headers and body of the complete answer."""
        transport = self.ask(target, *headers, method=method)
        self.run(seconds)
        return self.split(transport)

    @staticmethod
    def split(transport):
        head, _, body = transport.value().partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body

    def lines(self, target):
        return self.get(target)[2].decode("utf-8").splitlines()


@pytest.fixture
def rig():
    rig = HlsStationRig()
    rig.clock.advance(20)
    yield rig
    for transport in rig.transports:
        transport.abortConnection()
    assert rig.clock.getDelayedCalls() == []
    assert rig.station.viewers.current == 0


def uris(lines):
    return [line for line in lines if line and not line.startswith("#")]


def pids(data):
    return {(data[at + 1] & 0x1F) << 8 | data[at + 2] for at in range(0, len(data), PACKET)}


class TestSegmenter:
    @pytest.mark.parametrize("target", [1, 2, 4, 8])
    def test_segments_continue_and_begin_with_tables_and_keyframe(self, target):
        segmenter = ClipSegmenter(Timeline(load_clip()), target)
        whole = b""
        for number in range(-2, 12 // target + 2):
            data = segmenter.segment(number, "both")
            assert [data[at + 2] for at in (0, PACKET)] == [0, 0]  # PAT, then the PMT on 0x1000
            assert data[2 * PACKET + 5] & 0x40
            whole += data
        for pid in (VIDEO, AUDIO):
            counters = [
                whole[at + 3] & 0x0F for at in range(0, len(whole), PACKET) if pids(whole[at : at + PACKET]) == {pid}
            ]
            assert all((a + 1) & 15 == b for a, b in pairwise(counters))

    def test_segment_holds_whole_pes_packets(self):
        segmenter = ClipSegmenter(Timeline(load_clip()), 1)
        for number in range(9):
            data = segmenter.segment(number, "both")
            for pid in (VIDEO, AUDIO):
                first = next(at for at in range(0, len(data), PACKET) if pids(data[at : at + PACKET]) == {pid})
                assert data[first + 1] & 0x40

    def test_stamp_is_the_pts_of_the_first_picture(self):
        segmenter = ClipSegmenter(Timeline(load_clip(), 2**33 - 90000 * 9), 2)
        for number in range(-3, 9):
            data = segmenter.segment(number, "both")
            assert read_stamp(data, stamp_offsets(data, 2 * PACKET)[0]) == segmenter.stamp(number)

    @pytest.mark.parametrize(("tracks", "pid"), [("video", VIDEO), ("audio", AUDIO)])
    def test_pmt_of_a_rendition_names_its_stream(self, tracks, pid):
        data = ClipSegmenter(Timeline(load_clip()), 2).segment(3, tracks)
        assert pids(data) == {0, PMT, pid}
        section = data[PACKET + 5 :]
        length = 3 + ((section[1] & 0x0F) << 8 | section[2])
        assert crc32(section[:length]) == 0
        assert (section[13] & 0x1F) << 8 | section[14] == pid

    def test_parts_join_to_the_segment(self):
        segmenter = ClipSegmenter(Timeline(load_clip()), 4)
        assert b"".join(segmenter.part(5, part) for part in range(4)) == segmenter.segment(5, "both")


class TestPlaylists:
    def test_master_names_available_resources(self, rig):
        lines = rig.lines("/hls/a/master.m3u8?renditions=1&x=%2B")
        assert uris(lines) == ["high/index.m3u8?renditions=1&x=%2B", "low/index.m3u8?renditions=1&x=%2B"]
        assert len(re.findall('URI="(?:audio|subs)/index.m3u8', "\n".join(lines))) == 3
        for uri in [*uris(lines), "audio/index.m3u8?renditions=1", "subs/index.m3u8?renditions=1"]:
            for segment in uris(rig.lines(f"/hls/a/{uri}")):
                assert rig.get(f"/hls/a/{uri.split('/')[0]}/{segment}")[0] == 200

    def test_live_window_moves_with_the_clock(self, rig):
        seen = set()
        for _ in range(8):
            lines = rig.lines("/hls/a/high/index.m3u8?window=3")
            first = int(next(line for line in lines if "MEDIA-SEQUENCE" in line).split(":")[1])
            assert uris(lines) == [f"seg{first + n}.ts?window=3" for n in range(3)]
            assert first == int(rig.station.uptime() - 0.5) // 2 - 3 + FIRST
            seen.add(first)
            rig.clock.advance(0.5)
        assert len(seen) > 2
        assert rig.get(f"/hls/a/high/seg{first + 3}.ts?window=3")[0] in (200, 404)
        assert rig.get(f"/hls/a/high/seg{first + 9}.ts?window=3")[0] == 404
        assert rig.get(f"/hls/a/high/seg{first - 9}.ts?window=3")[0] == 404

    def test_vod_playlist_has_an_end(self, rig):
        lines = rig.lines("/hls/a/high/index.m3u8?vod=3&target=4")
        assert uris(lines) == [f"seg{FIRST + n}.ts?vod=3&target=4" for n in range(3)]
        assert lines[-1] == "#EXT-X-ENDLIST"
        assert rig.get(f"/hls/a/high/seg{FIRST + 3}.ts?vod=3&target=4")[0] == 404

    def test_style_changes_the_text(self, rig):
        body = rig.get("/hls/a/high/index.m3u8?style=crlf,bom,vlcopt")[2]
        assert body.startswith(b"\xef\xbb\xbf#EXTM3U\r\n#EXTVLCOPT")
        assert b"\n" not in body.replace(b"\r\n", b"")
        assert not rig.get("/hls/a/high/index.m3u8?style=headless")[2].startswith(b"#EXTM3U")

    @pytest.mark.parametrize(
        ("kind", "start"),
        [("path", "/hls/a/"), ("absolute", "http://127.0.0.1:8086/hls/a/"), ("other", "http://localhost:8086/hls/a/")],
    )
    def test_uris_selects_the_form_of_uris(self, rig, kind, start):
        lines = rig.lines(f"/hls/a/high/index.m3u8?keys=1&uris={kind}")
        assert all(uri.startswith(start + "high/seg") for uri in uris(lines))
        assert f'URI="{start}high/key' in "\n".join(lines)

    def test_changed_signature_is_refused(self, rig):
        uri = uris(rig.lines("/hls/a/high/index.m3u8?sign=1"))[-1]
        assert {"%2B", "%2F", "%3D"} <= set(re.findall("%..", uri))
        assert rig.get(f"/hls/a/high/{uri}")[0] == 200
        for changed in (uri.replace("%2B", "+"), uri.replace("%3D", "="), uri.replace("%2F", "%2f"), uri[:-1]):
            assert rig.get(f"/hls/a/high/{changed}")[0] == 403

    def test_keys_rotate_and_decrypt(self, rig):
        lines = rig.lines("/hls/a/high/index.m3u8?vod=5&keys=2")
        keys = [re.search('URI="([^"]+)"', line)[1] for line in lines if "EXT-X-KEY" in line]
        assert keys == [f"key{500 + n}.bin?vod=5&keys=2" for n in range(3)]
        assert len({rig.get(f"/hls/a/high/{key}")[2] for key in keys}) == 3
        assert rig.get(f"/hls/a/high/{keys[1]}")[2] == key_of("a", 501)
        data = rig.get(f"/hls/a/high/seg{FIRST + 3}.ts?vod=5&keys=2")[2]
        decryptor = Cipher(algorithms.AES(key_of("a", 501)), modes.CBC((FIRST + 3).to_bytes(16, "big"))).decryptor()
        plain = decryptor.update(data) + decryptor.finalize()
        assert plain[: -plain[-1]] == rig.get(f"/hls/a/high/seg{FIRST + 3}.ts?vod=5")[2]

    def test_byte_ranges_hold_the_segments(self, rig):
        lines = rig.lines("/hls/a/high/index.m3u8?vod=5&ranges=2")
        ranges = [line.split(":")[1] for line in lines if "BYTERANGE" in line]
        for number, (uri, text) in enumerate(zip(uris(lines), ranges, strict=True)):
            size, offset = map(int, text.split("@"))
            wanted = f"Range: bytes={offset}-{offset + size - 1}"
            status, headers, body = rig.get(f"/hls/a/high/{uri}", wanted)
            assert status == 206
            assert headers["Content-Range"].startswith(f"bytes {offset}-{offset + size - 1}/")
            assert body == rig.get(f"/hls/a/high/seg{FIRST + number}.ts?vod=5")[2]

    def test_fragmented_mp4_segments_continue_the_clock(self, rig):
        lines = rig.lines("/hls/a/high/index.m3u8?vod=5&fmp4=1")
        assert '#EXT-X-MAP:URI="init.mp4?vod=5&fmp4=1"' in lines
        assert rig.get("/hls/a/high/init.mp4?vod=5&fmp4=1")[2][4:8] == b"ftyp"
        times = []
        for uri in uris(lines):
            body = rig.get(f"/hls/a/high/{uri}")[2]
            at = body.index(b"tfdt") + 8
            times.append(int.from_bytes(body[at : at + 8], "big"))
        assert {later - sooner for sooner, later in pairwise(times)} == {2 * 90_000}

    def test_ranges(self, rig):
        whole = rig.get("/hls/a/high/seg1001.ts?vod=3")[2]
        assert rig.get("/hls/a/high/seg1001.ts?vod=3", "Range: bytes=-10")[2] == whole[-10:]
        assert rig.get("/hls/a/high/seg1001.ts?vod=3", "Range: bytes=100-")[2] == whole[100:]
        status, headers, body = rig.get("/hls/a/high/seg1001.ts?vod=3", f"Range: bytes={len(whole)}-")
        assert (status, headers["Content-Range"], body) == (416, f"bytes */{len(whole)}", b"")
        status, headers, body = rig.get("/hls/a/high/seg1001.ts?vod=3", method="HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(len(whole)), b"")

    def test_low_latency_request_waits_for_its_part(self, rig):
        text = rig.get("/hls/a/high/index.m3u8?parts=1", seconds=0.02)[2].decode()
        hint = re.search('PRELOAD-HINT:TYPE=PART,URI="([^"]+)"', text)[1]
        assert 'RENDITION-REPORT:URI="../low/index.m3u8?parts=1"' in text
        number, part = map(int, re.match(r"part(\d+)\.(\d)", hint).groups())
        due = (number - FIRST + (part + 1) / 4) * 2
        held = [rig.ask(f"/hls/a/high/{hint}"), rig.ask(f"/hls/a/high/index.m3u8?parts=1&_HLS_msn={number}")]
        rig.clock.advance(due - rig.station.uptime() - 0.01)
        assert not any(transport.value() for transport in held)
        rig.run(0.1)
        assert rig.split(held[0])[2] == ClipSegmenter(rig.station.timeline, 2).part(number - FIRST, part)
        rig.run(2)
        assert f"seg{number}.ts" in rig.split(held[1])[2].decode()
        assert "_HLS" not in rig.split(held[1])[2].decode()


class TestFaults:
    def test_only_selects_the_resources_with_faults(self, rig):
        rig.control("a", only="segment", status=404, times=1)
        uri = uris(rig.lines("/hls/a/high/index.m3u8"))[0]
        assert rig.get(f"/hls/a/high/{uri}")[0] == 404
        assert rig.get(f"/hls/a/high/{uri}")[0] == 200
        rig.control("a", only=f"low/{uri}", html=1)
        assert b"<html" in rig.get(f"/hls/a/low/{uri}")[2]
        assert rig.get(f"/hls/a/high/{uri}")[0] == 200
        assert rig.ask("/live/a.ts").value().startswith(b"HTTP/1.1 200")

    def test_stale_playlist_stops(self, rig):
        fresh = rig.lines("/hls/a/high/index.m3u8")
        rig.control("a", stale=1)
        stale = rig.lines("/hls/a/high/index.m3u8")
        rig.clock.advance(10)
        assert rig.lines("/hls/a/high/index.m3u8") == stale
        assert rig.get(f"/hls/a/high/{uris(stale)[-1]}")[0] == 200
        rig.control("a", fault="none")
        assert rig.lines("/hls/a/high/index.m3u8") != stale
        assert len(fresh) == len(stale)

    def test_cut_short_stalled_and_reset(self, rig):
        size = int(rig.get("/hls/a/high/seg1001.ts?vod=3", method="HEAD")[1]["Content-Length"])
        transport = rig.ask("/hls/a/high/seg1001.ts?vod=3&close=5000")
        rig.run(0.5)
        assert (transport.closed, len(rig.split(transport)[2])) == (True, 5000)
        transport = rig.ask("/hls/a/high/seg1001.ts?vod=3&stall=70001&stall_for=3")
        rig.run(2.9)
        assert (transport.closed, len(rig.split(transport)[2])) == (False, 70001)
        rig.run(0.2)
        assert len(rig.split(transport)[2]) == size
        transport = rig.ask("/hls/a/high/seg1001.ts?vod=3&reset=0")
        rig.run(0.5)
        assert (transport.aborted, rig.split(transport)[2]) == (True, b"")
        transport = rig.ask("/hls/a/high/seg1001.ts?vod=3&trickle=0.5")
        rig.run(1.9)
        assert len(rig.split(transport)[2]) == 4 * PACKET

    def test_framing_and_gzip(self, rig):
        assert "Content-Length" not in rig.get("/hls/a/high/index.m3u8?framing=chunked")[1]
        transport = rig.ask("/hls/a/high/index.m3u8?framing=none")
        rig.run(0.1)
        assert transport.closed
        assert "Content-Length" not in rig.split(transport)[1]
        plain = rig.get("/hls/a/high/index.m3u8?vod=2")[2]
        _, headers, body = rig.get("/hls/a/high/index.m3u8?vod=2&gzip=1")
        assert gzip.decompress(body).replace(b"&gzip=1", b"") == plain
        assert headers["Content-Length"] == str(len(body))

    def test_invalid_options_and_paths(self, rig):
        assert rig.get("/hls/a/high/index.m3u8?target=3")[0] == 400
        assert rig.get("/hls/a/high/index.m3u8?stall=soon")[0] == 400
        for path in ("/hls/a/", "/hls/a/other/index.m3u8", "/hls/a/high/x.ts", "/hls/a/b/master.m3u8"):
            assert hls_path(path) is None
            assert rig.get(path)[0] == 404


class TestCounts:
    def test_resources_are_counted_on_a_reused_connection(self, rig):
        transport = rig.ask("/hls/a/high/index.m3u8?vod=2")
        rig.run(0.1)
        for _ in range(2):
            rig.ask("/hls/a/high/seg1000.ts?vod=2", transport=transport)
            rig.run(0.1)
        tally = rig.station.resource("/hls/a/high/seg1000.ts")
        assert (tally.requests, tally.current, tally.peak) == (2, 0, 1)
        assert rig.station.channel("a").tally.requests == 3
        assert rig.station.sockets.total == 1
        assert not transport.closed
        assert set(rig.station.report()["resources"]) == {"/hls/a/high/index.m3u8", "/hls/a/high/seg1000.ts"}

    def test_paused_client_pauses_and_disconnect_stops_the_body(self, rig):
        transport = rig.connect()
        transport.pauses_over = 1000
        rig.ask("/hls/a/high/seg1000.ts?vod=2", transport=transport)
        rig.run(0.5)
        tally = rig.station.resource("/hls/a/high/seg1000.ts")
        assert tally.current == 1
        assert tally.octets == 65_536
        transport.abortConnection()
        assert tally.current == rig.station.viewers.current == 0
        assert rig.clock.getDelayedCalls() == []
