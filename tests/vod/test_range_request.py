"""Responses of providers, and the ranges and files that they describe."""

from __future__ import annotations

import pytest
from fakes import FakeBody

from m3uproxy.core.http.byte_ranges import WHOLE, ByteRange
from m3uproxy.core.http.representation import Representation
from m3uproxy.errors import Reason, SourceError
from m3uproxy.vod.range_request import opened_range, representation_from_head

MIDDLE, END = ByteRange(400), ByteRange(None, 100)


def response(
    content_range: str = "", length: int | None = None, status: int = 206, encoded: bool = False, **headers: str
) -> FakeBody:
    response_headers = {"Content-Range": content_range} if content_range else {}
    response_headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    body = FakeBody(headers.pop("content_type", "video/mp4"), status=status, headers=response_headers)
    body.length, body.encoded = length, encoded
    return body


@pytest.mark.parametrize(
    ("wanted", "body", "first", "stop", "length", "ranged"),
    [
        (WHOLE, response("bytes 0-999/1000", 1000), 0, 1000, 1000, True),
        (MIDDLE, response("bytes 400-999/1000", 600), 400, 1000, 1000, True),
        (MIDDLE, response("bytes 400-499/1000"), 400, 500, 1000, True),
        (MIDDLE, response("bytes=400-999/1000", 600), 400, 1000, 1000, True),
        (MIDDLE, response("bytes 400-999/*", 600), 400, 1000, 1000, True),
        (END, response("bytes 900-999/1000", 100), 900, 1000, 1000, True),
        (END, response("bytes 0-49/50", 50), 0, 50, 50, True),
        (MIDDLE, response(length=1000, status=200), 0, 1000, 1000, False),
        (MIDDLE, response(length=1000, status=200, Accept_Ranges="bytes"), 0, 1000, 1000, False),
        (WHOLE, response(length=1000, status=200, Accept_Ranges="bytes"), 0, 1000, 1000, True),
        (WHOLE, response(length=1000, status=200, Accept_Ranges="none"), 0, 1000, 1000, False),
        (WHOLE, response(status=200, Accept_Ranges="bytes"), 0, None, None, False),
        (MIDDLE, response("bytes 0-999/1000", 1000), 0, 1000, 1000, False),
        (WHOLE, response(length=1000), 0, 1000, 1000, False),
        (WHOLE, response("bytes 0-999/1000", encoded=True), 0, None, None, False),
    ],
)
def test_place_in_the_file(wanted, body, first, stop, length, ranged):
    opened = opened_range(body, wanted)
    assert (opened.first, opened.stop) == (first, stop)
    assert opened.representation == Representation(length, accepts_ranges=ranged)


@pytest.mark.parametrize(
    ("wanted", "body"),
    [
        (MIDDLE, response("bytes 410-999/1000", 590)),
        (MIDDLE, response("bytes 0-899/1000", 900)),
        (MIDDLE, response("bytes 400-999/1000", 590)),
        (MIDDLE, response(length=600)),
        (END, response(length=100)),
        (WHOLE, response(length=100, content_type="multipart/byteranges")),
        (WHOLE, response("bytes 9-3/1000", 1000)),
        (MIDDLE, response("bytes */1000", 1000)),
        (MIDDLE, response("bytes 400-999/1000", encoded=True)),
    ],
)
def test_wrong_ranges_are_refused(wanted, body):
    with pytest.raises(SourceError) as caught:
        opened_range(body, wanted)
    assert caught.value.reason is Reason.BAD_HEAD


@pytest.mark.parametrize(("header", "ranged"), [("bytes", True), ("none", False), ("", None), ("x", None)])
def test_representation_of_a_head_response(header, ranged):
    body = response(Content_Length="70", Accept_Ranges=header)
    assert representation_from_head(body) == Representation(70, accepts_ranges=ranged)


@pytest.mark.parametrize("length", ["", "0", "x", "9" * 19, "-1", "7, 7"])
def test_head_response_needs_a_length(length):
    with pytest.raises(SourceError):
        representation_from_head(response(Content_Length=length))


def test_length_of_compressed_data_is_refused():
    with pytest.raises(SourceError):
        representation_from_head(response(Content_Length="70", encoded=True))
