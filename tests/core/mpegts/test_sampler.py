"""Samples of packets, compared with a plain loop over the packets."""

from __future__ import annotations

from typing import Any

import pytest
import tsbuild as ts
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.mpegts.access_index import AccessIndex
from m3uproxy.core.mpegts.psi import ElementaryStream, ProgramMap
from m3uproxy.core.mpegts.sampler import MAX_PACKETS, PCR_WRAP, PacketSample, PacketSampler

SIZE = 188
VIDEO, AUDIO = 0x100, 0x101


def program(*, video: bool = True, clock: int = VIDEO) -> ProgramMap:
    streams = [ElementaryStream(ts.AAC, AUDIO, b"")]
    if video:
        streams.append(ElementaryStream(ts.H264, VIDEO, b""))
    return ProgramMap(1, clock, tuple(streams))


def sample_by_loop(data: bytes, video: int | None, clock: int | None) -> PacketSample:
    """Return the same sample, computed packet by packet."""
    seen: dict[str, Any] = dict.fromkeys(("packets", "errors", "video", "scrambled", "breaks"), 0)
    pts = None
    clocks: list[tuple[int, int]] = []
    last: int | None = None
    for at in range(0, min(len(data), MAX_PACKETS * SIZE), SIZE):
        packet = data[at : at + SIZE]
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        adapted, carries = packet[3] & 0x20, packet[3] & 0x10
        seen["packets"] += 1
        seen["errors"] += packet[1] >> 7
        if pid == clock and adapted and 7 <= packet[4] <= 183 and packet[5] & 0x10:
            field = int.from_bytes(packet[6:12], "big")
            clocks.append(((field >> 15) * 300 + (field & 511), at))
        if pid != video:
            continue
        seen["video"] += 1
        if not carries:
            continue
        seen["scrambled"] += packet[3] & 0xC0 != 0
        counter = packet[3] & 15
        announced = adapted and packet[4] and packet[5] & 0x80
        if last is not None and counter not in (last, (last + 1) % 16) and not announced:
            seen["breaks"] += 1
        last = counter
        if packet[1] & 0x40 and not seen.get("started"):
            seen["started"] = True
            pts = pts_of(packet)
    seen.pop("started", None)
    return PacketSample(**seen, pts=pts, clocks=(clocks[0], clocks[-1]) if clocks else ())


def pts_of(packet: bytes) -> int | None:
    begin = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    head = packet[begin:]
    if packet[3] & 0xC0 or len(head) < 14 or head[:3] != b"\0\0\1" or not head[7] & 0x80:
        return None
    bits = "".join(f"{byte:08b}" for byte in head[9:14])
    return int(bits[4:7] + bits[8:23] + bits[24:39], 2)


pieces = st.builds(
    ts.packet,
    st.sampled_from([VIDEO, AUDIO, 0x200, 0x1FFF, 0]),
    st.one_of(
        st.binary(max_size=176),
        st.builds(lambda pts, data: ts.pes(data, pts=pts), st.integers(0, 2**33 - 1), st.binary(max_size=100)),
    ),
    start=st.booleans(),
    counter=st.integers(0, 15),
    flags=st.one_of(st.just(0), st.sampled_from([0x80, 0x10, 0x90, 0x40])),
    field=st.integers(0, PCR_WRAP - 1).map(ts.pcr_field),
    scrambling=st.sampled_from([0, 0, 0, 2]),
    error=st.sampled_from([False, False, True]),
)
runs = st.lists(pieces, max_size=40).map(b"".join)


@given(runs, st.booleans(), st.sampled_from([VIDEO, 0x200, 0x1FFF]))
def test_sample_equals_the_loop(data: bytes, video: bool, clock: int) -> None:
    sample = PacketSampler(program(video=video, clock=clock)).sample(data)
    assert sample == sample_by_loop(data, VIDEO if video else None, clock if clock != 0x1FFF else None)


@given(st.lists(st.binary(min_size=187, max_size=187).map(lambda rest: b"G" + rest), max_size=20).map(b"".join))
def test_any_bytes_are_sampled(data: bytes) -> None:
    for pid in (0x100, 0x1FFE, 0):
        sampler = PacketSampler(ProgramMap(1, pid, (ElementaryStream(ts.H264, pid, b""),)))
        sample = sampler.sample(data)
        assert sample.packets == len(data) // SIZE


def test_pids_with_a_common_byte_are_distinguished() -> None:
    data = b"".join(ts.packet(pid, b"x") for pid in (0x0000, 0x1000, 0x0100, 0x0001, 0x0101, 0x1100))
    assert PacketSampler(program()).sample(data).video == 1


@pytest.mark.parametrize(
    ("counters", "breaks"),
    [
        (range(100), 0),
        ([5, 6, 7, 7, 8], 0),
        ([15, 0, 1], 0),
        ([1, 2, 4, 5], 1),
        ([3, 2], 1),
        ([1, 3, 5, 7], 3),
        ([9], 0),
    ],
)
def test_counters(counters: list[int], breaks: int) -> None:
    data = b"".join(ts.packet(VIDEO, b"x" * 184, counter=n) + ts.packet(AUDIO, b"y", counter=3) for n in counters)
    assert PacketSampler(program()).sample(data).breaks == breaks


def test_packets_without_payload_keep_the_counter() -> None:
    full = [ts.packet(VIDEO, b"x" * 184, counter=n) for n in range(3)]
    clock = ts.packet(VIDEO, b"", counter=0, flags=0x10, field=ts.pcr_field(7))
    sample = PacketSampler(program()).sample(full[0] + clock + full[1] + clock + full[2])
    assert (sample.breaks, sample.video, sample.clocks) == (0, 5, ((7, SIZE), (7, 3 * SIZE)))


def test_clock_in_an_empty_adaptation_field_is_ignored() -> None:
    data = ts.packet(VIDEO, b"\x10" * 183)
    assert data[3] & 0x20
    assert data[4] == 0
    assert PacketSampler(program()).sample(data).clocks == ()


def test_announced_break_is_not_counted() -> None:
    data = ts.packet(VIDEO, b"x" * 184, counter=1) + ts.packet(VIDEO, b"x", counter=9, flags=0x80)
    assert PacketSampler(program()).sample(data).breaks == 0


def test_only_the_first_packets_are_sampled() -> None:
    data = b"".join(ts.packet(VIDEO, b"x" * 184, counter=n) for n in range(MAX_PACKETS + 100))
    sample = PacketSampler(program()).sample(data)
    assert sample == PacketSample(MAX_PACKETS, 0, MAX_PACKETS)


def test_only_errors_are_counted_without_a_program() -> None:
    data = ts.packet(VIDEO, b"x", error=True) + ts.packet(VIDEO, b"x")
    assert PacketSampler(None).sample(data) == PacketSample(2, 1)
    assert PacketSampler(None).sample(b"") == PacketSample(0, 0)
    assert not PacketSampler(None).video_expected
    assert not PacketSampler(program(video=False)).video_expected


@pytest.mark.media
@pytest.mark.parametrize("name", ["h264", "h264 open", "hevc", "mpeg2", "audio"])
def test_real_streams_have_no_faults(clips: Any, name: str) -> None:
    data = clips[name].data
    index = AccessIndex()
    index.scan(data)
    assert index.program_map is not None
    sampler = PacketSampler(index.program_map)
    assert sampler.video_expected == (name != "audio")
    samples = [sampler.sample(data[at : at + 300 * SIZE]) for at in range(0, len(data), 300 * SIZE)]
    assert sum(sample.breaks + sample.errors + sample.scrambled for sample in samples) == 0
    clock = [pcr for sample in samples for pcr, _ in sample.clocks]
    assert clock == sorted(clock)
    assert len(clock) >= 2
    pictures = {sample.pts for sample in samples if sample.pts is not None}
    assert len(pictures) >= 2 or name == "audio"
    video = next((s.pid for s in index.program_map.streams if s.codec.is_video), None)
    assert samples[1] == sample_by_loop(data[300 * SIZE : 600 * SIZE], video, index.program_map.pcr_pid)
