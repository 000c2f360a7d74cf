"""What a provider may do to the content of a stream that goes on to flow, packet by packet.

Every packet keeps its place and its size but for those that are left out, so that a viewer stays aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from m3uproxy.provider.clip import PACKET, Clip, stamp_offsets, write_stamp

#: Of the packets, one in so many is flagged.
DAMAGED_INTERVAL = 8
#: What an ailment makes of a packet; ``b""`` leaves it out.
PacketFault = Callable[[bytes], bytes]


def video_pid(clip: Clip) -> int:
    """The PID of the clip's pictures: that of the first PES packet with a video stream's id (2.4.3.7)."""
    for at, pid, _ in clip.counted:
        stamps = stamp_offsets(clip.data, at)
        if stamps and clip.data[stamps[0] - 6] & 0xF0 == 0xE0:
            return pid
    raise ValueError("a clip without pictures")


def packet_faults(clip: Clip) -> dict[str, PacketFault]:
    """All there are, by the name of their fault."""
    video = video_pid(clip)
    seen = 0

    def only_video(change: PacketFault) -> PacketFault:
        return lambda packet: change(packet) if _pid(packet) == video else packet

    def damage(packet: bytes) -> bytes:
        nonlocal seen
        seen += 1
        return packet if seen % DAMAGED_INTERVAL else packet[:1] + bytes([packet[1] | 0x80]) + packet[2:]

    return {
        "no_video": only_video(lambda packet: b""),
        "frozen": only_video(_frozen),
        "scrambled": only_video(lambda packet: packet[:3] + bytes([packet[3] | 0x80]) + packet[4:]),
        "damaged": damage,
        "thin": only_video(lambda packet: packet if packet[1] & 0x40 else b""),
    }


def apply_packet_faults(data: bytes, place: int, from_what: Iterable[PacketFault]) -> bytes:
    """Have a span of the broadcast apply_packet_faults.

    :param place: of its first byte, which need not be a packet's; a torn packet at either end passes as it is.
    """
    torn = -place % PACKET
    whole = torn + (len(data) - torn) // PACKET * PACKET
    packets = [data[at : at + PACKET] for at in range(torn, whole, PACKET)]
    for ailment in from_what:
        packets = [changed for packet in packets if (changed := ailment(packet))]
    return data[:torn] + b"".join(packets) + data[max(torn, whole) :]


def _pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def _frozen(packet: bytes) -> bytes:
    """The same stamps on every picture."""
    changed = bytearray(packet)
    for at in stamp_offsets(packet, 0):
        write_stamp(changed, at, 0)
    return bytes(changed)
