"""Radio and FLV broadcasts of the provider."""

import io
from itertools import pairwise

import av
import pytest
from decoding import decode
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.faults import make_faults
from m3uproxy.provider.framing import framing_headers, make_framing
from m3uproxy.provider.radio import CONTENT_TYPES, Flv, load_radio
from m3uproxy.provider.requests import MediaPath, media_path

ENDINGS = ["aac", "mp3", "flv"]


@given(
    ending=st.sampled_from(ENDINGS),
    first=st.integers(-200_000, 200_000),
    sizes=st.lists(st.integers(0, 60_000), max_size=4),
)
def test_spans_join_to_the_whole(ending, first, sizes):
    broadcast = load_radio(ending)
    parts, at = [], first
    for size in sizes:
        parts.append(broadcast.span(at, at + size))
        at += size
    whole = broadcast.span(first, at)
    assert len(whole) == at - first
    assert b"".join(parts) == whole


@pytest.mark.parametrize("ending", ENDINGS)
def test_due_bytes_grow_with_time(ending):
    broadcast = load_radio(ending)
    places = [broadcast.due_at(tenths / 10) for tenths in range(-100, 200)]
    assert places == sorted(places)
    assert 30_000 < broadcast.due_at(8.001) - broadcast.due_at(0.001) < 70_000


def test_flv_is_due_in_whole_tags_with_continuous_time():
    flv = load_radio("flv")
    assert isinstance(flv, Flv)
    times, at = [], flv.due_at(-9)
    while at < flv.due_at(17):
        head = flv.span(at, at + 11)
        times.append(head[7] << 24 | int.from_bytes(head[4:7], "big"))
        at += 15 + int.from_bytes(head[1:4], "big")
    assert at == flv.due_at(17)
    assert all(0 <= later - sooner <= 100 for sooner, later in pairwise(times))
    assert 25_800 < times[-1] - times[0] <= 26_000
    assert flv.prologue()[:5] == b"FLV\x01\x05"


@pytest.mark.media
@pytest.mark.parametrize(("ending", "sounds", "pictures"), [("aac", 1125, 0), ("mp3", 1000, 0), ("flv", 1125, 240)])
def test_clips_loop_without_decoder_errors(ending, sounds, pictures):
    broadcast = load_radio(ending)
    last = broadcast.due_at(23.9999) if ending == "flv" else broadcast.due_at(24)
    seen = decode(broadcast.prologue() + broadcast.span(0, last), format=ending)
    assert seen.complaints == []
    assert len(seen.sounds) == pytest.approx(sounds, abs=2)
    assert len(seen.pictures) == pictures


@pytest.mark.media
def test_clips_have_the_documented_codecs():
    codecs = {"aac": ["aac"], "mp3": ["mp3"], "flv": ["h264", "aac"]}
    for ending in ENDINGS:
        broadcast = load_radio(ending)
        body = broadcast.prologue() + broadcast.span(0, 40_000)
        with av.open(io.BytesIO(body), format=ending) as container:
            names = [stream.codec_context.name for stream in container.streams]
        assert [name.replace("mp3float", "mp3") for name in names] == codecs[ending]


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("/live/a.mp3", MediaPath("a", None, "mp3")),
        ("/live/a.b.flv", MediaPath("a.b", None, "flv")),
        ("/live/u/p/7.aac", MediaPath("7", "u", "aac")),
        ("/live/u/p/7", MediaPath("7", "u", "ts")),
        ("/live/u/p/7.x", MediaPath("7.x", "u", "ts")),
        ("/live/.mp3", None),
        ("/live/a.ogg", None),
    ],
)
def test_media_paths_with_endings(path, media):
    assert media_path(path) == media
    assert media is None or media.ending in CONTENT_TYPES


@given(sizes=st.lists(st.integers(1, 300), max_size=9), interval=st.integers(1, 100))
def test_icy_metadata_follows_each_interval(sizes, interval):
    faults = make_faults({"metaint": interval})
    assert framing_headers(faults) == [("icy-metaint", str(interval))]
    framing = make_framing(faults)
    body = b"".join(framing.encode(b"s" * size) for size in sizes) + framing.end()
    sound, at = 0, 0
    while at < len(body):
        piece = body[at : at + interval]
        assert set(piece) == {ord("s")}
        sound, at = sound + len(piece), at + len(piece)
        if at < len(body):
            units = body[at]
            assert body[at + 1 : at + 1 + units * 16].rstrip(b"\0") in (b"", b"StreamTitle='A song';")
            at += 1 + units * 16
    assert sound == sum(sizes)
