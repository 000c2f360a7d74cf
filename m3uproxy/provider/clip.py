"""Index of the clip: the due time of each packet, and the bytes that differ in each loop.

This module reads ISO/IEC 13818-1 independently of ``m3uproxy.core.mpegts``. Tests that compare both find errors of
either.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import attrs

PACKET = 188
#: Ticks a second of PTS, DTS and of the base of PCR.
TICKS = 90_000
#: These clocks have 33 bits (2.4.2.1, 2.4.3.7).
WRAP = 1 << 33


def read_pcr(data: bytes | bytearray, at: int) -> int:
    """Return the base (33 bits, 90 kHz) of a PCR (2.4.3.4).

    :param at: offset of the six bytes of the PCR.
    """
    return int.from_bytes(data[at : at + 6], "big") >> 15


def write_pcr(data: bytearray, at: int, ticks: int) -> None:
    """Replace the base of a PCR. Keep the extension (27 MHz): shifts are whole ticks of 90 kHz."""
    low = int.from_bytes(data[at : at + 6], "big") & 0x7FFF
    data[at : at + 6] = (ticks % WRAP << 15 | low).to_bytes(6, "big")


def read_stamp(data: bytes | bytearray, at: int) -> int:
    """Return a PTS or DTS in ticks of 90 kHz (2.4.3.6).

    :param at: offset of its five bytes.
    """
    return (
        (data[at] >> 1 & 7) << 30 | data[at + 1] << 22 | data[at + 2] >> 1 << 15 | data[at + 3] << 7 | data[at + 4] >> 1
    )


def write_stamp(data: bytearray, at: int, ticks: int) -> None:
    """Replace a PTS or DTS. Keep the four prefix bits, which tell PTS from DTS."""
    data[at] = data[at] & 0xF0 | ticks >> 29 & 0x0E | 1
    data[at + 1] = ticks >> 22 & 0xFF
    data[at + 2] = ticks >> 14 & 0xFE | 1
    data[at + 3] = ticks >> 7 & 0xFF
    data[at + 4] = ticks << 1 & 0xFE | 1


def pcr_offset(data: bytes, start: int) -> int | None:
    """Return the offset of the PCR of the packet at ``start``, or None without a PCR."""
    has_field = data[start + 3] & 0x20 and data[start + 4] > 0
    return start + 6 if has_field and data[start + 5] & 0x10 else None


def stamp_offsets(data: bytes, start: int) -> list[int]:
    """Return the offsets of PTS and DTS in the packet at ``start``: an empty list, or one or two offsets."""
    if not (data[start + 1] & 0x40 and data[start + 3] & 0x10):
        return []
    pes = start + 4 + (data[start + 4] + 1 if data[start + 3] & 0x20 else 0)
    if data[pes : pes + 3] != b"\0\0\1":
        return []
    flags = data[pes + 7] >> 6
    return [pes + 9, pes + 14] if flags == 3 else [pes + 9] if flags == 2 else []


@attrs.frozen
class Clip:
    """A transport stream whose end continues at its beginning.

    :ivar data: whole packets.
    :ivar due: send time of each packet, seconds from the start of the clip.
    :ivar period: length in ticks of 90 kHz.
    :ivar counted: offset, PID and index within the PID of each packet with a payload.
    :ivar payloads: number of packets with a payload by PID.
    :ivar pcrs: offsets of all PCRs.
    :ivar stamps: offsets of all PTS and DTS.
    """

    data: bytes = attrs.field(repr=False)
    due: tuple[float, ...] = attrs.field(repr=False)
    period: int
    counted: tuple[tuple[int, int, int], ...] = attrs.field(repr=False)
    payloads: dict[int, int]
    pcrs: tuple[int, ...] = attrs.field(repr=False)
    stamps: tuple[int, ...] = attrs.field(repr=False)

    @property
    def packets(self) -> int:
        """Number of packets in a loop."""
        return len(self.due)

    @property
    def seconds(self) -> float:
        """Length of a loop in seconds."""
        return self.period / TICKS


def parse_clip(data: bytes, period: int | None = None) -> Clip:
    """Index a clip.

    All packets must have a payload, because the continuity counter does not count others (2.4.3.3).

    :param period: length in ticks of 90 kHz. If it is not given, the PCRs must be evenly spaced. Their distance then
        gives the step from the last PCR to the next loop.
    :raises ValueError: the data cannot be played in a loop.
    """
    starts = range(0, len(data), PACKET)
    if len(data) % PACKET or any(data[at] != 0x47 or not data[at + 3] & 0x10 for at in starts):
        raise ValueError("not whole packets with payload")
    payloads: dict[int, int] = {}
    counted = []
    for at in starts:
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        counted.append((at, pid, payloads.get(pid, 0)))
        payloads[pid] = payloads.get(pid, 0) + 1
    clocks = [(at, where) for at in starts if (where := pcr_offset(data, at)) is not None]
    steps = _pcr_steps([read_pcr(data, where) for _, where in clocks], period)
    return Clip(
        data=data,
        due=send_times([at // PACKET for at, _ in clocks], len(starts), [step / TICKS for step in steps]),
        period=sum(steps),
        counted=tuple(counted),
        payloads=payloads,
        pcrs=tuple(where for _, where in clocks),
        stamps=tuple(where for at in starts for where in stamp_offsets(data, at)),
    )


def _pcr_steps(ticks: list[int], period: int | None) -> list[int]:
    """Return the ticks from each PCR to the next. The last step ends with the clip."""
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    if period is None:
        if len(set(steps)) != 1:
            raise ValueError("PCRs are not evenly spaced")
        period = steps[0] * len(ticks)
    steps.append(period - sum(steps))
    if min(steps) <= 0:
        raise ValueError("PCRs do not increase")
    return steps


def send_times(clocks: list[int], packets: int, steps: list[float]) -> tuple[float, ...]:
    """Return the send time of each packet in seconds.

    Packets between two PCRs are spaced evenly (2.4.2.2). Packets before the first PCR are due at 0.

    :param clocks: index of each packet with a PCR.
    :param packets: number of packets.
    :param steps: seconds from each PCR to the next; the last step ends with the clip.
    """
    due = [0.0] * clocks[0]
    earlier = 0.0
    for first, last, step in zip(clocks, [*clocks[1:], packets], steps, strict=True):
        due += [earlier + place / (last - first) * step for place in range(last - first)]
        earlier += step
    return tuple(due)


@cache
def load_clip() -> Clip:
    """Load the clip of the package. ``tools/make_clip.py`` generates it."""
    return parse_clip(Path(__file__).with_name("clip.ts").read_bytes())
