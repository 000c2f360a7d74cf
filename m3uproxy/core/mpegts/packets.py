"""Fields of transport stream packets (ISO/IEC 13818-1, 2.4.3.2), read in place from a run of whole packets.

All accessors take the run and the offset of a packet in it, so that nothing is copied. They trust their
arguments: a packet starts at the offset and is there completely, which the aligner sees to.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Bytes in a packet.
PACKET_SIZE = 188
#: The byte every packet starts with, as a number and as a string.
SYNC_BYTE = 0x47
SYNC = b"\x47"
#: Well-known PIDs: the program association table and padding (table 2-3).
PAT_PID = 0x0000
NULL_PID = 0x1FFF

_ERROR = 0x80
_UNIT_START = 0x40
_SCRAMBLING = 0xC0
_ADAPTATION_FIELD = 0x20
_PAYLOAD = 0x10
_RANDOM_ACCESS = 0x40

#: Second byte of a packet -> 1 where a unit starts in it and no transport error is flagged, else 0.
STARTS = bytes(int(byte & (_ERROR | _UNIT_START) == _UNIT_START) for byte in range(256))


def null_packet() -> bytes:
    """A packet that carries nothing (2.4.1): demultiplexers throw it away."""
    head = bytes([SYNC_BYTE, NULL_PID >> 8, NULL_PID & 0xFF, _PAYLOAD])
    return head + b"\xff" * (PACKET_SIZE - len(head))


def pid(packets: bytes | bytearray, at: int) -> int:
    """The packet identifier, 0 to 0x1FFF."""
    return (packets[at + 1] & 0x1F) << 8 | packets[at + 2]


def payload_unit_start(packets: bytes, at: int) -> bool:
    """Whether a PES packet or a PSI section starts in this packet."""
    return bool(packets[at + 1] & _UNIT_START)


def transport_error(packets: bytes, at: int) -> bool:
    """Whether somebody upstream knew that this packet is damaged."""
    return bool(packets[at + 1] & _ERROR)


def scrambled(packets: bytes | bytearray, at: int) -> bool:
    """Whether the payload is encrypted; header and adaptation field never are."""
    return bool(packets[at + 3] & _SCRAMBLING)


def random_access_indicator(packets: bytes, at: int) -> bool:
    """The flag of the adaptation field by which a multiplexer marks a point to start at (2.4.3.5)."""
    if not packets[at + 3] & _ADAPTATION_FIELD or packets[at + 4] == 0:
        return False
    return bool(packets[at + 5] & _RANDOM_ACCESS)


def payload_offset(packets: bytes | bytearray, at: int) -> int:
    """Offset of the first payload byte in ``packets``; the packet's end if it has no payload."""
    end = at + PACKET_SIZE
    control = packets[at + 3]
    if not control & _PAYLOAD:
        return end
    if not control & _ADAPTATION_FIELD:
        return at + 4
    return min(at + 5 + packets[at + 4], end)


def unit_starts(packets: bytes) -> Iterator[int]:
    """Offsets of the packets in which a unit starts, in order, without those flagged as damaged.

    The one thing that is done for every byte of every stream: a stride, a table and ``find`` cost a tenth of
    a loop over the packets.
    """
    return marked_offsets(packets[1::PACKET_SIZE].translate(STARTS), 1)


def marked_offsets(marks: bytes, mark: int) -> Iterator[int]:
    """Offsets of the packets that have this mark, in order.

    :param marks: a byte for each packet.
    """
    found = marks.find(mark)
    while found >= 0:
        yield found * PACKET_SIZE
        found = marks.find(mark, found + 1)
