"""The first packets of a player: PAT and program map, then a random access point, wherever a body begins."""

from __future__ import annotations

import pytest
from fakes import FakeBody, FakePlayer, Programme, Relay, check_segments, packets
from test_programmes import HINTED, PLAIN, RESET, ProgrammeRig
from tsbuild import IDR, SIZE, Mux, pes

PAT, PMT, SDT = 0, Programme.PMT_PID, 17
AUDIO = 0x102


def service_table() -> bytes:
    """Return a packet of the service description table."""
    return b"\x47\x40\x11\x10\x00\x42" + bytes(SIZE - 6)


def pid_of(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def start_of(player: FakePlayer) -> list[int]:
    """Return the PIDs of the packets before the first video. Check that a player can start with them."""
    got = packets(player.media)
    pids = [pid_of(packet) for packet in got]
    first = pids.index(Programme.VIDEO_PID)
    assert IDR in got[first], "the first picture is a random access point"
    before = pids[:first]
    assert PAT in before
    assert PMT in before[before.index(PAT) :]
    return before


def bring_slowly(relay: Relay, body: FakeBody, data: bytes, step: int) -> None:
    """Deliver ``step`` packets at a time."""
    for at in range(0, len(data), step * SIZE):
        body.bring(data[at : at + step * SIZE])
        relay.pass_time(0.01)
    relay.settle()


def cut_body(cut: int) -> bytes:
    """Return three groups of pictures of two packets, without the first ``cut`` packets."""
    made = Programme()
    return b"".join(made.group(4, 250) for _ in range(3))[cut * SIZE :]


@pytest.mark.parametrize("step", [1, 100])
@pytest.mark.parametrize("url", [PLAIN, HINTED])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 7, 9])
def test_body_that_begins_anywhere(cut: int, url: str, step: int) -> None:
    """The first ten packets are PAT, PMT, and four pictures of two packets."""
    body = cut_body(cut)
    rig = ProgrammeRig(url)
    bring_slowly(rig, rig.body, body, step)
    late = rig.player(rig.live)
    rig.settle()
    for player in (rig.viewer, late):
        assert start_of(player) == [PAT, PMT]
        assert check_segments(player.media, body) == 1


@pytest.mark.parametrize("step", [1, 100])
@pytest.mark.parametrize("url", [PLAIN, HINTED])
@pytest.mark.parametrize(
    "lead",
    [
        "pmt",
        "pmt pat",
        "pmt pmt",
        "pmt sdt pmt",
        "pmt pat pmt",
        "sdt pmt",
        "sdt pmt pat pmt",
        "pat",
        "pat sdt",
        "pat pat",
        "sdt pat",
        "pat sdt pmt",
        "pat pmt pat pmt",
    ],
)
def test_tables_before_the_first_picture_in_any_order(lead: str, url: str, step: int) -> None:
    rig = ProgrammeRig(url)
    made = Programme()
    tables = made.tables()
    known = {"pat": tables[:SIZE], "pmt": tables[SIZE:], "sdt": service_table()}
    body = b"".join(known[name] for name in lead.split()) + made.picture(True) + made.picture()
    body += b"".join(made.group() for _ in range(3))
    bring_slowly(rig, rig.body, body, step)
    late = rig.player(rig.live)
    rig.settle()
    for player in (rig.viewer, late):
        assert start_of(player)[0] == PAT


def test_programme_keeps_service_tables_before_its_pat() -> None:
    made = Programme()
    body = service_table() + b"".join(made.group() for _ in range(4))
    rig = ProgrammeRig(HINTED)
    bring_slowly(rig, rig.body, body, 100)
    rig.body.end()
    rig.finish()
    assert rig.viewer.media == body
    assert start_of(rig.viewer) == [SDT, PAT, PMT]


def test_live_stream_begins_with_the_pat_although_service_tables_come_first() -> None:
    made = Programme()
    rig = ProgrammeRig(PLAIN)
    bring_slowly(rig, rig.body, service_table() + b"".join(made.group() for _ in range(4)), 100)
    assert start_of(rig.viewer) == [PAT, PMT]


@pytest.mark.parametrize("url", [PLAIN, HINTED])
def test_stream_without_random_access_points_begins_with_tables(url: str) -> None:
    """The body begins between PAT and PMT. Players start after the time for which they wait for a keyframe."""
    made = Programme()
    rig = ProgrammeRig(url)
    rig.body.bring(made.tables()[SIZE:])
    for _ in range(30):
        rig.body.bring(made.picture() + made.tables())
        rig.pass_time(0.1)
    rig.settle()
    assert [pid_of(packet) for packet in packets(rig.viewer.media)[:2]] == [PAT, PMT]


def test_stream_whose_pat_comes_after_the_held_start_was_released() -> None:
    rig = ProgrammeRig(PLAIN)
    made = Programme()
    for _ in range(8):
        rig.body.bring(made.tables()[SIZE:] + made.picture(True))
        rig.pass_time(0.1)
    assert rig.viewer.heads == 0
    bring_slowly(rig, rig.body, b"".join(made.group() for _ in range(3)), 3)
    assert start_of(rig.viewer) == [PAT, PMT]


@pytest.mark.parametrize("way", ["reset", "joined", "standby"])
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_player_that_comes_after_a_change_of_source(cut: int, way: str) -> None:
    """The next body begins within a group, with or without its PMT."""
    rig = ProgrammeRig(PLAIN, "http://backup/live/1.ts", joined=way == "joined")
    first, second = Programme(), Programme(b"B")
    for _ in range(3):
        rig.body.bring(first.group())
        rig.pass_time(0.1)
    if way == "standby":
        while len(rig.dialler.urls) == 1:
            rig.pass_time(1)
    else:
        rig.body.end(RESET)
        rig.pass_time(0.1)
    body = FakeBody()
    body.joined = way == "joined"
    rig.dialler.last.answer(body)
    data = b"".join(second.group() for _ in range(40))[cut * SIZE :]
    for at in range(0, len(data), 40 * SIZE):
        body.bring(data[at : at + 40 * SIZE])
        rig.pass_time(0.5)
    rig.settle()
    assert b"B00000100." in rig.viewer.media
    late = rig.player(rig.live)
    rig.settle()
    for player in (rig.viewer, late):
        assert start_of(player) == [PAT, PMT]


def test_sound_before_the_first_picture_of_a_programme_is_kept() -> None:
    """A multiplexer may send sound of an earlier time first."""
    mux, made = Mux(), Programme()
    sound = mux.unit(AUDIO, pes(bytes(20), stream_id=0xC0))
    body = made.tables() + sound + made.picture(True) + b"".join(made.group() for _ in range(3))
    rig = ProgrammeRig(HINTED)
    bring_slowly(rig, rig.body, body, 100)
    assert rig.viewer.media == body[: len(rig.viewer.media)]
    assert start_of(rig.viewer) == [PAT, PMT, AUDIO]
