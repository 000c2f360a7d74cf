"""The tables at the beginning of a run of packets, compared with those that a player needs."""

from __future__ import annotations

import pytest
from tsbuild import SIZE, Mux, pes

from m3uproxy.core.mpegts.packets import has_packets_of, null_packet
from m3uproxy.core.mpegts.psi_tables import begins_with_tables

MUX = Mux()
PAT, PMT = MUX.pat({1: 0x100}), MUX.pmt(0x100, 1, [(0x1B, 0x201)])
OTHER_PMT = MUX.pmt(0x100, 1, [(0x1B, 0x201), (0x0F, 0x202)])
SDT = b"\x47\x40\x11\x10\x00\x42" + bytes(SIZE - 6)
PICTURE = MUX.unit(0x201, pes(bytes(300)))


def test_counters_are_not_compared() -> None:
    again = Mux()
    assert begins_with_tables(MUX.pat({1: 0x100}) + MUX.pmt(0x100, 1, [(0x1B, 0x201)]) + PICTURE, PAT + PMT)
    assert begins_with_tables(again.pat({1: 0x100}) + PMT + PICTURE, PAT + PMT)


@pytest.mark.parametrize(
    ("packets", "begins", "begins_late"),
    [
        (PAT + PMT, True, True),
        (PAT + SDT + null_packet() + PMT, True, True),
        (PAT + PAT + PMT, True, True),
        (SDT + PAT + PMT, False, True),
        (null_packet() + PAT + PMT, False, True),
        (PMT + PAT + PMT, False, False),
        (PAT + OTHER_PMT + PICTURE, False, False),
        (PAT + PICTURE + PMT, False, False),
        (PICTURE[SIZE:] + PAT + PMT, False, False),
        (PAT, False, False),
        (SDT, False, False),
        (b"", False, False),
    ],
)
def test_tables_before_any_picture(packets: bytes, begins: bool, begins_late: bool) -> None:
    assert begins_with_tables(packets, PAT + PMT) is begins
    assert begins_with_tables(packets, PAT + PMT, may_follow=True) is begins_late


def test_packets_of_a_pid() -> None:
    data = PAT + PICTURE
    assert has_packets_of(data, 0x201)
    assert has_packets_of(data, 0)
    assert not has_packets_of(data, 0x101), "the same low byte"
    assert not has_packets_of(b"", 0x201)
