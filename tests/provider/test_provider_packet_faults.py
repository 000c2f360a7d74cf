"""Packet faults of a channel: packets stay whole, and only the selected fault appears."""

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.clip import PACKET, load_clip, read_stamp, stamp_offsets
from m3uproxy.provider.packet_faults import DAMAGED_INTERVAL, NULL, apply_packet_faults, packet_faults, video_pid
from m3uproxy.provider.timeline import Timeline

CLIP = load_clip()
VIDEO = video_pid(CLIP)
TIMELINE = Timeline(CLIP)


def cut(data):
    assert len(data) % PACKET == 0
    packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
    assert all(packet[0] == 0x47 for packet in packets)
    return packets


def is_video(packet):
    return (packet[1] & 0x1F) << 8 | packet[2] == VIDEO


def faulty_packets(*names, begin=2.0, end=4.0):
    first, last = TIMELINE.due_at(begin), TIMELINE.due_at(end)
    plain = TIMELINE.span(first, last)
    return cut(plain), cut(apply_packet_faults(plain, first, [packet_faults(CLIP)[name] for name in names]))


def test_no_video():
    plain, faulty = faulty_packets("no_video")
    assert faulty == [packet for packet in plain if not is_video(packet)]
    assert 0 < len(faulty) < len(plain)


def test_no_media():
    plain, faulty = faulty_packets("no_media")
    assert len(faulty) == len(plain)
    kept = {(packet[1] & 0x1F) << 8 | packet[2] for packet in faulty if packet != NULL}
    streams = {pid for at, pid, _ in CLIP.counted if stamp_offsets(CLIP.data, at)}
    assert len(streams) == 2
    assert 0 in kept
    assert kept.isdisjoint(streams)


def test_frozen():
    plain, faulty = faulty_packets("frozen")
    changed = [(old, new) for old, new in zip(plain, faulty, strict=True) if old != new]
    assert len(changed) > 20
    assert all(is_video(old) for old, _ in changed)
    assert {read_stamp(new, at) for _, new in changed for at in stamp_offsets(new, 0)} == {0}


def test_scrambled():
    plain, faulty = faulty_packets("scrambled")
    for old, new in zip(plain, faulty, strict=True):
        assert new[3] >> 6 == (2 if is_video(old) else 0)
        assert old[4:] == new[4:]


def test_damaged():
    plain, faulty = faulty_packets("damaged")
    flagged = sum(packet[1] >> 7 for packet in faulty)
    assert flagged == len(plain) // DAMAGED_INTERVAL


def test_thin():
    plain, faulty = faulty_packets("thin")
    assert len(faulty) < len(plain) * 0.8
    assert [packet for packet in plain if packet[1] & 0x40 or not is_video(packet)] == faulty


def test_several_packet_faults_combine():
    _, faulty = faulty_packets("no_video", "damaged")
    assert not any(is_video(packet) for packet in faulty)
    assert any(packet[1] & 0x80 for packet in faulty)


@given(st.sampled_from(sorted(packet_faults(CLIP))), st.integers(-5000, 5000), st.integers(0, 3000))
def test_partial_packets_of_a_span_are_unchanged(name, place, size):
    data = TIMELINE.span(place, place + size)
    made = apply_packet_faults(data, place, [packet_faults(CLIP)[name]])
    torn = min(-place % PACKET, size)
    assert made[:torn] == data[:torn]
    assert (len(data) - len(made)) % PACKET == 0
    if size > 400:
        rest = (place + size) % PACKET
        assert made[len(made) - rest :] == data[size - rest :]
