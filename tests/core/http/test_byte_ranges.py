"""Byte ranges: every header in and out, and the bytes that a range selects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.byte_ranges import (
    MAX_RANGES,
    WHOLE,
    ByteRange,
    ContentRange,
    Span,
    Unsatisfiable,
    if_range_holds,
    parse_complete_length,
    parse_content_range,
    parse_range,
    parse_single_range,
    resolve,
    unsatisfied_range,
)
from m3uproxy.core.http.representation import Representation

OFFSET = st.integers(0, 10**12)
LENGTH = st.integers(1, 10**12)
RANGE = st.one_of(
    st.builds(lambda first, more: ByteRange(first, first + more), OFFSET, OFFSET),
    st.builds(ByteRange, OFFSET),
    st.builds(lambda last: ByteRange(None, last), OFFSET),
)
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-499", (ByteRange(0, 499),)),
        ("bytes=500-", (ByteRange(500),)),
        ("bytes=-500", (ByteRange(None, 500),)),
        ("Bytes = 0-0", (ByteRange(0, 0),)),
        ("bytes=0-0, -1", (ByteRange(0, 0), ByteRange(None, 1))),
        ("bytes= ,0-0,,1-1 ,", (ByteRange(0, 0), ByteRange(1, 1))),
        # to be ignored
        ("", ()),
        ("bytes", ()),
        ("bytes=", ()),
        ("bytes=-", ()),
        ("bytes=5-4", ()),
        ("bytes=1-2-3", ()),
        ("bytes=0x10-", ()),
        ("bytes=+1-", ()),
        ("bytes=\u0663-", ()),
        ("bytes=0-1,x", ()),
        ("seconds=0-1", ()),
        ("bytes=" + "9" * 19 + "-", ()),
        ("bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)), ()),
    ],
)
def test_parse_range(value, ranges):
    assert parse_range(value) == ranges
    assert parse_single_range(value) == (ranges[0] if len(ranges) == 1 else None)


@pytest.mark.parametrize(
    ("value", "byte_range"),
    [
        ("bytes=0-9", ByteRange(0, 9)),
        ("Bytes = 5-", ByteRange(5, None)),
        ("bytes=-7", ByteRange(None, 7)),
        ("bytes=9-0", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=0-" + "9" * 30, None),
        ("", None),
        (None, None),
        # Two parsers differed here. Empty list elements are skipped (RFC 9110 section 5.6.1.2); blanks inside a range
        # and digits beyond ASCII are invalid (section 14.1.1).
        ("bytes=0-1,", ByteRange(0, 1)),
        ("bytes=0 - 1", None),
        ("bytes=\u0663-", None),
    ],
)
def test_parse_single_range(value, byte_range):
    assert parse_single_range(value) == byte_range


@given(RANGE)
def test_parsed_header_of_a_range_is_that_range(one):
    assert parse_range(one.header) == (one,)
    assert parse_single_range(one.header) == one


@given(st.text())
def test_parsers_accept_any_text(text):
    parse_range(text)
    parse_single_range(text)
    parse_complete_length(text)
    parse_range("bytes=" + text)
    parse_content_range(text)
    if_range_holds(text, '"x"', DATE)


@given(st.lists(RANGE, max_size=4), LENGTH)
def test_resolve_selects_the_requested_bytes(ranges, length):
    """The definition, byte by byte at the edges."""

    def has(one: ByteRange, offset: int) -> bool:
        if one.first is None:
            return length - one.last <= offset < length
        return one.first <= offset < length and (one.last is None or offset <= one.last)

    edges = {0, length - 1}
    for one in ranges:
        edges |= {place for place in (one.first, one.last) if place is not None}
        edges |= {length - one.last} if one.first is None else set()
    edges = {edge + more for edge in edges for more in (-1, 0, 1) if 0 <= edge + more < length}
    satisfied = [one for one in ranges if any(has(one, edge) for edge in edges)]
    if ranges and not satisfied:
        with pytest.raises(Unsatisfiable):
            resolve(tuple(ranges), length)
        return
    span = resolve(tuple(ranges), length)
    if len(satisfied) != 1:
        assert span is None
        return
    assert span is not None
    assert all(has(satisfied[0], edge) == (span.first <= edge < span.stop) for edge in edges)
    assert 0 <= span.first < span.stop <= length


@given(st.integers(0, 99), st.integers(0, 99), st.binary(max_size=60))
def test_within_selects_like_slicing(first, last, data):
    span = ByteRange(first, last).within(len(data))
    assert data[span.first : span.stop] == data[first : last + 1] if span else not data[first : last + 1]
    span = ByteRange(None, last).within(len(data))
    assert data[span.first : span.stop] == data[-last:] if span else not data or not last


@pytest.mark.parametrize(
    ("value", "content_range", "length"),
    [
        ("bytes 0-499/1234", ContentRange(Span(0, 500), 1234), 1234),
        ("bytes 0-499/*", ContentRange(Span(0, 500), None), None),
        ("bytes */1234", None, 1234),
        (" BYTES  5-5/6 ", ContentRange(Span(5, 6), 6), 6),
        ("bytes */*", None, None),
        ("bytes 5-4/6", None, None),
        ("bytes 0-6/6", None, None),
        ("bytes=0-1/6", ContentRange(Span(0, 2), 6), 6),
        ("bytes: 0-1/6", ContentRange(Span(0, 2), 6), 6),
        ("bytes0-1/6", None, None),
        ("0-1/6", None, None),
        ("", None, None),
        # Two parsers differed here. Blanks inside a range and digits beyond ASCII are invalid (RFC 9110 section 14.4).
        ("bytes 0 - 1/6", None, None),
        ("bytes 0-1 / 6", None, None),
        ("bytes 0-\u0661/6", None, None),
    ],
)
def test_parse_content_range(value, content_range, length):
    assert parse_content_range(value) == content_range
    assert parse_complete_length(value) == length


def test_absent_content_range():
    assert parse_content_range(None) is None


@given(OFFSET, LENGTH, st.none() | OFFSET)
def test_parsed_content_range_is_the_one_written(first, size, more):
    span, length = Span(first, first + size), None if more is None else first + size + more
    content_range = ContentRange(span, length)
    assert content_range.header == span.content_range(length)
    assert parse_content_range(content_range.header) == content_range
    assert content_range.is_whole == (first == 0 and more == 0)


@given(LENGTH)
def test_parsed_length_of_a_416_is_the_one_written(length):
    assert parse_complete_length(unsatisfied_range(length)) == length
    assert parse_content_range(unsatisfied_range(length)) is None


@pytest.mark.parametrize(
    ("value", "etag", "date", "holds"),
    [
        ('"a"', '"a"', "", True),
        ('"a"', '"b"', DATE, False),
        ('"a"', "", DATE, False),
        ('W/"a"', 'W/"a"', DATE, False),
        ('"a"', 'W/"a"', DATE, False),
        (DATE, '"a"', DATE, True),
        ("Thursday, 01-Jan-26 00:00:00 GMT", "", DATE, True),
        ("Thu, 01 Jan 2026 00:00:01 GMT", "", DATE, False),
        (DATE, '"a"', "", False),
        ("nonsense", '"a"', DATE, False),
    ],
)
def test_if_range(value, etag, date, holds):
    assert if_range_holds(value, etag, date) == holds
    assert Representation(1, etag, date).range_applies(value) == holds


def test_range_applies_without_if_range():
    assert Representation(1).range_applies(None)


@pytest.mark.parametrize(
    ("one", "other", "same_url", "contradiction"),
    [
        (Representation(5), Representation(6), False, True),
        (Representation(5), Representation(None), False, False),
        (Representation(5, '"a"'), Representation(5, '"b"'), True, True),
        (Representation(5, '"a"'), Representation(5, '"b"'), False, False),
        (Representation(5, 'W/"a"'), Representation(5, '"a"'), True, False),
        (Representation(5, '"a"', "x"), Representation(5, '"a"', "y"), True, False),
        (Representation(5, "", "x"), Representation(5, '"a"', "y"), True, True),
        (Representation(5, "", "x"), Representation(5, "", "y"), False, False),
        (Representation(5, '"a"'), Representation(5), True, False),
    ],
)
def test_contradicts(one, other, same_url, contradiction):
    assert one.contradicts(other, same_url) == other.contradicts(one, same_url) == contradiction


@pytest.mark.parametrize(
    ("representation", "validator"),
    [
        (Representation(1, '"a"', DATE), '"a"'),
        (Representation(1, 'W/"a"', DATE), ""),
        (Representation(1, "", DATE), DATE),
        (Representation(1), ""),
    ],
)
def test_validator(representation, validator):
    assert representation.validator == validator


def test_whole_representation():
    assert WHOLE.header == "bytes=0-"
    assert WHOLE.within(7) == Span(0, 7)


@pytest.mark.parametrize("last", [2**53 - 1, 2**63 - 1, 2**64 - 1, 10**20 - 1])
def test_the_largest_ends_stand_for_any_end(last: int) -> None:
    part = parse_content_range(f"bytes 1000-{last}/*")
    assert part is not None
    assert len(part.span) == min(last, 2**63 - 2) - 999
    assert parse_single_range(f"bytes=1000-{last}") == ByteRange(1000, min(last, 2**63 - 2))
