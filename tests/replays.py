"""Units of a broadcast in a received stream, in any multiplex."""

from __future__ import annotations

from ts_programme import ReceivedUnit, Reception
from tsbuild import SIZE


def frames_across(sounds: list[ReceivedUnit]) -> list[tuple[int | None, bytes]]:
    """Return frames of AAC, which may span two units. A timestamp belongs to the first frame that begins in its unit.

    The last frame is left out, because it may be incomplete.
    """
    data, stamps = b"", []
    for unit in sounds:
        stamps.append((len(data), unit.pts))
        data += unit.data
    frames: list[tuple[int | None, bytes]] = []
    at = 0
    while len(data) - at > 7:
        assert data[at] == 0xFF, "torn frame"
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        stamp = None
        while stamps and stamps[0][0] <= at:
            stamp = stamps.pop(0)[1]
        if at + size < len(data):
            frames.append((stamp, data[at : at + size]))
        at += size
    return frames


def without_last_units(data: bytes) -> bytes:
    """Return the stream without the last unit of each PID, which may be torn, and without a partial packet."""
    packets = [data[at : at + SIZE] for at in range(0, len(data) - SIZE + 1, SIZE)]
    pids = [(packet[1] & 0x1F) << 8 | packet[2] for packet in packets]
    last = {pid: number for number, (pid, packet) in enumerate(zip(pids, packets, strict=True)) if packet[1] & 0x40}
    kept = [
        packet
        for number, (pid, packet) in enumerate(zip(pids, packets, strict=True))
        if number < last.get(pid, len(packets))
    ]
    return b"".join(kept)


def from_first_units(data: bytes, tracks: set[int]) -> bytes:
    """Return the stream without packets of these PIDs before their first unit."""
    started: set[int] = set()
    kept: list[bytes] = []
    for at in range(0, len(data) - SIZE + 1, SIZE):
        packet = data[at : at + SIZE]
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if packet[1] & 0x40:
            started.add(pid)
        if pid in started or pid not in tracks:
            kept.append(packet)
    return b"".join(kept)


def units_of(
    data: bytes, video: int, sound: int, clock: int
) -> tuple[list[ReceivedUnit], list[tuple[int | None, bytes]]]:
    """Return pictures and audio frames, except for the last of each."""
    got = Reception(without_last_units(data), video, sound, clock)
    return got.video, frames_across(got.sound)
