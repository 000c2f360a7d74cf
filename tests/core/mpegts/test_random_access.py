"""The conditions for a random access point, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tsbuild import SIZE, Mux, packet, pes

from m3uproxy.core.mpegts.psi import Codec
from m3uproxy.core.mpegts.random_access import AccessKind, PictureSearch, random_access_kind

CODE = b"\0\0\1"
AUD, SEI, SPS, PPS, IDR, SLICE = (CODE + bytes([head]) + b"\xab\xcd" for head in (9, 6, 0x67, 0x68, 0x65, 0x41))
OTHER_PACKET = packet(0x101, CODE + b"\xe0" + b"\x65" * 180, flags=None)


def hevc(nal_type: int) -> bytes:
    return CODE + bytes([nal_type << 1, 1]) + b"\xab\xcd"


def kind(data: bytes, codec: Codec, *, flag: bool = False, scrambling: int = 0) -> AccessKind | None:
    """Classify a picture that begins with ``data``, between other packets."""
    flags = 0x40 if flag else None
    made = packet(0x100, pes(data, pts=1, dts=1), start=True, flags=flags, scrambling=scrambling)
    return random_access_kind(OTHER_PACKET + made + OTHER_PACKET, SIZE, codec)


H264_CASES = [
    ("IDR with its parameter sets", AUD + SPS + PPS + SEI + IDR, AccessKind.IDR, AccessKind.IDR),
    ("IDR alone", IDR, AccessKind.IDR, AccessKind.IDR),
    ("recovery point with parameter sets", AUD + SPS + PPS + SEI + SLICE, AccessKind.OTHER, AccessKind.OTHER),
    ("parameter sets that fill the packet", AUD + SPS + PPS + SEI, AccessKind.UNKNOWN, AccessKind.UNKNOWN),
    ("plain picture", AUD + SLICE, None, AccessKind.OTHER),
    ("picture parameter set only", AUD + PPS + SLICE, None, AccessKind.OTHER),
    ("nothing of use in sight", AUD + SEI, AccessKind.UNDECIDED, AccessKind.UNKNOWN),
    ("a slice before an IDR of the next picture", SLICE + IDR, None, AccessKind.OTHER),
    ("data partition", CODE + b"\x42\0", None, AccessKind.OTHER),
    ("nothing", b"", AccessKind.UNDECIDED, AccessKind.UNKNOWN),
]


@pytest.mark.parametrize(("data", "plain", "flagged"), [case[1:] for case in H264_CASES], ids=lambda _: "")
def test_h264(data: bytes, plain: AccessKind | None, flagged: AccessKind) -> None:
    assert kind(data, Codec.H264) is plain
    assert kind(data, Codec.H264, flag=True) is flagged


@pytest.mark.parametrize("nal_type", range(64))
def test_hevc_picture_types(nal_type: int) -> None:
    expected = {19: AccessKind.IDR, 20: AccessKind.IDR, 32: AccessKind.UNKNOWN, 33: AccessKind.UNKNOWN}
    expected |= dict.fromkeys((16, 17, 18, 21, 22, 23), AccessKind.OTHER)
    expected |= dict.fromkeys(range(34, 64), AccessKind.UNDECIDED)
    assert kind(hevc(35) + hevc(nal_type), Codec.HEVC) is expected.get(nal_type)


def test_hevc_parameter_sets_then_picture() -> None:
    sets = hevc(32) + hevc(33) + hevc(34)
    assert kind(sets + hevc(19), Codec.HEVC) is AccessKind.IDR
    assert kind(sets + hevc(21), Codec.HEVC) is AccessKind.OTHER
    assert kind(sets + hevc(1), Codec.HEVC) is AccessKind.OTHER
    assert kind(sets, Codec.HEVC) is AccessKind.UNKNOWN


def test_mpeg2() -> None:
    assert kind(CODE + b"\xb3" + b"\x12" * 20 + CODE + b"\x00\x00\x0f", Codec.MPEG_VIDEO) is AccessKind.OTHER
    assert kind(CODE + b"\x00\x00\x0f", Codec.MPEG_VIDEO) is None
    assert kind(CODE + b"\x00\x00\x0f", Codec.MPEG_VIDEO, flag=True) is AccessKind.OTHER
    assert kind(CODE + b"\xb2" + b"\x12" * 20, Codec.MPEG_VIDEO) is AccessKind.UNDECIDED


def test_other_video_depends_on_the_flag() -> None:
    assert kind(IDR, Codec.OTHER_VIDEO) is None
    assert kind(IDR, Codec.OTHER_VIDEO, flag=True) is AccessKind.UNKNOWN


def test_every_audio_unit_is_an_access_point() -> None:
    assert kind(b"\xff\xf1", Codec.AUDIO) is AccessKind.UNKNOWN
    assert kind(b"\xff\xf1", Codec.AUDIO, scrambling=2) is AccessKind.UNKNOWN


@pytest.mark.parametrize("codec", [Codec.H264, Codec.HEVC, Codec.MPEG_VIDEO])
def test_scrambled_packet_depends_on_the_flag(codec: Codec) -> None:
    data = IDR + hevc(19) + CODE + b"\xb3"
    assert kind(data, codec, scrambling=3) is None
    assert kind(data, codec, scrambling=3, flag=True) is AccessKind.UNKNOWN


def test_start_code_in_the_pes_header_is_ignored() -> None:
    header = b"\0\0\1\xe0\0\0\x80\0\x06" + IDR
    made = packet(0x100, header + AUD + SLICE, start=True)
    assert random_access_kind(made, 0, Codec.H264) is None


@pytest.mark.parametrize("begin", [AUD, b"\xab" * len(AUD)])
def test_start_code_in_the_next_packet_is_ignored(begin: bytes) -> None:
    filler = begin + b"\xab" * (SIZE - 4 - 19 - len(AUD) - 3) + CODE
    made = packet(0x100, pes(filler, pts=1, dts=1), start=True)
    assert made.endswith(CODE)
    assert random_access_kind(made + b"\x65" * SIZE, 0, Codec.H264) is AccessKind.UNDECIDED


def test_payload_without_pes_header() -> None:
    unit = pes(IDR * 5)
    assert random_access_kind(packet(0x100, unit, start=True), 0, Codec.H264) is not None
    assert random_access_kind(packet(0x100, b"\0\0\2" + unit[3:], start=True), 0, Codec.H264) is None


@given(st.binary(min_size=184, max_size=184), st.integers(0, 3), st.sampled_from(list(Codec)))
def test_any_packet_is_classified(rest: bytes, control: int, codec: Codec) -> None:
    made = bytes([0x47, 0x41, 0x00, control << 4]) + rest
    assert random_access_kind(made, 0, codec) in (None, *AccessKind)


# pictures that the first packet does not show

SEQUENCE = CODE + b"\xb3" + b"\x12" * 20
PICTURE = CODE + b"\x00\x00\x0f"
LONG_SEI = CODE + b"\x06\x05" + b"\xab" * 3000
USER_DATA = CODE + b"\xb2" + b"\xab" * 3000
DEEP = [
    (Codec.H264, AUD + LONG_SEI + SPS + PPS + IDR, AccessKind.IDR),
    (Codec.H264, AUD + LONG_SEI + SPS + PPS + SLICE, AccessKind.OTHER),
    (Codec.H264, AUD + LONG_SEI + SLICE, None),
    (Codec.H264, LONG_SEI * 30, None),
    (Codec.HEVC, hevc(35) + hevc(39) + b"\xab" * 900 + hevc(32) + hevc(33) + hevc(34) + hevc(21), AccessKind.OTHER),
    (Codec.HEVC, hevc(39) + b"\xab" * 900 + hevc(1), None),
    (Codec.MPEG_VIDEO, USER_DATA + SEQUENCE + PICTURE, AccessKind.OTHER),
    (Codec.MPEG_VIDEO, USER_DATA + PICTURE, None),
]


@pytest.mark.parametrize(("codec", "data", "expected"), DEEP)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_picture_behind_the_first_packet_is_searched(
    codec: Codec, data: bytes, expected: AccessKind | None, step: int
) -> None:
    mux = Mux()
    unit = mux.unit(0x100, pes(data + b"\xab" * 2000))
    mixed = b"".join(unit[at : at + SIZE] + OTHER_PACKET for at in range(0, len(unit), SIZE))
    mixed += mux.unit(0x100, pes(AUD + SPS + PPS + IDR))
    assert random_access_kind(mixed, 0, codec) is AccessKind.UNDECIDED
    search = PictureSearch(0x100, codec)
    parts = [mixed[at : at + step * SIZE] for at in range(0, len(mixed), step * SIZE)]
    read = next(number for number, part in enumerate(parts) if search.read(part, 0))
    assert search.kind is expected
    assert read * step <= 800, "the search is bounded"
    assert 0 < search.take_cost() < 2000


def test_header_that_fills_the_first_packet_is_no_obstacle() -> None:
    header = b"\0\0\1\xe0\0\0\x80\0\xff" + b"\xff" * 255
    unit = Mux().unit(0x100, header + AUD + SPS + PPS + IDR + b"\xab" * 300)
    assert random_access_kind(unit, 0, Codec.H264) is AccessKind.UNDECIDED
    search = PictureSearch(0x100, Codec.H264)
    assert search.read(unit, 0)
    assert search.kind is AccessKind.IDR
