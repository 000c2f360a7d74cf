"""Frames of audio in a body that begins and is cut anywhere."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from radiobuild import adts_frames, mpeg_frames, pieces

from m3uproxy.core.ingest.audio_sync import AudioSync

CUTS = st.lists(st.integers(1, 9000), max_size=12)


def run(data: bytes, cuts: list[int] | tuple[int, ...] = ()) -> tuple[bytes, AudioSync]:
    frames = AudioSync()
    out = b"".join([frames.feed(piece) for piece in pieces(data, cuts)])
    return out + frames.flush(), frames


MAKERS = [lambda: adts_frames(1, 30), lambda: mpeg_frames(2, 30), lambda: mpeg_frames(3, 30, layer=2)]


@pytest.mark.parametrize(("make", "layer"), list(zip(MAKERS, (0, 3, 2), strict=True)))
def test_a_body_that_begins_and_ends_at_a_frame_passes_whole(make, layer) -> None:
    made = make()
    out, frames = run(b"".join(made))
    assert out == b"".join(made)
    assert frames.count == len(made)
    assert frames.kind is not None
    assert frames.kind.layer == layer


@given(make=st.sampled_from(MAKERS), begin=st.integers(0, 1500), short=st.integers(0, 1500), cuts=CUTS)
def test_whole_frames_and_no_others_wherever_it_begins_and_ends(make, begin: int, short: int, cuts: list[int]) -> None:
    made = make()
    whole = b"".join(made)
    out, frames = run(whole[begin : len(whole) - short], cuts)
    starts = [sum(map(len, made[:number])) for number in range(len(made) + 1)]
    first = next(start for start in starts if start >= begin)
    last = max(start for start in starts if start <= len(whole) - short)
    assert out == whole[first:last]
    assert frames.count == starts.index(last) - starts.index(first)


@given(at=st.integers(2000, 4000), missing=st.integers(1, 2000), cuts=CUTS)
def test_a_torn_frame_is_left_out(at: int, missing: int, cuts: list[int]) -> None:
    """But for a hole that ends as far in a frame as it began in another one of the same length: that shows nowhere."""
    made = adts_frames(4, 60)
    whole = b"".join(made)
    starts = [sum(map(len, made[:number])) for number in range(len(made) + 1)]
    torn = max(number for number, start in enumerate(starts) if start <= at)
    assume(starts[torn] + missing + len(made[torn]) not in starts)
    out, _ = run(whole[:at] + whole[at + missing :], cuts)
    kept = [frame for frame in made if frame in out]
    assert out == b"".join(kept)
    assert len(kept) >= len([start for start in starts if start < at or start >= at + missing]) - 4


@given(data=st.binary(max_size=4000), cuts=CUTS)
def test_anything_cut_anywhere_gives_the_same(data: bytes, cuts: list[int]) -> None:
    data += b"".join(adts_frames(5, 5)) + data[:77] + b"".join(mpeg_frames(6, 6))
    assert run(data, cuts)[0] == run(data)[0]


def test_two_headers_prove_nothing() -> None:
    one, two, three = adts_frames(7, 3)
    assert run(one + two)[0] == b""
    assert run(b"\0\xff\xf1" + one + two + three)[0] == one + two + three


def test_frames_of_another_kind_do_not_follow() -> None:
    """Channels, rate and layer hold; a stream that changes them begins anew, and loses the frame that is followed."""
    stereo, mono = adts_frames(8, 10), adts_frames(9, 10, channels=1)
    out, frames = run(b"".join(stereo + mono))
    assert out == b"".join(stereo[:-1] + mono)
    assert frames.count == 19


def test_noise_gives_nothing_and_keeps_little() -> None:
    noise = random.Random(1)
    frames = AudioSync()
    for _ in range(300):
        assert frames.feed(noise.randbytes(1000)) == b""
        assert len(frames._pending) < 3 * 8192
