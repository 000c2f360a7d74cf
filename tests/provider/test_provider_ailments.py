"""What an ailing channel sends: still whole packets, with the one thing wrong that was asked for."""

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.ailments import DAMAGED, ailments, suffer, video_pid
from m3uproxy.provider.clip import PACKET, load_clip, read_stamp, stamp_offsets
from m3uproxy.provider.timeline import Timeline

CLIP = load_clip()
VIDEO = video_pid(CLIP)
LINE = Timeline(CLIP)


def cut(data):
    assert len(data) % PACKET == 0
    packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
    assert all(packet[0] == 0x47 for packet in packets)
    return packets


def is_video(packet):
    return (packet[1] & 0x1F) << 8 | packet[2] == VIDEO


def ailing(*names, begin=2.0, end=4.0):
    first, last = LINE.due_at(begin), LINE.due_at(end)
    well = LINE.span(first, last)
    return cut(well), cut(suffer(well, first, [ailments(CLIP)[name] for name in names]))


def test_no_video():
    well, ill = ailing("no_video")
    assert ill == [packet for packet in well if not is_video(packet)]
    assert 0 < len(ill) < len(well)


def test_frozen():
    well, ill = ailing("frozen")
    changed = [(old, new) for old, new in zip(well, ill, strict=True) if old != new]
    assert len(changed) > 20
    assert all(is_video(old) for old, _ in changed)
    assert {read_stamp(new, at) for _, new in changed for at in stamp_offsets(new, 0)} == {0}


def test_scrambled():
    well, ill = ailing("scrambled")
    for old, new in zip(well, ill, strict=True):
        assert new[3] >> 6 == (2 if is_video(old) else 0)
        assert old[4:] == new[4:]


def test_damaged():
    well, ill = ailing("damaged")
    flagged = sum(packet[1] >> 7 for packet in ill)
    assert flagged == len(well) // DAMAGED


def test_thin():
    well, ill = ailing("thin")
    assert len(ill) < len(well) * 0.8
    assert [packet for packet in well if packet[1] & 0x40 or not is_video(packet)] == ill


def test_several_at_once():
    _, ill = ailing("no_video", "damaged")
    assert not any(is_video(packet) for packet in ill)
    assert any(packet[1] & 0x80 for packet in ill)


@given(st.sampled_from(sorted(ailments(CLIP))), st.integers(-5000, 5000), st.integers(0, 3000))
def test_spans_that_begin_and_end_within_packets(name, place, size):
    data = LINE.span(place, place + size)
    made = suffer(data, place, [ailments(CLIP)[name]])
    torn = min(-place % PACKET, size)
    assert made[:torn] == data[:torn]
    assert (len(data) - len(made)) % PACKET == 0
    if size > 400:
        rest = (place + size) % PACKET
        assert made[len(made) - rest :] == data[size - rest :]
