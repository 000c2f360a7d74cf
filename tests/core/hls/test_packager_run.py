"""A restarted packager is told from an older copy of its playlist, whatever its segments are named."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import attrs
import pytest

from m3uproxy.core.hls.packager_run import MAX_REMOVED_SEGMENTS, MAX_SEGMENTS, PackagerRun, RunRelation
from m3uproxy.core.hls.playlist import Playlist, parse

SAME, RESTARTED, UNCLEAR = RunRelation.SAME, RunRelation.RESTARTED, RunRelation.UNCLEAR
URL = "http://tv.example/live/x.m3u8"
TARGET = 6


def playlist(first: int, name: str, count: int = 4, date: float | None = None, **values: object) -> Playlist:
    """
    Return a playlist.

    :param name: the URI of each segment, with ``{n}`` for its number.
    :param date: seconds at which the first segment begins.
    """
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{TARGET}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for n in range(first, first + count):
        if date is not None:
            begins = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=date + (n - first) * TARGET)
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{begins.isoformat()}")
        lines += [f"#EXTINF:{TARGET},", name.format(n=n, **values)]
    return parse("\n".join([*lines, ""]).encode())


@attrs.define
class Source:
    """A source whose playlists are compared and, if they are newer ones of the same run, recorded."""

    run: PackagerRun = attrs.field(factory=PackagerRun)
    now: float = 0.0

    def read(self, text: Playlist, url: str = URL, wait: float = 3.0) -> RunRelation:
        self.now += wait
        if self.run.last is None:
            self.run.record(text, url)
            return SAME
        relation = self.run.compare(text, url, self.now)
        if relation is RESTARTED:
            self.run.begin()
        if relation is RESTARTED or (relation is SAME and text.segments[-1].sequence >= self.run.last):
            self.run.record(text, url)
        return relation


NAMES = {
    "file": "{run}-{n}.ts",
    "query": "seg.ts?n={n}&run={run}",
    "folder": "{run}/{n}/seg.ts",
    "folder of the run": "/live/{run}/s{n}.ts",
    "another host": "http://cdn.example/{run}/s{n}.ts?a=b",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("back", [1, 2, 3, 5, 400])
@pytest.mark.parametrize("reads", [1, 2, 5])
@pytest.mark.parametrize("grows", [0, 1])
def test_restart_is_noticed_within_two_playlists(name: str, back: int, reads: int, grows: int) -> None:
    source = Source()
    last = 500 + reads - 1
    for number in range(500, last + 1):
        assert source.read(playlist(number, name, run=1)) is SAME
    new = last - back
    found = [source.read(playlist(new + grows * n, name, run=2)) for n in range(2)]
    assert RESTARTED in found
    # The new run is the one that is known from now on.
    after = new + grows * 2
    assert [source.read(playlist(after + n, name, run=2)) for n in range(3)] == [SAME] * 3


@pytest.mark.parametrize(
    "name", ["s{n}.ts", "s{n}.ts?token=a", "/t/s{n}.ts", "http://a.example/{n}/seg.ts", "s.ts?n={n}"]
)
@pytest.mark.parametrize("back", [1, 2, 4, 6])
def test_older_copy_is_the_same_run(name: str, back: int) -> None:
    source = Source()
    for number in range(500, 510):
        assert source.read(playlist(number, name)) is SAME
    for _ in range(2):
        assert source.read(playlist(509 - back, name)) is SAME
    assert source.read(playlist(510, name)) is SAME


@pytest.mark.parametrize(
    "name", ["/{token}/s{n}.ts", "s{n}.ts?token={token}", "seg.ts?n={n}&t={token}", "{token}/{n}/x"]
)
@pytest.mark.parametrize("back", [1, 2])
def test_tokens_that_change_with_each_request_are_no_restart(name: str, back: int) -> None:
    """One of two servers is behind. The first two older copies may be unclear, then tokens are known to change."""
    source = Source()
    found = []
    for number in range(500, 510):
        found.append(source.read(playlist(number, name, token=f"a{number}")))
        found.append(source.read(playlist(number - back, name, token=f"b{number}")))
    assert RESTARTED not in found
    assert set(found[3:]) == {SAME}


def test_token_in_the_folder_of_the_playlist() -> None:
    """Relative URIs stay the same, while each redirect leads to another folder."""
    source = Source()
    for number in range(500, 510):
        for behind in (0, 1):
            url = f"http://tv.example/token{number}{behind}/x.m3u8"
            assert source.read(playlist(number - behind, "s{n}.ts"), url) is not RESTARTED


def test_restart_in_another_folder() -> None:
    source = Source()
    for number in range(500, 503):
        source.read(playlist(number, "s{n}.ts"), "http://tv.example/run1/x.m3u8")
    assert source.read(playlist(500, "s{n}.ts"), "http://tv.example/run2/x.m3u8") is RESTARTED


def test_new_token_for_all_segments_is_no_restart() -> None:
    """Tokens are renewed each hour."""
    source = Source()
    for number in range(500, 520):
        assert source.read(playlist(number, "s{n}.ts?token={token}", token=number // 10)) is SAME


def test_two_servers_with_folders_of_their_own_are_confused_at_most_once() -> None:
    source = Source()
    found = []
    for number in range(500, 540):
        found.append(source.read(playlist(number, "/one/s{n}.ts")))
        found += [source.read(playlist(number - 2, "/two/s{n}.ts")) for _ in range(number % 3)]
    assert found.count(RESTARTED) <= 1


def test_hosts_are_not_compared() -> None:
    source = Source()
    for number in range(500, 510):
        assert source.read(playlist(number, "//a.example/s{n}.ts")) is SAME
        assert source.read(playlist(number - 2, "http://b.example:80/s{n}.ts")) is SAME


@pytest.mark.parametrize("name", ["{run}-{n}.ts", "{run}{n}.mp4?x"])
def test_restart_at_the_last_number_is_noticed_by_file_names(name: str) -> None:
    """Equal numbers must name the same segment, also if the new playlist ends later than the previous one."""
    for ahead in (0, 1, 2):
        source = Source()
        for number in (500, 501):
            source.read(playlist(number, name, run=1))
        assert source.read(playlist(501 + ahead, name, run=2)) is RESTARTED


@pytest.mark.parametrize("behind", [0, 1])
def test_file_names_that_change_with_each_request(behind: int) -> None:
    """The token is the file name. After the first comparisons that is known."""
    source = Source()
    found = [source.read(playlist(500 + n, "{token}{n}", token=f"{n}-"), wait=1) for n in range(5)]
    assert found == [SAME, UNCLEAR, SAME, SAME, SAME]
    assert source.read(playlist(504 - behind, "{token}{n}", token="z")) is SAME


def test_playlist_without_numbers_is_one_run() -> None:
    """Without EXT-X-MEDIA-SEQUENCE, the same names move through the same numbers."""
    source = Source()
    for made in range(10):
        names = iter(range(made, made + 4))
        text = "#EXTM3U\n" + "".join(f"#EXTINF:6,\ns{name}.ts\n" for name in names)
        assert source.read(parse(text.encode())) is SAME


def test_dates_tell_a_restart_with_equal_names() -> None:
    """ffmpeg begins at 0 again, with the same file names."""
    source = Source()
    source.read(playlist(0, "s{n}.ts", 5, date=0))
    assert source.read(playlist(0, "s{n}.ts", 4, date=0)) is SAME
    assert source.read(playlist(0, "s{n}.ts", 2, date=40)) is RESTARTED


@pytest.mark.parametrize("ahead", [-1, 0, 1])
def test_dates_tell_a_restart_from_a_new_token(ahead: int) -> None:
    for later, relation in ((0, SAME), (60, RESTARTED)):
        source = Source()
        source.read(playlist(8, "s{n}.ts?run=1", date=100))
        assert source.read(playlist(8 + ahead, "s{n}.ts?run=2", date=100 + ahead * TARGET + later)) is relation


@pytest.mark.parametrize("skew", [-30, -6, 0, 4])
def test_clocks_of_servers_may_differ(skew: float) -> None:
    source = Source()
    for number in range(10):
        assert source.read(playlist(number, "s{n}.ts", date=number * TARGET)) is SAME
        assert (
            source.read(playlist(number - 1 if number else 0, "s{n}.ts", date=max(0, number - 1) * TARGET + skew))
            is SAME
        )


@pytest.mark.parametrize(
    "date", ["2026-01-01T00:00:40Z", "2026-01-01T01:00:40.5+01:00", "2025-12-31T19:00:40.123456789-0500"]
)
def test_forms_of_dates(date: str) -> None:
    source = Source()
    source.read(playlist(0, "s{n}.ts", 5, date=0))
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:6,\ns0.ts\n"
    assert source.read(parse(text.encode())) is RESTARTED
    assert source.read(parse(text.replace("2026-", "2026-99").encode())) is SAME


def test_new_segments_below_the_last_number_are_a_restart_after_a_while() -> None:
    """Names and numbers are those of the old run, and there are no dates. Players would wait for the old number."""
    source = Source()
    source.read(playlist(0, "s{n}.ts", 20))
    found = [source.read(playlist(0, "s{n}.ts", 3 + n), wait=TARGET) for n in range(4)]
    assert found == [SAME, SAME, RESTARTED, SAME]


def test_older_copy_that_does_not_grow_is_no_restart() -> None:
    source = Source()
    source.read(playlist(0, "s{n}.ts", 20))
    assert {source.read(playlist(0, "s{n}.ts", 18), wait=60) for _ in range(9)} == {SAME}


def test_byte_ranges_of_one_file_are_segments() -> None:
    def ranges(first: int, start: int) -> Playlist:
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        text += "".join(f"#EXTINF:6,\n#EXT-X-BYTERANGE:10@{start + 10 * n}\nall.ts\n" for n in range(4))
        return parse(text.encode())

    source = Source()
    source.read(ranges(10, 100))
    assert source.read(ranges(9, 90)) is SAME
    assert source.read(ranges(9, 0)) is RESTARTED


def test_memory_is_bounded() -> None:
    source = Source()
    for number in range(0, 3000, 100):
        source.read(playlist(number, "s{n}.ts", 1000))
    assert len(source.run._names) <= MAX_SEGMENTS + MAX_REMOVED_SEGMENTS
    source.run.rest()
    assert len(source.run._names) <= MAX_REMOVED_SEGMENTS
    assert source.run.last == 3899
