import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.hls.playlist_lines import LineKind, attribute, attributes, split_lines


@given(st.text(alphabet=st.sampled_from("#EXT-INF:a=\"', \t\r\n\ufeff\x85\u2028")))
def test_lines_make_up_the_complete_text(text: str) -> None:
    bom, lines = split_lines(text)
    assert bom + "".join(line.raw for line in lines) == text
    assert all(line.ending for line in lines[:-1])


def test_only_cr_and_lf_end_a_line() -> None:
    _, lines = split_lines("a\r\nb\rc\x85d\u2028e\x0bf\n")
    assert [(line.value, line.ending) for line in lines] == [("a", "\r\n"), ("b", "\r"), ("c\x85d\u2028e\x0bf", "\n")]


@pytest.mark.parametrize(
    ("text", "kind", "name", "value"),
    [
        ("#EXTM3U", LineKind.TAG, "EXTM3U", ""),
        ('#EXTM3U x-tvg-url="u"', LineKind.TAG, "EXTM3U", ' x-tvg-url="u"'),
        ("#EXTINF:6.006,Title, with comma ", LineKind.TAG, "EXTINF", "6.006,Title, with comma"),
        ("#EXT-X-ENDLIST\t", LineKind.TAG, "EXT-X-ENDLIST", ""),
        ("#EXTVLCOPT:http-user-agent=x", LineKind.TAG, "EXTVLCOPT", "http-user-agent=x"),
        ("#KODIPROP:a=b", LineKind.COMMENT, "", ""),
        ("# EXTINF:6", LineKind.COMMENT, "", ""),
        ("  seg 1.ts\t ", LineKind.URI, "", "seg 1.ts"),
        (" \t", LineKind.BLANK, "", ""),
    ],
)
def test_kind_name_and_value_of_a_line(text: str, kind: LineKind, name: str, value: str) -> None:
    (line,) = split_lines(text)[1]
    assert (line.kind, line.name, line.value) == (kind, name, value)


def read(text: str) -> list[tuple[str, str, bool]]:
    (line,) = split_lines(text)[1]
    found = list(attributes(line))
    assert [line.text[each.start : each.end] for each in found] == [each.value for each in found]
    return [(each.name, each.value, each.quoted) for each in found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('#EXT-X-A:URI="a,URI=b",N=1', [("URI", "a,URI=b", True), ("N", "1", False)]),
        ('#EXT-X-A: URI = "a" , N = 1x1 ', [("URI", "a", True), ("N", "1x1", False)]),
        ("#EXT-X-A:URI=a.key,IV=0xab", [("URI", "a.key", False), ("IV", "0xab", False)]),
        ('#EXT-X-A:URI="never ends,IV=1', [("URI", "never ends,IV=1", True)]),
        ('#EXT-X-A:,,URI="",N=', [("URI", "", True), ("N", "", False)]),
        ("#EXT-X-A:no attributes here", []),
        ("#EXT-X-A", []),
    ],
)
def test_attributes(text: str, found: list[tuple[str, str, bool]]) -> None:
    assert read(text) == found


@given(st.text(alphabet=st.sampled_from('AZ-=", \t0\\')))
def test_attributes_of_any_text_terminate(text: str) -> None:
    read("#EXT-X-A:" + text)


def test_last_of_repeated_attributes_counts() -> None:
    (line,) = split_lines("#EXT-X-KEY:METHOD=NONE,METHOD=AES-128")[1]
    assert attribute(line, "METHOD") == "AES-128"
    assert attribute(line, "URI") is None
