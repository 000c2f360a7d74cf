"""What providers answer, and what it amounts to."""

from __future__ import annotations

import pytest
from fakes import FakeBody

from m3uproxy.core.http.byte_ranges import WHOLE, ByteRange
from m3uproxy.core.http.representation import Representation
from m3uproxy.errors import Reason, SourceError
from m3uproxy.vod.range_request import opened_range, representation_from_head

MIDDLE, END = ByteRange(400), ByteRange(None, 100)


def answer(
    content_range: str = "", length: int | None = None, status: int = 206, encoded: bool = False, **headers: str
) -> FakeBody:
    told = {"Content-Range": content_range} if content_range else {}
    told.update({name.replace("_", "-"): value for name, value in headers.items()})
    body = FakeBody(headers.pop("content_type", "video/mp4"), status=status, headers=told)
    body.length, body.encoded = length, encoded
    return body


@pytest.mark.parametrize(
    ("wanted", "body", "first", "stop", "length", "ranged"),
    [
        (WHOLE, answer("bytes 0-999/1000", 1000), 0, 1000, 1000, True),
        (MIDDLE, answer("bytes 400-999/1000", 600), 400, 1000, 1000, True),
        (MIDDLE, answer("bytes 400-499/1000"), 400, 500, 1000, True),
        (MIDDLE, answer("bytes=400-999/1000", 600), 400, 1000, 1000, True),
        (MIDDLE, answer("bytes 400-999/*", 600), 400, 1000, 1000, True),
        (END, answer("bytes 900-999/1000", 100), 900, 1000, 1000, True),
        (END, answer("bytes 0-49/50", 50), 0, 50, 50, True),
        (MIDDLE, answer(length=1000, status=200), 0, 1000, 1000, False),
        (MIDDLE, answer(length=1000, status=200, Accept_Ranges="bytes"), 0, 1000, 1000, False),
        (WHOLE, answer(length=1000, status=200, Accept_Ranges="bytes"), 0, 1000, 1000, True),
        (WHOLE, answer(length=1000, status=200, Accept_Ranges="none"), 0, 1000, 1000, False),
        (WHOLE, answer(status=200, Accept_Ranges="bytes"), 0, None, None, False),
        (MIDDLE, answer("bytes 0-999/1000", 1000), 0, 1000, 1000, False),
        (WHOLE, answer(length=1000), 0, 1000, 1000, False),
        (WHOLE, answer("bytes 0-999/1000", encoded=True), 0, None, None, False),
    ],
)
def test_what_is_sent(wanted, body, first, stop, length, ranged):
    came = opened_range(body, wanted)
    assert (came.first, came.stop, came.representation) == (first, stop, Representation(length, accepts_ranges=ranged))


@pytest.mark.parametrize(
    ("wanted", "body"),
    [
        (MIDDLE, answer("bytes 410-999/1000", 590)),
        (MIDDLE, answer("bytes 0-899/1000", 900)),
        (MIDDLE, answer("bytes 400-999/1000", 590)),
        (MIDDLE, answer(length=600)),
        (END, answer(length=100)),
        (WHOLE, answer(length=100, content_type="multipart/byteranges")),
        (WHOLE, answer("bytes 9-3/1000", 1000)),
        (MIDDLE, answer("bytes */1000", 1000)),
        (MIDDLE, answer("bytes 400-999/1000", encoded=True)),
    ],
)
def test_what_makes_no_sense(wanted, body):
    with pytest.raises(SourceError) as caught:
        opened_range(body, wanted)
    assert caught.value.reason is Reason.BAD_HEAD


@pytest.mark.parametrize(("said", "ranged"), [("bytes", True), ("none", False), ("", None), ("x", None)])
def test_what_head_says(said, ranged):
    body = answer(Content_Length="70", Accept_Ranges=said)
    assert representation_from_head(body) == Representation(70, accepts_ranges=ranged)


@pytest.mark.parametrize("length", ["", "0", "x", "9" * 19, "-1", "7, 7"])
def test_what_head_does_not_say(length):
    with pytest.raises(SourceError):
        representation_from_head(answer(Content_Length=length))


def test_a_length_of_what_is_compressed():
    with pytest.raises(SourceError):
        representation_from_head(answer(Content_Length="70", encoded=True))
