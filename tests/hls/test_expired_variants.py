"""Variants whose URLs end: the source names new ones in a fresh multivariant playlist."""

from __future__ import annotations

import re

import pytest
from hls_rig import HlsRig, Page, media, uris

A, B = "http://a.example/index.m3u8", "http://b.example/index.m3u8"
ENTRY = """#EXTM3U
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",LANGUAGE="en",URI="{0}/en?t={0}"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="Deutsch",LANGUAGE="de",URI="{0}/de?t={0}"
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1280x720
{0}/high?t={0}
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360
{0}/low?t={0}
"""
NAMES = ("en", "de", "high", "low")


class Sessions:
    """
    A provider whose URLs hold a session.

    :ivar first: the media sequence number of its playlists.
    """

    def __init__(self, rig: HlsRig, host: str = "a.example") -> None:
        self.rig = rig
        self.first = 0
        self.base = f"http://{host}"
        self.start(1)

    def start(self, session: int, entry: str = ENTRY) -> None:
        """Begin a session. The first playlist names its URLs."""
        self.rig.origin.put(f"{self.base}/index.m3u8", entry.format(session))
        self.session = session
        self.go_on()

    def go_on(self) -> None:
        """Add a segment to each playlist of the session."""
        self.first += 1
        for name in NAMES:
            self.rig.origin.put(self.url(name), media(f"{name}.ts", first=self.first))

    def url(self, name: str) -> str:
        return f"{self.base}/{self.session}/{name}?t={self.session}"

    def end(self, status: int = 404) -> None:
        """End the session. The first playlist still names its URLs."""
        for name in NAMES:
            self.rig.origin.put(self.url(name), status=status)

    def renew(self, status: int = 404, entry: str = ENTRY) -> None:
        """End the session and begin another."""
        self.end(status)
        self.start(self.session + 1, entry)


def start(rig: HlsRig, *backups: str):
    """Return the provider, the stream, and the URIs of its playlists by name."""
    sessions = Sessions(rig)
    stream = rig.stream(A, *backups)
    text = rig.play(stream).body
    english, german = re.findall(r'URI="([^"]*)"', text.decode())
    return sessions, stream, dict(zip(NAMES, [english, german, *uris(text)], strict=True))


def sequence(answer) -> int:
    assert answer.status == 200
    return int(re.search(rb"MEDIA-SEQUENCE:(\d+)", answer.body)[1])


@pytest.mark.parametrize("backups", [(), (B,)], ids=["one source", "a backup"])
@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_url_that_ended_is_looked_up_in_the_multivariant_playlist(make_rig, status, backups) -> None:
    rig = make_rig()
    sessions, stream, found = start(rig, *backups)
    for _ in range(3):
        for name in NAMES:
            assert sequence(rig.get(found[name])) == sessions.first
        rig.wait(5)
        sessions.renew(status)
    for name in NAMES:
        assert b"DISCONTINUITY" not in rig.get(found[name]).body
        assert rig.origin.asked[-1] == sessions.url(name)
    assert (stream.source_index, stream.history.error_count) == (0, 0)


def test_later_requests_go_to_the_new_url(make_rig) -> None:
    rig = make_rig()
    sessions, _, found = start(rig)
    rig.get(found["low"])
    rig.wait(5)
    sessions.renew()
    rig.get(found["low"])
    asked = len(rig.origin.asked)
    for _ in range(3):
        rig.wait(5)
        sessions.go_on()
        assert sequence(rig.get(found["low"])) == sessions.first
    assert rig.origin.asked[asked:] == [sessions.url("low")] * 3


def test_players_that_wait_share_one_lookup(make_rig) -> None:
    rig = make_rig()
    sessions, stream, found = start(rig)
    old = sessions.url("low")
    sessions.renew()
    rig.origin.put(old, silent=True)
    rig.origin.put(A, silent=True)
    wires = [rig.open(found["low"].replace("client_id=me", f"client_id=c{n}")) for n in range(50)]
    rig.origin.waiting[0].callback(rig.origin.answer(Page(status=404), rig.origin.requests[-1]))
    assert len(rig.origin.waiting) == 2
    rig.origin.waiting[1].callback(
        rig.origin.answer(Page(ENTRY.format(sessions.session).encode()), rig.origin.requests[-1])
    )
    assert {wire.answer().status for wire in wires} == {200}
    assert rig.origin.asked == [A, old, A, sessions.url("low")]
    assert stream.history.error_count == 0


def test_players_with_urls_of_different_sessions_share_the_newest(make_rig) -> None:
    """A provider that allows one session: each lookup ends the one before."""
    rig = make_rig()
    sessions, stream, found = start(rig)
    players = [found["low"]]
    for n in range(2):
        rig.wait(6)
        sessions.renew()
        players.append(uris(rig.play(stream, f"client_id=c{n}").body)[1])
    assert len({uri.partition("&")[0] for uri in players}) == 3
    asked = rig.origin.count(A)
    for _ in range(5):
        rig.wait(6)
        sessions.go_on()
        for uri in players:
            assert sequence(rig.get(uri)) == sessions.first
    assert rig.origin.count(A) == asked
    sessions.renew()
    rig.wait(6)
    for uri in players:
        assert sequence(rig.get(uri)) == sessions.first
    assert rig.origin.count(A) == asked + 1


def test_variant_in_use_stays_known_while_others_come_and_go(make_rig, monkeypatch) -> None:
    monkeypatch.setattr("m3uproxy.hls.variant_map.MAX_RENDITIONS", 12)
    rig = make_rig()
    sessions, stream, found = start(rig)
    names = tuple(found)
    for n in range(2, 10):
        rig.wait(5)
        old = sessions.session
        sessions.start(n)
        sessions.session = old
        sessions.go_on()
        for name in names:
            assert rig.get(found[name]).status == 200
        rig.play(stream, f"client_id=c{n}")
    rig.origin.pages.clear()
    sessions.start(20)
    rig.wait(6)
    for name in names:
        assert rig.get(found[name]).status == 200
        assert rig.origin.asked[-1] == sessions.url(name)


def test_url_that_stays_refused_is_a_failure_without_a_loop(make_rig) -> None:
    rig = make_rig(stream_retry_attempts=1)
    sessions, stream, found = start(rig)
    rig.get(found["low"])
    sessions.end()
    for _ in range(10):
        rig.wait(4)
        rig.play(stream)
    asked = rig.origin.count(A)
    for _ in range(20):
        assert rig.get(found["low"]).status == 502
        rig.wait(1)
    assert rig.origin.count(A) <= asked + 5
    sessions.start(2)
    rig.wait(5)
    assert rig.get(found["low"]).status == 200


def test_player_that_paused_is_served_by_the_attributes_that_it_knew(make_rig) -> None:
    rig = make_rig()
    sessions, stream, found = start(rig)
    rig.wait(30)
    assert stream.clients() == []
    sessions.renew()
    for name in NAMES:
        assert rig.get(found[name]).status == 200
        assert rig.origin.asked[-1] == sessions.url(name)


def test_refused_url_moves_the_stream_after_one_lookup(make_rig) -> None:
    rig = make_rig()
    sessions, stream, found = start(rig, B)
    Sessions(rig, "b.example")
    rig.get(found["low"])
    rig.wait(5)
    sessions.end()
    assert b"#EXT-X-DISCONTINUITY\n" in rig.get(found["low"]).body
    assert stream.source_index == 1
    assert rig.origin.asked[-4:] == [sessions.url("low"), A, B, "http://b.example/1/low?t=1"]


def test_variant_of_a_backup_is_looked_up_too(make_rig) -> None:
    rig = make_rig()
    _, stream, found = start(rig, B)
    backup = Sessions(rig, "b.example")
    stream.fail_over()
    assert rig.get(found["low"]).status == 200
    for _ in range(3):
        rig.wait(5)
        backup.renew()
        before = len(rig.origin.asked)
        assert rig.get(found["low"]).status == 200
        assert rig.origin.asked[before + 1 :] == [B, backup.url("low")]
    assert (stream.source_index, stream.history.error_count) == (1, 0)


def test_variant_that_is_not_offered_any_more_is_replaced_by_the_nearest(make_rig) -> None:
    rig = make_rig()
    sessions, _, found = start(rig)
    rig.wait(5)
    sessions.renew(entry="#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=5000000\n{0}/high?t={0}\n")
    assert rig.get(found["low"]).status == 200
    assert rig.origin.asked[-1] == sessions.url("high")
    answer = rig.get(found["de"])
    assert (answer.status, answer.json["detail"]) == (404, "The provider answers 404.")


def test_rendition_of_another_language_is_no_replacement(make_rig) -> None:
    rig = make_rig()
    sessions, stream, found = start(rig)
    rig.wait(5)
    sessions.renew(entry=ENTRY.replace('NAME="Deutsch",LANGUAGE="de"', 'NAME="Français",LANGUAGE="fr"'))
    assert rig.get(found["de"]).status == 404
    assert rig.get(found["en"]).status == 200
    assert stream.history.error_count == 0


def test_entry_that_fails_too_leaves_the_error_of_the_variant(make_rig) -> None:
    rig = make_rig()
    sessions, stream, found = start(rig, B)
    Sessions(rig, "b.example")
    rig.get(found["low"])
    sessions.end(403)
    rig.origin.put(A, status=500)
    rig.wait(5)
    assert rig.get(found["low"]).status == 200
    assert stream.history.entries()[0]["cause"] == "bad status: HTTP 403"


def test_urls_from_before_a_restart_are_matched_by_path(make_rig) -> None:
    """Attributes of earlier variants are unknown then."""
    before, rig = make_rig(), make_rig()
    entry = ENTRY.replace("{0}/", "")
    _, _, found = start(before)
    before.origin.put(A, entry.format(1))
    stream = before.stream(A)
    before.wait(6)
    text = before.play(stream).body
    sessions = Sessions(rig)
    rig.origin.pages.clear()
    sessions.url = lambda name: f"http://a.example/{name}?t={sessions.session}"
    sessions.start(2, entry)
    rig.stream(A)
    for uri, name in ((uris(text)[1], "low"), (re.findall(r'URI="([^"]*)"', text.decode())[1], "de")):
        assert rig.get(uri).status == 200
        assert rig.origin.asked[-1] == sessions.url(name)
    # The path has changed, too: any variant is better than none, but not for subtitles.
    assert rig.get(found["low"]).status == 200
    assert rig.origin.asked[-1] == sessions.url("high")
    assert rig.get(found["de"]).status == 404


def test_media_playlist_from_a_variant_is_looked_up(make_rig) -> None:
    """The stream began as a media playlist, so the best variant of the backup is served."""
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    stream = rig.stream(A, B)
    rig.play(stream)
    backup = Sessions(rig, "b.example")
    stream.fail_over()
    for _ in range(3):
        rig.wait(5)
        backup.renew()
        assert b"#EXTINF" in rig.play(stream).body
    assert (stream.source_index, stream.history.error_count) == (1, 0)


def test_sticky_session_that_names_ended_urls_is_left(make_rig) -> None:
    rig = make_rig()
    sessions = Sessions(rig)
    there = "http://a.example/sticky/index.m3u8"
    rig.origin.put(there, ENTRY.format("../1"))
    rig.origin.put(A, ENTRY.format("../1"), final_url=there)
    stream = rig.stream(A, use_sticky_session=True)
    low = uris(rig.play(stream).body)[1]
    assert stream.current_url == there
    rig.wait(5)
    sessions.renew()
    assert rig.get(low).status == 200
    assert rig.origin.asked[-1] == sessions.url("low")
    assert stream.history.error_count == 0
