"""Playlists and files beside the main programme: what fails there does not move the stream."""

from __future__ import annotations

import json
import re

import pytest
from hls_rig import HlsRig, media, uris

from m3uproxy.errors import Reason, SourceError

A, B = "http://a.example/index.m3u8", "http://b.example/index.m3u8"
GOOD = "#EXT-X-STREAM-INF:BANDWIDTH=9\ngood\n"
BACKUP = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\nb\n"
DATERANGE = '#EXT-X-DATERANGE:ID="{}",CLASS="com.apple.hls.interstitial",START-DATE="2026-01-01T00:00:00Z",{}'

#: Lines that name one playlist beside the main programme.
SIDE_LINES = {
    "subtitles": '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="a",URI="side"\n',
    "sound that no variant names": '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="side"\n',
    "other sound": '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="side"\n'
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="b"\n#EXT-X-STREAM-INF:BANDWIDTH=2,AUDIO="a"\nother\n',
    "another angle": '#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="v",NAME="a",URI="side"\n',
    "keyframes": '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="side"\n',
    "images": '#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1,URI="side"\n',
}
FAILURES = {
    "404": ({"status": 404}, 404),
    "500": ({"status": 500}, 500),
    "a page": ({"body": "<html>"}, 502),
    "refused": ({"error": SourceError(Reason.REFUSED)}, 502),
    "silence": ({"error": SourceError(Reason.FIRST_BYTE_TIMEOUT)}, 504),
}


def attribute_uris(playlist: bytes, name: str = "URI") -> list[str]:
    return re.findall(rf'\b{name}="([^"]*)"', playlist.decode())


def start(rig: HlsRig, entry: str = GOOD, variant: str | None = None):
    """Return a stream with a backup, and its first playlist."""
    rig.origin.put(A, "#EXTM3U\n" + entry)
    rig.origin.put("http://a.example/good", variant or media("a1.ts"))
    rig.origin.put(B, BACKUP)
    rig.origin.put("http://b.example/b", media("b1.ts"))
    stream = rig.stream(A, B)
    return stream, rig.play(stream).body


def stays(stream) -> bool:
    return (stream.source_index, stream.history.error_count) == (0, 0)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("line", SIDE_LINES)
def test_side_playlist_that_fails_has_its_own_error(make_rig, line, failure) -> None:
    rig = make_rig()
    stream, entry = start(rig, SIDE_LINES[line] + GOOD)
    page, status = FAILURES[failure]
    rig.origin.put("http://a.example/side", **page)
    side = attribute_uris(entry)[0]
    for _ in range(3):
        assert rig.get(side).status == status
        rig.wait(2)
    assert stays(stream)
    assert rig.get(uris(entry)[-1]).status == 200


def test_side_playlist_that_is_gone_is_not_repeated(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, SIDE_LINES["subtitles"] + GOOD)
    rig.origin.put("http://a.example/side", media("1.vtt"))
    (side,) = attribute_uris(entry)
    before = rig.get(side).body
    rig.wait(4)
    rig.origin.put("http://a.example/side", status=500)
    assert rig.get(side).body == before
    rig.wait(2)
    rig.origin.put("http://a.example/side", status=404)
    assert rig.get(side).status == 404
    assert stays(stream)


def test_side_playlist_that_stands_still_is_passed_on(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, SIDE_LINES["subtitles"] + GOOD)
    rig.origin.put("http://a.example/side", media("1.vtt"))
    (side,) = attribute_uris(entry)
    for _ in range(10):
        assert rig.get(side).status == 200
        rig.wait(4)
    assert stays(stream)


def test_segments_and_keys_of_side_playlists_do_not_count(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, SIDE_LINES["subtitles"] + GOOD)
    key, init = '#EXT-X-KEY:METHOD=AES-128,URI="{}.key"\n', '#EXT-X-MAP:URI="{}.mp4"\n'
    names = [key.format(n) + init.format(n) + f"#EXTINF:6,\n{n}.m4s" for n in range(3)]
    rig.origin.put("http://a.example/side", media(*names))
    text = rig.get(attribute_uris(entry)[0]).body
    found = [*attribute_uris(text), *uris(text)]
    assert len(found) == 9
    for uri in found:
        assert rig.get(uri).status == 404
    assert stays(stream)


def test_session_data_and_steering_do_not_count(make_rig) -> None:
    rig = make_rig()
    data = '#EXT-X-SESSION-DATA:DATA-ID="{0}",URI="{0}"\n'
    steering = '#EXT-X-CONTENT-STEERING:SERVER-URI="steer"\n'
    stream, entry = start(rig, steering + data.format("x") + data.format("y") + GOOD)
    for uri in (*attribute_uris(entry), *attribute_uris(entry, "SERVER-URI")):
        assert rig.get(uri).status == 404
    assert stays(stream)


def test_rendition_without_counterpart_is_not_the_main_programme(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, SIDE_LINES["subtitles"] + GOOD)
    (side,) = attribute_uris(entry)
    stream.fail_over()
    for restarted in (False, True):
        if restarted:
            stream.abort_client("me")
            stream.fail_over(1)
        answer = rig.get(side)
        assert (answer.status, answer.json["detail"]) == (404, "The source in use has no such rendition.")


# the sound of the main programme

SOUND = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{0}",NAME="{0}",URI="{0}"\n#EXT-X-STREAM-INF:BANDWIDTH=9,AUDIO="{0}"\ngood\n'


def test_required_sound_counts(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, SOUND.format("a"))
    assert rig.get(uris(entry)[0]).status == 200
    assert rig.get(attribute_uris(entry)[0]).status == 404
    assert stream.source_index == 1


def test_segments_of_required_sound_count(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, SOUND.format("a"))
    rig.origin.put("http://a.example/a", media("1.aac", "2.aac"))
    for uri in uris(rig.get(attribute_uris(entry)[0]).body):
        assert stays(stream)
        rig.get(uri)
    assert stream.source_index == 1


def test_required_sound_does_not_count_while_that_of_another_variant_works(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, SOUND.format("a") + SOUND.format("b"))
    rig.origin.put("http://a.example/a", media("1.aac"))
    works, fails = attribute_uris(entry)
    assert [rig.get(uri).status for uri in (works, fails)] == [200, 404]
    assert stays(stream)


# advertisements


def advertised(rig: HlsRig, attribute: str):
    """Return a stream whose playlist names an advertisement, and the URI of that."""
    stream, entry = start(rig, variant=media("a1.ts", more=DATERANGE.format("ad", attribute)))
    text = rig.get(uris(entry)[0]).body
    return stream, attribute_uris(text, "X-ASSET-(?:URI|LIST)")[0]


@pytest.mark.parametrize("attribute", ['X-ASSET-URI="x"', 'X-ASSET-URI="x.mp4"', 'X-ASSET-LIST="x"'])
def test_advertisement_that_fails_has_its_own_status(make_rig, attribute) -> None:
    rig = make_rig()
    stream, ad = advertised(rig, attribute)
    assert [rig.get(ad).status for _ in range(3)] == [404] * 3
    assert stays(stream)
    stream.fail_over()
    assert rig.get(ad).status == 404


@pytest.mark.parametrize(
    ("name", "sent", "told"),
    [("ad.mp4", "video/mp4", "video/mp4"), ("ad.ts", "", "video/mp4"), ("ad", "application/mp4", "application/mp4")],
)
def test_advertisement_that_is_a_file_is_served_as_one(make_rig, name, sent, told) -> None:
    rig = make_rig()
    body = b"\0\0\0\x18ftypmp42" + bytes(5000)
    rig.origin.put(f"http://a.example/{name}", body, headers={"Content-Type": sent})
    stream, ad = advertised(rig, f'X-ASSET-URI="{name}"')
    answer = rig.get(ad)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, body, told)
    part = rig.get(ad, headers={"Range": "bytes=4-7"})
    assert (part.status, part.body) == (206, b"ftyp")
    assert rig.get(ad, method="HEAD").headers["Content-Length"] == str(len(body))
    assert stays(stream)


@pytest.mark.parametrize("name", ["ad.m3u8", "ad", "ad.mp4"])
def test_advertisement_with_variants_is_played_whatever_source_is_in_use(make_rig, name) -> None:
    rig = make_rig()
    rig.origin.put(f"http://a.example/{name}", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nads/low\n")
    rig.origin.put("http://a.example/ads/low", media("1.ts", "2.ts", more="#EXT-X-ENDLIST"))
    rig.origin.put("http://a.example/ads/1.ts", b"G" * 188)
    stream, ad = advertised(rig, f'X-ASSET-URI="{name}"')
    stream.fail_over()
    rig.wait(6)
    (variant,) = uris(rig.get(ad).body)
    text = rig.get(variant).body
    assert b"DISCONTINUITY" not in text
    segment, gone = uris(text)
    assert rig.get(segment).body == b"G" * 188
    stream.fail_over(0)
    rig.wait(6)
    assert rig.get(variant).body == text
    assert rig.get(gone).status == 404
    rig.origin.put("http://a.example/ads/low", status=404)
    rig.wait(6)
    assert rig.get(variant).status == 404
    assert stream.history.error_count == 0


@pytest.mark.parametrize("watched", [False, True])
def test_discontinuities_of_an_advertisement_are_not_those_of_the_programme(make_rig, watched) -> None:
    rig = make_rig()
    rig.origin.put("http://a.example/ad", media("1.ts", "#EXT-X-DISCONTINUITY\n2.ts", "#EXT-X-DISCONTINUITY\n3.ts"))
    stream, ad = advertised(rig, 'X-ASSET-URI="ad"')
    if watched:
        assert rig.get(ad).body.count(b"#EXT-X-DISCONTINUITY\n") == 2
    stream.fail_over()
    entry = uris(rig.play(stream, "client_id=new").body)
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in rig.get(entry[0]).body


def test_advertisements_of_a_list_are_files_or_playlists(make_rig) -> None:
    rig = make_rig()
    rig.origin.put("http://a.example/list", json.dumps({"ASSETS": [{"URI": "1.mp4"}, {"URI": "2"}, {"URI": "3"}]}))
    rig.origin.put("http://a.example/1.mp4", b"\0" * 100)
    rig.origin.put("http://a.example/2", media("ad.ts"))
    stream, found = advertised(rig, 'X-ASSET-LIST="list"')
    answers = [rig.get(asset["URI"]) for asset in rig.get(found).json["ASSETS"]]
    assert [answer.status for answer in answers] == [200, 200, 404]
    assert answers[0].body == b"\0" * 100
    assert b"#EXTM3U" in answers[1].body
    assert stays(stream)


# one variant of several

LADDER = "#EXT-X-STREAM-INF:BANDWIDTH=9\ngood\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow\n"


@pytest.mark.parametrize("failure", FAILURES)
def test_variant_that_fails_alone_has_its_own_error(make_rig, failure) -> None:
    rig = make_rig()
    stream, entry = start(rig, LADDER)
    page, status = FAILURES[failure]
    rig.origin.put("http://a.example/low", **page)
    good, low = uris(entry)
    rig.get(good)
    for n in range(3):
        rig.origin.put("http://a.example/good", media("a.ts", first=n))
        assert rig.get(low).status == status
        rig.wait(6)
    assert stays(stream)


def test_variants_that_all_fail_move_the_stream(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, LADDER)
    rig.origin.put("http://a.example/low", media("l1.ts"))
    good, low = uris(entry)
    for uri in (low, good):
        assert rig.get(uri).status == 200
    rig.wait(4)
    rig.origin.put("http://a.example/low", status=500)
    rig.origin.put("http://a.example/good", status=500)
    assert b"#EXT-X-DISCONTINUITY" in rig.get(low).body
    assert stream.source_index == 1
    assert b"#EXT-X-DISCONTINUITY" in rig.get(good).body
    assert stream.history.failover_attempts == 1


@pytest.mark.parametrize("asked", [[], ["low"]])
def test_only_variant_that_players_ask_for_moves_the_stream(make_rig, asked) -> None:
    rig = make_rig()
    stream, entry = start(rig, LADDER)
    low = uris(entry)[1]
    if asked:
        rig.origin.put("http://a.example/low", media("l1.ts"))
        rig.get(low)
        rig.origin.put("http://a.example/low", status=404)
        rig.wait(4)
    assert rig.get(low).status == 200
    assert stream.source_index == 1


def test_silent_variant_is_not_waited_for_long(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, LADDER)
    good, low = uris(entry)
    rig.get(good)
    rig.wait(4)
    rig.origin.put("http://a.example/good", silent=True)
    wire = rig.open(low)
    rig.wait(2.5)
    assert wire.take() == b""
    rig.wait(1)
    assert wire.answer().status == 200
    assert stream.source_index == 1


def test_variant_that_cannot_be_checked_for_a_cause_of_this_proxy_is_trusted(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, LADDER)
    good, low = uris(entry)
    rig.get(good)
    rig.wait(4)
    rig.origin.put("http://a.example/good", error=SourceError(Reason.FULL))
    assert rig.get(low).status == 404
    assert stays(stream)


def test_player_that_leaves_while_another_variant_is_asked(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, LADDER)
    good, low = uris(entry)
    rig.get(good)
    rig.wait(4)
    rig.origin.put("http://a.example/good", silent=True)
    rig.open(low).lose()
    assert rig.origin.cancelled == ["http://a.example/good"]
    assert stays(stream)


def test_variant_that_stands_still_alone_is_passed_on(make_rig) -> None:
    rig = make_rig()
    stream, entry = start(rig, LADDER)
    rig.origin.put("http://a.example/low", media("l1.ts"))
    good, low = uris(entry)
    for n in range(10):
        rig.origin.put("http://a.example/good", media(f"a{n}.ts", first=n))
        assert [rig.get(uri).status for uri in (good, low)] == [200, 200]
        rig.wait(6)
    assert stays(stream)
    for _ in range(10):
        assert [rig.get(uri).status for uri in (good, low)] == [200, 200]
        rig.wait(3)
    assert stream.source_index == 1


def test_segments_of_one_variant_do_not_move_the_stream(make_rig) -> None:
    """All segments are in one folder."""
    rig = make_rig()
    stream, entry = start(rig, LADDER, media("a1.ts", "a2.ts"))
    rig.origin.put("http://a.example/low", media("l1.ts", "l2.ts", "l3.ts"))
    rig.origin.put("http://a.example/a1.ts", b"x")
    good, low = (uris(rig.get(uri).body) for uri in uris(entry))
    assert rig.get(good[0]).status == 200
    assert [rig.get(uri).status for uri in low] == [404] * 3
    assert stays(stream)
    for _ in range(4):
        rig.wait(10)
        rig.play(stream)
    assert rig.get(low[0]).status == 404
    assert stream.source_index == 1


# rendition reports


@pytest.mark.parametrize(
    "report",
    ["low/index.m3u8", "low/index.m3u8?s=1", "//cdn.example/low/index.m3u8"],
    ids=["without query", "as listed", "another server"],
)
def test_rendition_report_names_the_level_of_the_player(make_rig, report) -> None:
    rig = make_rig()
    ladder = "#EXT-X-STREAM-INF:BANDWIDTH=9\ngood?s=1\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow/index.m3u8?s=1\n"
    rig.origin.put(
        "http://a.example/good?s=1", media("a.ts", more=f'#EXT-X-RENDITION-REPORT:URI="{report}",LAST-MSN=3')
    )
    _, entry = start(rig, ladder)
    good, low = uris(entry)
    assert attribute_uris(rig.get(good).body) == [low]


def test_ambiguous_rendition_report_is_a_playlist_of_its_own(make_rig) -> None:
    rig = make_rig()
    ladder = "#EXT-X-STREAM-INF:BANDWIDTH=9\nx?q=1\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx?q=2\n"
    rig.origin.put("http://a.example/x?q=1", media("a.ts", more='#EXT-X-RENDITION-REPORT:URI="x",LAST-MSN=3'))
    rig.origin.put("http://a.example/x", media("b.ts"))
    _, entry = start(rig, ladder)
    levels = uris(entry)
    (report,) = attribute_uris(rig.get(levels[0]).body)
    assert report not in levels
    assert rig.get(report).status == 200
