"""Synchronisation on audio frames in a body that begins and is cut at any byte."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from radiobuild import adts_frames, mpeg_frames, pieces

from m3uproxy.core.ingest.audio_sync import AudioSync

CUTS = st.lists(st.integers(1, 9000), max_size=12)


def sync_in_pieces(data: bytes, cuts: list[int] | tuple[int, ...] = ()) -> tuple[bytes, AudioSync]:
    frames = AudioSync()
    out = b"".join([frames.feed(piece) for piece in pieces(data, cuts)])
    return out + frames.flush(), frames


MAKERS = [lambda: adts_frames(1, 30), lambda: mpeg_frames(2, 30), lambda: mpeg_frames(3, 30, layer=2)]


@pytest.mark.parametrize(("make", "layer"), list(zip(MAKERS, (0, 3, 2), strict=True)))
def test_aligned_body_passes_whole(make, layer) -> None:
    made = make()
    out, frames = sync_in_pieces(b"".join(made))
    assert out == b"".join(made)
    assert frames.count == len(made)
    assert frames.kind is not None
    assert frames.kind.layer == layer


@given(make=st.sampled_from(MAKERS), begin=st.integers(0, 1500), short=st.integers(0, 1500), cuts=CUTS)
def test_only_whole_frames_pass_at_any_body_limits(make, begin: int, short: int, cuts: list[int]) -> None:
    made = make()
    whole = b"".join(made)
    out, frames = sync_in_pieces(whole[begin : len(whole) - short], cuts)
    starts = [sum(map(len, made[:number])) for number in range(len(made) + 1)]
    first = next(start for start in starts if start >= begin)
    last = max(start for start in starts if start <= len(whole) - short)
    assert out == whole[first:last]
    assert frames.count == starts.index(last) - starts.index(first)


@given(at=st.integers(2000, 4000), missing=st.integers(1, 2000), cuts=CUTS)
def test_torn_frame_is_dropped(at: int, missing: int, cuts: list[int]) -> None:
    """The hole must not end at the same offset of a frame of equal length: such a hole cannot be detected."""
    made = adts_frames(4, 60)
    whole = b"".join(made)
    starts = [sum(map(len, made[:number])) for number in range(len(made) + 1)]
    torn = max(number for number, start in enumerate(starts) if start <= at)
    assume(starts[torn] + missing + len(made[torn]) not in starts)
    out, _ = sync_in_pieces(whole[:at] + whole[at + missing :], cuts)
    kept = [frame for frame in made if frame in out]
    assert out == b"".join(kept)
    assert len(kept) >= len([start for start in starts if start < at or start >= at + missing]) - 4


@given(data=st.binary(max_size=4000), cuts=CUTS)
def test_cuts_make_no_difference(data: bytes, cuts: list[int]) -> None:
    data += b"".join(adts_frames(5, 5)) + data[:77] + b"".join(mpeg_frames(6, 6))
    assert sync_in_pieces(data, cuts)[0] == sync_in_pieces(data)[0]


def test_two_headers_are_not_enough() -> None:
    one, two, three = adts_frames(7, 3)
    assert sync_in_pieces(one + two)[0] == b""
    assert sync_in_pieces(b"\0\xff\xf1" + one + two + three)[0] == one + two + three


def test_frames_of_another_kind_restart_the_sync() -> None:
    """Channels, rate and layer stay the same within a stream. After a change the last frame before it is lost."""
    stereo, mono = adts_frames(8, 10), adts_frames(9, 10, channels=1)
    out, frames = sync_in_pieces(b"".join(stereo + mono))
    assert out == b"".join(stereo[:-1] + mono)
    assert frames.count == 19


def test_noise_yields_no_frames_and_little_is_kept() -> None:
    noise = random.Random(1)
    frames = AudioSync()
    for _ in range(300):
        assert frames.feed(noise.randbytes(1000)) == b""
        assert len(frames._pending) < 3 * 8192
