"""Titles of songs among the sound, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiobuild import pieces

from m3uproxy.upstream.content_decoding import IcyTitleFilter, icy_title_filter


@given(
    sound=st.binary(max_size=2000),
    interval=st.integers(1, 300),
    blocks=st.lists(st.integers(0, 255), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 3000), max_size=20),
)
def test_sound_comes_out_and_nothing_else(sound: bytes, interval: int, blocks: list[int], cuts: list[int]) -> None:
    body = b""
    for number, at in enumerate(range(0, len(sound), interval)):
        units = blocks[number % len(blocks)]
        body += sound[at : at + interval]
        if at + interval <= len(sound):
            body += bytes([units]) + b"T" * 16 * units
    remover = IcyTitleFilter(interval)
    assert b"".join([remover.without(piece) for piece in pieces(body, cuts)]) == sound


@pytest.mark.parametrize("value", [b"0", b"-1", b"", b"x", b"1e3", b"9" * 5000])
def test_a_header_that_makes_no_sense_is_none(value: bytes) -> None:
    assert icy_title_filter([value]) is None


def test_headers() -> None:
    assert icy_title_filter([]) is None
    first = icy_title_filter([b"2", b"5"])
    assert first is not None
    assert first.without(b"ab\0cd") == b"abcd"
