import pytest

from m3uproxy.core.hls.playlist import parse
from m3uproxy.core.hls.renditions import Rendition, counterpart, definitions, renditions

MULTIVARIANT = """#EXTM3U
#EXT-X-DEFINE:NAME="d",VALUE="deep"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",LANGUAGE="en",URI="{$d}/en.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Deutsch",LANGUAGE="de",URI="de.m3u8"
#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="CC",INSTREAM-ID="CC1"
#EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360,CODECS="a,b"
# a comment
low
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080
#EXT-X-VENDOR:a="b"

#EXT-X-SESSION-DATA:DATA-ID="a",VALUE="b"
high
without-a-tag
#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720
mid
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI="i"
"""


def offered(text: str = MULTIVARIANT) -> tuple[Rendition, ...]:
    return renditions(parse(text.encode()), "http://a.example/x/master.m3u8")


def test_offered_playlists() -> None:
    found = offered()
    assert [one.url.removeprefix("http://a.example/x/") for one in found] == [
        "deep/en.m3u8",
        "de.m3u8",
        "low",
        "high",
        "mid",
        "i",
    ]
    assert [(one.bandwidth, one.height) for one in found[2:]] == [
        (800000, 360),
        (5000000, 1080),
        (3000000, 720),
        (90000, 0),
    ]


OTHER_SOURCE = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=700000
1
#EXT-X-STREAM-INF:BANDWIDTH=2500000,RESOLUTION=1280x720
2
#EXT-X-STREAM-INF:BANDWIDTH=5200000,RESOLUTION=1280x720
3
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="z",NAME="german",LANGUAGE="de",URI="4"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="z",NAME="Deutsch",LANGUAGE="en",URI="5"
"""


@pytest.mark.parametrize(
    ("place", "url"), [(0, "5"), (1, "4"), (2, "1"), (3, "3"), (4, "2")], ids=["en", "de", "low", "high", "mid"]
)
def test_counterpart_is_the_nearest(place: int, url: str) -> None:
    found = counterpart(offered()[place], offered(OTHER_SOURCE))
    assert found is not None
    assert found.url == f"http://a.example/x/{url}"


def test_no_counterpart_of_that_kind() -> None:
    assert counterpart(offered()[5], offered(OTHER_SOURCE)) is None
    assert counterpart(offered()[2], ()) is None


def test_counterpart_of_unknown_is_the_best_variant() -> None:
    found = counterpart(None, offered())
    assert found is not None
    assert found.bandwidth == 5000000
    assert counterpart(None, ()) is None


def test_definitions_for_import() -> None:
    assert definitions(parse(MULTIVARIANT.encode()), "http://a.example/") == {"d": "deep"}
