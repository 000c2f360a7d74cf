"""Clip of the package and its index."""

import io
from itertools import pairwise

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.clip import (
    PACKET,
    WRAP,
    load_clip,
    parse_clip,
    pcr_offset,
    read_pcr,
    read_stamp,
    stamp_offsets,
    write_pcr,
    write_stamp,
)

ticks = st.integers(0, WRAP - 1)


@given(ticks, st.integers(0, 299), st.integers(-2 * WRAP, 2 * WRAP))
def test_write_pcr_keeps_extension_and_reserved_bits(base, extension, shift):
    data = bytearray((base << 15 | 0x3F << 9 | extension).to_bytes(6, "big"))
    assert read_pcr(data, 0) == base
    write_pcr(data, 0, base + shift)
    assert read_pcr(data, 0) == (base + shift) % WRAP
    assert int.from_bytes(data, "big") & 0x7FFF == 0x3F << 9 | extension


@given(ticks, ticks, st.sampled_from([0x20, 0x30, 0x10]))
def test_write_stamp_keeps_prefix_and_sets_markers(old, new, prefix):
    data = bytearray([prefix | 1, 0, 1, 0, 1])
    write_stamp(data, 0, old)
    assert read_stamp(data, 0) == old
    write_stamp(data, 0, new)
    assert read_stamp(data, 0) == new
    assert data[0] & 0xF0 == prefix
    assert data[0] & data[2] & data[4] & 1


def test_stamp_bits_match_the_standard():
    # 2.4.3.6: PTS[32..30] marker, PTS[29..15] marker, PTS[14..0] marker
    data = bytearray(5)
    write_stamp(data, 0, 0b101_000000000000011_100000000000001)
    assert data.hex() == "0b0007" + f"{0b1000000000000011:04x}"


def test_clip_is_small_and_plays_in_a_loop():
    clip = load_clip()
    assert len(clip.data) <= 600_000
    assert clip.seconds == 8
    assert list(clip.due) == sorted(clip.due)
    assert 0 <= clip.due[0] < clip.due[-1] < clip.seconds


def test_clip_has_the_documented_streams():
    with av.open(io.BytesIO(load_clip().data), format="mpegts") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height, video.average_rate) == ("h264", 640, 360, 25)
        assert (audio.codec_context.name, audio.sample_rate, audio.channels) == ("aac", 48_000, 2)
        seen = {"video": [], "audio": []}
        for packet in container.demux():
            if packet.pts is not None:
                seen[packet.stream.type].append((packet.dts, packet.pts, packet.is_keyframe))
    assert len(seen["video"]) == 200
    assert [number for number, (_, _, key) in enumerate(seen["video"]) if key] == list(range(0, 200, 25))
    assert any(pts != dts + 3600 for dts, pts, _ in seen["video"])  # B pictures
    sound = [pts for _, pts, _ in seen["audio"]]
    assert {later - sooner for sooner, later in pairwise(sound)} == {1920}
    assert len(sound) * 1920 == load_clip().period


def test_packet_without_pes_header_has_no_stamps():
    packet = bytearray(PACKET)
    packet[:4] = b"\x47\x01\x00\x10"
    assert stamp_offsets(packet, 0) == []
    packet[1] |= 0x40
    assert stamp_offsets(packet, 0) == []
    packet[4:13] = b"\0\0\1\xe0\0\0\x80\xc0\x0a"
    assert stamp_offsets(packet, 0) == [13, 18]
    packet[11] = 0x80
    assert stamp_offsets(packet, 0) == [13]
    assert pcr_offset(packet, 0) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "whole packets"),
        (lambda data: b"\0" + data[1:], "whole packets"),
        (lambda data: data[:3] + bytes([data[3] & 0xEF]) + data[4:], "whole packets"),
        (lambda data: data[: 4 * PACKET] + data[30 * PACKET :], "evenly"),
        (lambda data: data[:PACKET], "evenly"),
    ],
)
def test_clip_that_cannot_loop_is_rejected(damage, message):
    with pytest.raises(ValueError, match=message):
        parse_clip(damage(load_clip().data))
