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
    parse_content_range,
    parse_range,
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
def test_what_is_asked_for(value, ranges):
    assert parse_range(value) == ranges


@given(RANGE)
def test_written_and_read(one):
    assert parse_range(one.header) == (one,)


@given(st.text())
def test_no_text_is_too_odd(text):
    parse_range(text)
    parse_range("bytes=" + text)
    parse_content_range(text)
    if_range_holds(text, '"x"', DATE)


@given(st.lists(RANGE, max_size=4), LENGTH)
def test_what_it_is_of_a_file(ranges, length):
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


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("bytes 0-499/1234", ContentRange(Span(0, 500), 1234)),
        ("bytes 0-499/*", ContentRange(Span(0, 500), None)),
        ("bytes */1234", ContentRange(None, 1234)),
        (" BYTES  5-5/6 ", ContentRange(Span(5, 6), 6)),
        ("bytes */*", None),
        ("bytes 5-4/6", None),
        ("bytes 0-6/6", None),
        ("bytes=0-1/6", ContentRange(Span(0, 2), 6)),
        ("bytes: 0-1/6", ContentRange(Span(0, 2), 6)),
        ("bytes0-1/6", None),
        ("0-1/6", None),
        ("", None),
    ],
)
def test_what_a_provider_says(value, told):
    assert parse_content_range(value) == told


@given(OFFSET, LENGTH, OFFSET)
def test_content_range_written_and_read(first, size, more):
    span, length = Span(first, first + size), first + size + more
    assert parse_content_range(span.content_range(length)) == ContentRange(span, length)
    assert parse_content_range(unsatisfied_range(length)) == ContentRange(None, length)


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


def test_without_a_condition_a_range_counts():
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
def test_contradictions(one, other, same_url, contradiction):
    assert one.contradicts(other, same_url) == other.contradicts(one, same_url) == contradiction


@pytest.mark.parametrize(
    ("edition", "validator"),
    [
        (Representation(1, '"a"', DATE), '"a"'),
        (Representation(1, 'W/"a"', DATE), ""),
        (Representation(1, "", DATE), DATE),
        (Representation(1), ""),
    ],
)
def test_what_goes_with_a_continuation(edition, validator):
    assert edition.validator == validator


def test_the_whole():
    assert WHOLE.header == "bytes=0-"
    assert WHOLE.within(7) == Span(0, 7)
