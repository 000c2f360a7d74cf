"""The broadcast: endless, continuous, equal for all viewers."""

from itertools import pairwise

import pytest
from decoding import decode
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.clip import PACKET, WRAP, load_clip, pcr_offset, read_pcr, stamp_offsets, write_stamp
from m3uproxy.provider.timeline import Timeline

CLIP = load_clip()
LOOP = CLIP.packets * PACKET
PICTURE, SOUND = 3600, 1920


def packets_of(data):
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def counter_breaks(data):
    """Return the number of packets whose continuity counter does not follow, over all PIDs (2.4.3.3)."""
    last, breaks = {}, 0
    for packet in packets_of(data):
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        breaks += pid in last and packet[3] & 0x0F != (last[pid] + 1) % 16
        last[pid] = packet[3] & 0x0F
    return breaks


def test_counters_continue_over_loops():
    assert counter_breaks(Timeline(CLIP).span(-LOOP, 20 * LOOP)) == 0


def test_pcr_continues_over_loops_and_wraps():
    data = Timeline(CLIP, origin=WRAP - 15 * 90_000).span(0, 4 * LOOP)
    pcrs = [read_pcr(data, at) for start in range(0, len(data), PACKET) if (at := pcr_offset(data, start))]
    assert {(later - sooner) % WRAP for sooner, later in pairwise(pcrs)} == {3600}
    assert max(pcrs) > WRAP - 3600
    assert min(pcrs) < 3600


@given(st.integers(-3 * LOOP, 3 * LOOP), st.integers(0, LOOP), st.integers(0, LOOP))
def test_spans_join_to_the_whole(first, one, two):
    timeline = TIMELINE
    whole = timeline.span(first, first + one + two)
    assert len(whole) == one + two
    assert timeline.span(first, first + one) + timeline.span(first + one, first + one + two) == whole


TIMELINE = Timeline(CLIP)


@given(st.floats(-100, 1e7), st.floats(0, 100))
def test_due_is_whole_packets_and_never_decreases(moment, later):
    due = TIMELINE.due_at(moment)
    assert due % PACKET == 0
    assert due <= TIMELINE.due_at(moment + later)


def test_due_follows_the_pcr():
    assert TIMELINE.due_at(8.0) - TIMELINE.due_at(0.0) == LOOP
    for moment in (-0.5, 3.3, 123.4):
        data = TIMELINE.span(TIMELINE.due_at(moment), TIMELINE.due_at(moment) + 100 * PACKET)
        pcr = next(read_pcr(data, at) for start in range(0, len(data), PACKET) if (at := pcr_offset(data, start)))
        assert 0 <= pcr / 90_000 - (moment + 0.7) % (WRAP / 90_000) <= 0.05


def test_backward_span_is_empty():
    assert TIMELINE.span(100, 50) == b""


@pytest.mark.media
@pytest.mark.parametrize("origin", [0, WRAP - 12 * 90_000])
def test_four_loops_decode_without_an_error(origin):
    seen = decode(Timeline(CLIP, origin).span(0, 4 * LOOP))
    assert seen.complaints == []
    assert len(seen.pictures) == 800
    assert len(seen.sounds) == 1500
    assert {later - sooner for sooner, later in pairwise(seen.pictures)} == {PICTURE}
    assert {later - sooner for sooner, later in pairwise(seen.sounds)} == {SOUND}


def without_counters(data):
    """Return the data with the unchanged counters of the clip in each loop."""
    loops = bytearray(data)
    for at in range(LOOP, len(data), PACKET):
        loops[at + 3] = loops[at + 3] & 0xF0 | CLIP.data[at % LOOP + 3] & 0x0F
    return bytes(loops)


def without_times(data):
    loops = bytearray(data)
    for start in range(LOOP, len(data), PACKET):
        for at in stamp_offsets(CLIP.data, start % LOOP):
            write_stamp(loops, start + at - start % LOOP, 0)
    return bytes(loops)


@pytest.mark.media
@pytest.mark.parametrize("damage", [without_counters, without_times, lambda data: data[:200_032] + data[202_288:]])
def test_decoding_detects_damage(damage):
    data = damage(Timeline(CLIP).span(0, 2 * LOOP))
    try:
        seen = decode(data)
    except Exception:  # a decoder refused
        return
    steps = {later - sooner for sooner, later in pairwise(seen.pictures)}
    assert seen.complaints or steps != {PICTURE} or len(seen.pictures) != 400
