"""Playlists over changes of source, read by an independent player."""

from __future__ import annotations

import re
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3uproxy.core.hls.playlist import parse
from m3uproxy.core.hls.playlist_continuity import DiscontinuityNumbers, PlaylistContinuity
from m3uproxy.core.hls.playlist_window import apply_window


@attrs.frozen
class PlayerSegment:
    """A segment as a player understands it."""

    number: int
    name: str
    discontinuity: int
    vector: int | None
    map: str | None


def segments_of(text: str) -> list[PlayerSegment]:
    number = int((re.findall(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text) or ["0"])[0])
    discontinuity = int((re.findall(r"#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)", text) or ["0"])[0])
    key = mapped = None
    shown = []
    for line in text.splitlines():
        if line == "#EXT-X-DISCONTINUITY":
            discontinuity += 1
        elif line.startswith("#EXT-X-KEY:"):
            key = None if "METHOD=NONE" in line else line
        elif line.startswith("#EXT-X-MAP:"):
            mapped = line
        elif not line.startswith("#"):
            stated = re.search("IV=0x([0-9A-F]+)", key) if key else None
            vector = int(stated[1], 16) if stated else number if key else None
            shown.append(PlayerSegment(number, line, discontinuity, vector, mapped))
            number += 1
    return shown


@attrs.define
class Packager:
    """A packager. ``made`` grows; the playlist lists its end."""

    name: str
    first: int = 0
    window: int = 5
    target: int = 6
    encrypted: bool = False
    discontinuity: int = 0
    starts: int = 1
    made: list[str] = attrs.field(factory=list)
    breaks: set[int] = attrs.field(factory=set)

    def make(self, count: int, breaks: bool = False) -> Packager:
        if breaks:
            self.breaks.add(len(self.made))
        self.made += [f"{self.name}{self.starts}-{len(self.made) + n}.ts" for n in range(count)]
        return self

    def restart(self, first: int) -> None:
        self.starts += 1
        self.first, self.made, self.breaks = first, [], set()

    def text(self, behind: int = 0, ended: bool = False) -> str:
        end = max(len(self.made) - behind, min(1, len(self.made)))
        start = max(0, end - self.window)
        gone = self.discontinuity + sum(at < start for at in self.breaks)
        lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{self.target}", f"#EXT-X-MEDIA-SEQUENCE:{self.first + start}"]
        lines += [f"#EXT-X-DISCONTINUITY-SEQUENCE:{gone}"] if gone else []
        for at in range(start, end):
            lines += ["#EXT-X-DISCONTINUITY"] if at in self.breaks else []
            if self.encrypted and (at == start or at in self.breaks):
                lines += [f'#EXT-X-MAP:URI="{self.name}.mp4"', f'#EXT-X-KEY:METHOD=AES-128,URI="{self.name}{at}"']
            lines += [f"#EXTINF:{self.target}.000,", self.made[at]]
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


class PlaylistReader:
    """Reloads the playlist, and checks the rules of RFC 8216bis section 6.2.2."""

    def __init__(self) -> None:
        self.numbers: dict[int, PlayerSegment] = {}
        self.named: dict[str, int] = {}
        self.last: list[PlayerSegment] = []

    def read(self, text: str) -> list[PlayerSegment]:
        shown = segments_of(text)
        if self.last and shown:
            assert shown[0].number >= self.last[0].number, "the playlist went back"
            assert shown[-1].number >= self.last[-1].number, "the playlist lost its end"
            assert shown[0].number <= self.last[-1].number + 1, "there is a gap"
        for segment in shown:
            known = self.numbers.setdefault(segment.number, segment)
            assert (known.name, known.discontinuity) == (segment.name, segment.discontinuity)
            assert self.named.setdefault(segment.name, segment.number) == segment.number, "a segment came twice"
        self.last = shown or self.last
        return shown


class ShownPlaylist:
    """A playlist as it is served: what it shows stays until there is something new."""

    def __init__(self, discontinuities: DiscontinuityNumbers) -> None:
        self.continuity = PlaylistContinuity(discontinuities)
        self.silence = self.continuity.silence
        self.text = ""

    def rest(self) -> None:
        self.continuity.rest()
        self.text = ""


def continuity_and_player():
    return ShownPlaylist(DiscontinuityNumbers()), PlaylistReader()


def ask(
    shown: ShownPlaylist, text: str, source: str, change: int = 0, now: float = 0.0, url: str = "http://tv.example/x"
) -> str:
    playlist = parse(text.encode())
    window = shown.continuity.update(playlist, url, source, change, now)
    if window is not None:
        shown.text = "".join(apply_window(playlist, [line.raw for line in playlist.lines], window))
    return shown.text


def test_single_source_passes_unchanged() -> None:
    continuity, _ = continuity_and_player()
    source = Packager("a", first=77, discontinuity=3).make(8).make(2, breaks=True)
    for _ in range(5):
        assert ask(continuity, source.text(), "a") == source.text()
        source.make(1)


def test_change_of_source() -> None:
    continuity, _ = continuity_and_player()
    one, other = Packager("a", first=100).make(5), Packager("b", first=7, window=600, discontinuity=2).make(600)
    ask(continuity, one.text(), "a")
    text = ask(continuity, other.text(), "b", 1)
    assert text == (
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:105\n#EXT-X-TARGETDURATION:6\n#EXT-X-DISCONTINUITY\n"
        "#EXTINF:6.000,\nb1-597.ts\n#EXTINF:6.000,\nb1-598.ts\n#EXTINF:6.000,\nb1-599.ts\n"
    )
    text = ask(continuity, other.make(1).text(), "b", 1)
    assert [segment.number for segment in segments_of(text)] == [105, 106, 107, 108]


def test_discontinuity_is_removed_with_its_segment() -> None:
    continuity, player = continuity_and_player()
    one, other = Packager("a").make(5), Packager("b", first=7, window=3).make(3)
    player.read(ask(continuity, one.text(), "a"))
    player.read(ask(continuity, other.text(), "b", 1))
    text = ask(continuity, other.make(2).text(), "b", 1)
    assert "#EXT-X-DISCONTINUITY\n" not in text
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in text
    assert [segment.discontinuity for segment in player.read(text)] == [1, 1, 1]


def test_change_before_a_discontinuity_adds_no_second_one() -> None:
    continuity, player = continuity_and_player()
    other = Packager("b", window=3).make(4).make(3, breaks=True)
    player.read(ask(continuity, Packager("a").make(5).text(), "a"))
    text = ask(continuity, other.text(), "b", 1)
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert [segment.discontinuity for segment in player.read(text)] == [2, 2, 2]


def test_returning_source_continues_after_its_last_segment() -> None:
    continuity, player = continuity_and_player()
    one, other = Packager("a", first=50).make(5), Packager("b").make(3)
    player.read(ask(continuity, one.text(), "a"))
    player.read(ask(continuity, other.text(), "b", 1))
    text = ask(continuity, one.text(), "a", 2)
    assert [segment.name for segment in player.read(text)] == ["b1-0.ts", "b1-1.ts", "b1-2.ts"]
    text = ask(continuity, one.make(1).text(), "a", 2)
    assert [segment.name for segment in player.read(text)] == ["a1-5.ts"]


def test_older_copy_is_answered_with_the_latest() -> None:
    continuity, _ = continuity_and_player()
    source = Packager("a", first=9).make(8)
    last = ask(continuity, source.text(), "a")
    assert ask(continuity, source.text(behind=2), "a") == last


def test_packager_restart() -> None:
    continuity, player = continuity_and_player()
    source = Packager("a", first=900).make(8)
    player.read(ask(continuity, source.text(), "a"))
    source.restart(0)
    shown = player.read(ask(continuity, source.make(2).text(), "a"))
    assert [(segment.number, segment.name, segment.discontinuity) for segment in shown] == [
        (908, "a2-0.ts", 1),
        (909, "a2-1.ts", 1),
    ]


def test_change_during_a_rest_continues_the_numbers() -> None:
    continuity, player = continuity_and_player()
    player.read(ask(continuity, Packager("a", first=1000).make(5).text(), "a"))
    continuity.rest()
    empty = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:3\n"
    assert ask(continuity, empty, "b", 1) == ("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:1000\n#EXT-X-TARGETDURATION:6\n")
    shown = player.read(ask(continuity, Packager("b").make(5).text(), "b", 1))
    assert [segment.number for segment in shown] == [1005, 1006, 1007]
    assert "#EXT-X-DISCONTINUITY\n" in continuity.text


def test_rest_without_a_change_leaves_the_numbers_of_the_source() -> None:
    continuity, player = continuity_and_player()
    source = Packager("a", first=1000).make(5)
    player.read(ask(continuity, source.text(), "a"))
    for made in (0, 3, 500):
        continuity.rest()
        assert ask(continuity, source.make(made).text(), "a") == source.text()


def test_implicit_iv_is_written_out() -> None:
    continuity, player = continuity_and_player()
    other = Packager("b", first=40, encrypted=True, window=4).make(3).make(2, breaks=True)
    player.read(ask(continuity, Packager("a").make(5).text(), "a"))
    shown = player.read(ask(continuity, other.text(), "b", 1))
    assert [(segment.name, segment.vector) for segment in shown] == [("b1-2.ts", 42), ("b1-3.ts", 43), ("b1-4.ts", 44)]
    assert {segment.map for segment in shown} == {'#EXT-X-MAP:URI="b.mp4"'}


KEYED = """#EXTM3U
#EXT-X-PLAYLIST-TYPE:EVENT
#EXT-X-TARGETDURATION:4
#EXT-X-KEY:METHOD=AES-128,URI="k1"
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="com.apple"
#EXTINF:4,
#EXT-X-BYTERANGE:10@5
a.ts
#EXTINF:4,
#EXT-X-BYTERANGE:20
a.ts
#EXTINF:4,
b.ts
#EXT-X-KEY:METHOD=NONE
#EXT-X-KEY:METHOD=AES-128,URI="k2",IV=0x07
#EXTINF:4,
c.ts
#EXT-X-PART:DURATION=1,URI="d.1.ts"
#EXT-X-RENDITION-REPORT:URI="../x",LAST-MSN=3
"""


def test_keys_and_byte_range_are_repeated() -> None:
    continuity, _ = continuity_and_player()
    ask(continuity, Packager("a", target=6).make(5).text(), "a")
    assert ask(continuity, KEYED, "b", 1) == (
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-TARGETDURATION:6\n#EXT-X-DISCONTINUITY\n"
        '#EXT-X-KEY:METHOD=AES-128,URI="k1",IV=0x00000000000000000000000000000001\n'
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="com.apple"\n'
        "#EXTINF:4,\n#EXT-X-BYTERANGE:20@15\na.ts\n"
        '#EXT-X-KEY:METHOD=AES-128,URI="k1",IV=0x00000000000000000000000000000002\n'
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="com.apple"\n'
        "#EXTINF:4,\nb.ts\n"
        '#EXT-X-KEY:METHOD=NONE\n#EXT-X-KEY:METHOD=AES-128,URI="k2",IV=0x07\n#EXTINF:4,\nc.ts\n'
        '#EXT-X-PART:DURATION=1,URI="d.1.ts"\n'
    )


@pytest.mark.parametrize("encrypted", [False, True])
def test_dates_are_left_out_after_a_change(encrypted: bool) -> None:
    """While the list begins with the change: its media was shown before, and players align by dates."""
    continuity, _ = continuity_and_player()
    other = Packager("b", encrypted=encrypted, window=4).make(9)

    def dated() -> str:
        return re.sub("#EXTINF(.*\\n(b.*))", r"#EXT-X-PROGRAM-DATE-TIME:date of \2\n#EXTINF\1", other.text())

    assert ask(continuity, dated(), "b") == dated()
    ask(continuity, Packager("a").make(5).text(), "a", 1)
    other.make(9)
    for _ in range(2):
        text = ask(continuity, dated(), "b", 2)
        assert len(segments_of(text)) >= 3
        assert "DATE-TIME" not in text
        other.make(1)
    for _ in range(2):
        text = ask(continuity, dated(), "b", 2)
        assert len(re.findall("DATE-TIME:date of b", text)) == len(segments_of(text)) == 4
        other.make(1)


def test_ended_playlist_is_shown_complete_from_any_source() -> None:
    continuity, _ = continuity_and_player()
    one, other = Packager("a", window=99).make(50), Packager("b", window=99).make(50)
    assert ask(continuity, one.text(ended=True), "a") == one.text(ended=True)
    assert ask(continuity, other.text(ended=True), "b", 1) == other.text(ended=True)


def test_end_after_a_change_of_source() -> None:
    continuity, player = continuity_and_player()
    other = Packager("b", window=3).make(9)
    player.read(ask(continuity, Packager("a", first=30).make(5).text(), "a"))
    player.read(ask(continuity, other.text(), "b", 1))
    for _ in range(2):
        text = ask(continuity, other.text(ended=True), "b", 1)
        player.read(text)
        assert "#EXT-X-ENDLIST\n" in text
    assert continuity.silence(1000) == 0


def test_playlist_without_segments_changes_nothing() -> None:
    continuity, player = continuity_and_player()
    empty = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
    assert ask(continuity, empty, "a") == empty
    last = ask(continuity, Packager("a").make(5).text(), "a")
    assert ask(continuity, empty, "b", 1) == last
    player.read(last)
    player.read(ask(continuity, Packager("b").make(5).text(), "b", 1))


def test_renditions_share_discontinuity_numbers() -> None:
    discontinuities = DiscontinuityNumbers()
    high, low, late = (ShownPlaylist(discontinuities) for _ in range(3))
    source = Packager("a", discontinuity=4).make(2).make(3, breaks=True)
    ask(high, source.text(), "a")
    ask(low, source.text(), "a")
    other = Packager("b").make(3).make(2, breaks=True)
    after = [segments_of(ask(each, other.text(), "b", 1)) for each in (high, low, late)]
    numbers = [{each.name: each.discontinuity for each in shown} for shown in after]
    assert numbers[0] == numbers[1]
    assert numbers[0].items() <= numbers[2].items()


def test_late_rendition_keeps_discontinuity_order() -> None:
    discontinuities = DiscontinuityNumbers()
    high, low = ShownPlaylist(discontinuities), ShownPlaylist(discontinuities)
    before = Packager("a", discontinuity=9).make(5).text()
    ask(high, before, "a")
    (number,) = {each.discontinuity for each in segments_of(ask(low, before, "a"))}
    ask(high, Packager("b", discontinuity=5).make(5).text(), "b", 1)
    shown = segments_of(ask(low, Packager("b", discontinuity=3).make(5).text(), "b", 1))
    assert [each.discontinuity for each in shown] == [number + 1] * 3


def test_segments_listed_ahead_delay_the_silence() -> None:
    """Five segments of 6 s are listed each 30 s. The window before the first playlist is past."""
    continuity, _ = continuity_and_player()
    source = Packager("a").make(5)
    ask(continuity, source.text(), "a", now=100)
    assert continuity.silence(118) == 18
    ask(continuity, source.make(5).text(), "a", now=130)
    assert continuity.silence(153) == 0
    assert continuity.silence(160) == 6
    ask(continuity, source.make(5).text(), "a", now=160)
    ask(continuity, source.make(1).text(), "a", now=161)
    assert continuity.silence(190) == 6
    ask(continuity, source.make(100).text(), "a", now=200)
    assert continuity.silence(230) == 6, "what the window does not list is not ahead"


def test_silence_since_last_progress() -> None:
    continuity, _ = continuity_and_player()
    source = Packager("a").make(5)
    ask(continuity, source.text(), "a", now=100)
    ask(continuity, source.text(), "a", now=110)
    assert continuity.silence(112) == 12
    ask(continuity, source.text(behind=1), "a", now=113)
    ask(continuity, source.text(), "a", now=114)
    assert continuity.silence(115) == 15
    ask(continuity, source.make(1).text(), "a", now=116)
    assert continuity.silence(117) == 1
    ask(continuity, source.text() + "#EXT-X-PART:DURATION=1,URI='p'\n", "a", now=118)
    assert continuity.silence(118) == 0
    # A new source gets the full stall timeout.
    ask(continuity, "#EXTM3U\n#EXT-X-TARGETDURATION:6\n", "b", 1, now=130)
    assert continuity.silence(131) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["refresh"] * 4 + ["make", "make", "break", "move", "restart", "older"]), st.integers(0, 7)
    ),
    max_size=60,
)
PACKAGERS = st.lists(
    st.builds(
        Packager,
        name=st.just(""),
        first=st.integers(0, 50),
        window=st.integers(1, 12),
        target=st.integers(1, 9),
        encrypted=st.booleans(),
        discontinuity=st.integers(0, 3),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(PACKAGERS, STEPS)
def test_any_sequence_of_events_stays_one_playlist(sources: list[Packager], steps: list[tuple[str, int]]) -> None:
    continuity, player = continuity_and_player()
    numbers: dict[str, int] = {}
    for index, source in enumerate(sources):
        source.name = "abc"[index]
        source.make(3)
    current, change = 0, 0
    for event, count in [*steps, ("refresh", 0)]:
        source = sources[current]
        behind = 0
        if event in ("make", "break"):
            # One segment at a time, so that a player that reloads in time sees every segment.
            source.make(1, breaks=event == "break")
        elif event == "move" and len(sources) > 1:
            current, change = (current + 1 + count) % len(sources), change + 1
        elif event == "restart" and source.first + len(source.made) > count > 0:
            # A listed number names another segment, so that the restart is detectable, at the latest in two looks.
            before = source.text()
            source.restart(source.first + len(source.made) - min(count, source.window))
            source.make(1)
            for text in (before, source.text(), source.text()):
                player.read(ask(continuity, text, source.name, change))
        elif event == "older":
            behind = min(count, source.window - 1, len(source.made) - 1)
        source = sources[current]
        numbers.update({name: source.first + at for at, name in enumerate(source.made)})
        for segment in player.read(ask(continuity, source.text(behind), source.name, change)):
            origin = "abc".index(segment.name[0])
            expected = numbers[segment.name] if sources[origin].encrypted else None
            assert segment.vector == expected
    everything = [player.numbers[number] for number in sorted(player.numbers)]
    for one, two in pairwise(everything):
        assert two.number == one.number + 1
        assert two.discontinuity >= one.discontinuity
        if one.name[:2] != two.name[:2]:
            assert two.discontinuity > one.discontinuity


@attrs.define
class NamedPackager:
    """A packager whose segments have names of one style. A title tells the content of each segment."""

    style: str
    first: int
    run: int = 0
    made: int = 3
    answers: int = 0

    def text(self, behind: int = 0) -> str:
        self.answers += 1
        stop = max(1, self.made - behind)
        start = max(0, stop - 4)
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:6", f"#EXT-X-MEDIA-SEQUENCE:{self.first + start}"]
        for at in range(start, stop):
            name = self.style.format(n=self.first + at, run=self.run, token=self.answers, source=id(self))
            lines += ["#EXTINF:6,", name]
        return "\n".join([*lines, ""])

    def restart(self, back: int) -> None:
        self.first = max(0, self.first + self.made - back)
        self.run, self.made = self.run + 1, 1


STYLES = [
    "{source}-{run}-{n}.ts",
    "{source}-{n}.ts",
    "seg.ts?n={n}&run={run}",
    "{run}/{n}/seg.ts",
    "{token}/s{n}.ts",
    "{token}{n}.ts",
    "s.ts",
]
EVENTS = ["make"] * 4 + ["read"] * 4 + ["restart", "move", "older", "empty", "pause"]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.builds(NamedPackager, st.sampled_from(STYLES), st.integers(0, 1000)), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 9)), max_size=60),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
)
def test_numbers_never_decrease_for_any_player(sources, events, habits) -> None:
    """Players read at random times, and sleep over restarts, changes of source, outages and pauses of the stream."""
    shown = ShownPlaylist(DiscontinuityNumbers())
    seen = [(0, 0)] * len(habits)
    current = change = now = 0
    for step, (event, count) in enumerate([*events, ("read", 0)]):
        now += 3
        source, behind = sources[current], 0
        if event == "make":
            source.made += count
        elif event == "restart":
            source.restart(count * count)
        elif event == "move":
            current, change = (current + count) % len(sources), change + 1
        elif event == "older":
            behind = count
        elif event == "pause":
            shown.rest()
        text = sources[current].text(behind)
        if event == "empty":
            text = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:0\n"
        listed = segments_of(ask(shown, text, str(current), change, now))
        first = int(re.findall(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", shown.text)[0])
        discontinuity = int((re.findall(r"#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)", shown.text) or ["0"])[0])
        assert all(segment.number >= first for segment in listed)
        for player, habit in enumerate(habits):
            if step % habit == 0:
                assert (first, discontinuity) >= seen[player]
                assert discontinuity >= seen[player][1]
                seen[player] = first, discontinuity


@pytest.mark.parametrize("count", [40])
def test_remembered_sources_are_bounded(count: int) -> None:
    continuity, player = continuity_and_player()
    for change in range(count):
        player.read(ask(continuity, Packager(f"s{change}-").make(3).text(), str(change), change))
    assert len(continuity.continuity._runs) <= 32
    assert len(continuity.continuity._discontinuities._shifts) <= 32
