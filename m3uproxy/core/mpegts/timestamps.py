"""Clock values of a transport stream: PTS and DTS (ISO/IEC 13818-1, 2.4.3.7) and the base of PCR (2.4.3.5).

All three count 90 kHz in 33 bits and wrap after 26.5 hours. Two values are therefore never compared directly. Only
their distance is used, which is correct while they lie less than 13 hours apart.
"""

from __future__ import annotations

#: Ticks a second.
TICKS = 90_000
#: One more than the highest value.
WRAP = 1 << 33
_HALF = WRAP >> 1

_ADAPTATION_FIELD = 0x20
_PCR = 0x10


def ahead(later: int, earlier: int) -> int:
    """Return the ticks from ``earlier`` to ``later``, the short way round; negative if ``later`` is the earlier one."""
    return (later - earlier + _HALF) % WRAP - _HALF


def latest(values: list[int]) -> int:
    """Return the latest of clock values that lie close together. At least one value is required."""
    return values[0] + max(ahead(value, values[0]) for value in values) & WRAP - 1


def read_timestamp(data: bytes | bytearray, at: int) -> int:
    """Return the PTS or DTS whose five bytes begin at ``at``."""
    return (
        (data[at] & 0x0E) << 29
        | data[at + 1] << 22
        | (data[at + 2] & 0xFE) << 14
        | data[at + 3] << 7
        | data[at + 4] >> 1
    )


def write_timestamp(data: bytearray, at: int, ticks: int) -> None:
    """Replace a PTS or DTS by ``ticks`` below :data:`WRAP`. The four bits that mark PTS or DTS stay."""
    data[at] = data[at] & 0xF0 | ticks >> 29 & 0x0E | 1
    data[at + 1] = ticks >> 22 & 0xFF
    data[at + 2] = ticks >> 14 & 0xFE | 1
    data[at + 3] = ticks >> 7 & 0xFF
    data[at + 4] = ticks << 1 & 0xFE | 1


def has_pcr(data: bytes | bytearray, at: int) -> bool:
    """Return True if the packet at ``at`` carries a PCR."""
    return bool(data[at + 3] & _ADAPTATION_FIELD and data[at + 4] >= 7 and data[at + 5] & _PCR)


def read_pcr(data: bytes | bytearray, at: int) -> int:
    """Return the base of the PCR of the packet at ``at``, which must have one."""
    return int.from_bytes(data[at + 6 : at + 12], "big") >> 15


def write_pcr(data: bytearray, at: int, ticks: int) -> None:
    """Replace the base of a PCR by ``ticks`` below :data:`WRAP`. The extension (1/27 MHz) stays."""
    low = int.from_bytes(data[at + 10 : at + 12], "big") & 0x7FFF
    data[at + 6 : at + 12] = (ticks << 15 | low).to_bytes(6, "big")
