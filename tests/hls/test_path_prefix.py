"""URLs in playlists begin with the prefix that the player's reverse proxy strips."""

from __future__ import annotations

import json

import pytest
from hls_rig import media, uris
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from m3uproxy.hls.served_playlist import _PIECE_BYTES, CLIENT_MARK, PREFIX_MARK, PlaylistCopy, count_marks, fill_marks

A = "http://a.example/live/index.m3u8"
MASTER = """#EXTM3U
#EXT-X-CONTENT-STEERING:SERVER-URI="steer"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="b",URI="a.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1
v.m3u8
"""
NGINX = IPv4Address("TCP", "127.0.0.1", 40000)


def forwarded_prefix(prefix: str) -> dict[str, object]:
    """Return the options of a request that a trusted proxy has sent."""
    return {"headers": {"X-Forwarded-Prefix": prefix}, "peer": NGINX}


def test_each_player_gets_its_own_prefix(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts", more='#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p.ts"'))
    stream = rig.stream(A)
    for prefix, more in (
        ("/m3u-proxy", {}),
        ("/tv", forwarded_prefix("/tv")),
        ("/a/b", forwarded_prefix("/a/b/")),
        ("", forwarded_prefix("/")),
        ("/m3u-proxy", forwarded_prefix("//x")),
        ("/m3u-proxy", {"headers": {"X-Forwarded-Prefix": "/evil"}}),
    ):
        body = rig.play(stream, **more).body
        assert uris(body)[0].startswith(f"{prefix}/hls/{stream.id}/segment.ts?url=")
        assert f'URI="{prefix}/hls/{stream.id}/segment.ts?url='.encode() in body
        assert b"\0" not in body
    assert rig.origin.count(A) == 1


def test_variants_and_manifests_have_the_prefix(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, MASTER)
    rig.origin.put("http://a.example/live/steer", json.dumps({"RELOAD-URI": "again"}))
    rig.origin.put("http://a.example/live/v.m3u8", media("s1.ts"))
    rig.origin.put("http://a.example/live/s1.ts", b"G" * 188)
    stream = rig.stream(A)
    text = rig.play(stream, **forwarded_prefix("/tv")).body.decode()
    assert text.count(f"/tv/hls/{stream.id}/") == 3
    steering = text.partition('SERVER-URI="')[2].partition('"')[0]
    answer = rig.get(steering.removeprefix("/tv"), **forwarded_prefix("/tv"))
    assert answer.json["RELOAD-URI"].startswith(f"/tv/hls/{stream.id}/")
    variant = rig.get(uris(text.encode())[0].removeprefix("/tv"), **forwarded_prefix("/tv"))
    (segment,) = uris(variant.body)
    assert rig.get(segment.removeprefix("/tv"), **forwarded_prefix("/tv")).body == b"G" * 188


def test_prefix_of_the_public_url_works_with_and_without_the_proxy(make_rig) -> None:
    """Other programs of the same machine ask the proxy itself."""
    rig = make_rig(public_url="https://tv.example/tv")
    rig.origin.put(A, media("s1.ts"))
    rig.origin.put("http://a.example/live/s1.ts", b"G" * 188)
    stream = rig.stream(A)
    (segment,) = uris(rig.play(stream, **forwarded_prefix("/other")).body)
    assert segment.startswith(f"/tv/hls/{stream.id}/")
    for path in (segment, segment.removeprefix("/tv"), segment.replace("/tv/", "/m3u-proxy/")):
        assert rig.get(path).body == b"G" * 188


@given(
    st.lists(st.sampled_from([CLIENT_MARK, PREFIX_MARK, "x", "x" * 1000, "x" * (_PIECE_BYTES - 1)]), max_size=40),
    st.sampled_from(["", "/a", "/" + "b" * 199]),
)
def test_pieces_of_a_copy_are_the_copy(parts: list[str], prefix: str) -> None:
    """A piece may end at any byte of the playlist, but not within a mark."""
    text = "".join(f"{part}," for part in parts)
    copy = PlaylistCopy(count_marks(text.encode()), "me/you", prefix)
    expected = fill_marks(text, "me/you", prefix).encode()
    assert copy.read() == b"".join(copy.pieces()) == expected
    assert copy.size == len(expected)
    assert max(map(len, PlaylistCopy(count_marks(text.encode()), "m", "").pieces()), default=0) <= _PIECE_BYTES + 1


@pytest.mark.parametrize("at", range(-2, 3))
def test_mark_at_the_end_of_a_piece(at: int) -> None:
    text = "x" * (_PIECE_BYTES + at) + PREFIX_MARK + "y"
    assert (
        b"".join(PlaylistCopy(count_marks(text.encode()), "me", "/tv").pieces()) == text.replace("\0", "/tv").encode()
    )
