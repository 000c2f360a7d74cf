"""Files of the provider: content, answers, and completeness of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.faults import BadFault
from m3uproxy.provider.file_faults import ROWS, FileFaults, file_faults
from m3uproxy.provider.files import File, content, file_answer, file_name
from m3uproxy.provider.requests import Request

GUIDE = Path(__file__).parents[2] / "docs" / "provider.md"
PLACE = st.integers(0, 1_000_000)


@given(PLACE, st.integers(0, 20_000), st.integers(0, 20_000))
def test_content_is_independent_of_the_range(first, size, more):
    whole = content("film", 0, first, first + size + more)
    assert len(whole) == size + more
    assert whole == content("film", 0, first, first + size) + content("film", 0, first + size, first + size + more)


@given(PLACE, PLACE)
def test_content_differs_at_each_offset(one, other):
    same = content("film", 0, one, one + 4096) == content("film", 0, other, other + 4096)
    assert same == (one == other)


def test_content_differs_by_name_and_seed():
    assert len({content(name, seed, 0, 5000) for name in "ab" for seed in (0, 1)}) == 4


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/movie/u/p/1.mkv", "1"),
        ("/series/x", "x"),
        ("/timeshift/u/p/60/2026-01-01/7.ts", "7"),
        ("/movie/", None),
        ("/live/x.ts", None),
        ("/x/movie/y.mp4", None),
    ],
)
def test_names(path, name):
    assert file_name(path) == name


def asked(faults: FileFaults, method: str = "GET", **headers: str) -> tuple[str, dict[str, str], int, int]:
    request = Request(method, "/movie/f", "HTTP/1.1", tuple((n.replace("_", "-"), v) for n, v in headers.items()))
    part = file_answer(request, File("f", faults))
    first, *lines = part.answer.head.decode().strip().split("\r\n")
    return first.split(" ", 1)[1], dict(line.split(": ", 1) for line in lines), part.first, part.stop


FILE = FileFaults(size=1000)


def test_whole_file():
    status, headers, first, stop = asked(FILE)
    assert (status, headers["Content-Length"], first, stop) == ("200 OK", "1000", 0, 1000)
    assert (headers["ETag"], headers["Accept-Ranges"]) == ('"f-1000-0"', "bytes")
    assert headers["Last-Modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("wanted", "first", "stop"), [("0-", 0, 1000), ("10-19", 10, 20), ("-5", 995, 1000), ("990-2000", 990, 1000)]
)
def test_satisfiable_range(wanted, first, stop):
    status, headers, begin, end = asked(FILE, Range=f"bytes={wanted}")
    assert (status.split()[0], begin, end) == ("206", first, stop)
    assert headers["Content-Range"] == f"bytes {first}-{stop - 1}/1000"
    assert headers["Content-Length"] == str(stop - first)


def test_unsatisfiable_range():
    status, headers, first, stop = asked(FILE, Range="bytes=1000-")
    assert (status.split()[0], headers["Content-Range"], first, stop) == ("416", "bytes */1000", 0, 0)


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"f-1000-0"', "206"), ('"f-1000-1"', "200"), ("Thu, 01 Jan 2026 00:00:00 GMT", "206"), ("yesterday", "200")],
)
def test_if_range_condition(condition, status):
    assert asked(FILE, Range="bytes=5-", If_Range=condition)[0].split()[0] == status


def test_faults_change_the_head():
    assert asked(FileFaults(ranges=False), Range="bytes=5-")[0] == "200 OK"
    assert "Content-Length" not in asked(FileFaults(chunked=True))[1]
    assert asked(FileFaults(most=10), Range="bytes=5-")[2:] == (5, 15)
    assert asked(FileFaults(status=404))[0].startswith("404")
    assert asked(FileFaults(head_status=405), "HEAD")[0].startswith("405")
    assert asked(FileFaults(head_status=405))[0] == "200 OK"
    plain = asked(FileFaults(etag="none", modified=False))[1]
    assert not {"ETag", "Last-Modified"} & set(plain)


def test_times_ends_and_after_delays_faults():
    query = [("reset", "3M"), ("times", "1"), ("seed", "1"), ("after", "1"), ("token", "x")]
    assert file_faults(query, 1) == FileFaults(reset=3_000_000, times=1, after=1)
    assert file_faults(query, 2) == FileFaults(seed=1, times=1, after=1)


@pytest.mark.parametrize("pair", [("size", "5s"), ("size", "big"), ("ranges", "no"), ("status", "4")])
def test_invalid_values_raise_bad_fault(pair):
    with pytest.raises(BadFault, match=pair[0]):
        file_faults([pair], 1)


def test_documentation_has_all_file_faults():
    films = GUIDE.read_text().partition("## Films")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", films, re.MULTILINE) == list(ROWS)
