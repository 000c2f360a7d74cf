"""Faults in the content of a stream that continues, applied packet by packet.

A packet keeps its place and size, or is left out. The viewer stays aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from m3uproxy.provider.clip import PACKET, Clip, stamp_offsets, write_stamp

#: One of this many packets is marked as damaged.
DAMAGED_INTERVAL = 8
#: A null packet (2.4.1).
NULL = b"\x47\x1f\xff\x10".ljust(PACKET, b"\xff")
#: Function from a packet to the packet to send; ``b""`` leaves it out.
PacketFault = Callable[[bytes], bytes]


def video_pid(clip: Clip) -> int:
    """Return the PID of the video: that of the first PES packet with a video stream id (2.4.3.7).

    :raises ValueError: the clip has no video.
    """
    for at, pid, _ in clip.counted:
        stamps = stamp_offsets(clip.data, at)
        if stamps and clip.data[stamps[0] - 6] & 0xF0 == 0xE0:
            return pid
    raise ValueError("the clip has no video")


def packet_faults(clip: Clip) -> dict[str, PacketFault]:
    """Return all packet faults by the name of the fault."""
    video = video_pid(clip)
    media = {pid for at, pid, _ in clip.counted if stamp_offsets(clip.data, at)}
    seen = 0

    def only_video(change: PacketFault) -> PacketFault:
        return lambda packet: change(packet) if _pid(packet) == video else packet

    def damage(packet: bytes) -> bytes:
        nonlocal seen
        seen += 1
        return packet if seen % DAMAGED_INTERVAL else packet[:1] + bytes([packet[1] | 0x80]) + packet[2:]

    return {
        "no_video": only_video(lambda packet: b""),
        "no_media": lambda packet: NULL if _pid(packet) in media else packet,
        "frozen": only_video(_frozen),
        "scrambled": only_video(lambda packet: packet[:3] + bytes([packet[3] | 0x80]) + packet[4:]),
        "damaged": damage,
        "thin": only_video(lambda packet: packet if packet[1] & 0x40 else b""),
    }


def apply_packet_faults(data: bytes, place: int, faults: Iterable[PacketFault]) -> bytes:
    """Apply packet faults to a span of the broadcast.

    :param place: offset of the first byte. Where the span begins or ends within a packet, that partial packet is
        unchanged.
    :param faults: applied in this order.
    """
    torn = -place % PACKET
    whole = torn + (len(data) - torn) // PACKET * PACKET
    packets = [data[at : at + PACKET] for at in range(torn, whole, PACKET)]
    for fault in faults:
        packets = [changed for packet in packets if (changed := fault(packet))]
    return data[:torn] + b"".join(packets) + data[max(torn, whole) :]


def _pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _frozen(packet: bytes) -> bytes:
    """Set all timestamps of a packet to 0."""
    changed = bytearray(packet)
    for at in stamp_offsets(packet, 0):
        write_stamp(changed, at, 0)
    return bytes(changed)
