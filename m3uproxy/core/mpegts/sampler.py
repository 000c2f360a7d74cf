"""Samples of packets for the health of a stream, taken without a decoder.

The sampler inspects a part of the packets, so it may do more work for each packet than the data path can. It still has
no loop over packets. One header field of all packets is a stride of the run (``packets[3::188]``), a question about the
field is a table (``translate``), and "packets of this PID in which a unit starts" is an AND of two such answers as big
integers.
"""

from __future__ import annotations

from itertools import compress

import attrs

from .packets import NULL_PID, PACKET_SIZE, payload_offset, pid_tables, scrambled
from .psi import ProgramMap

#: Packets of a run that are inspected.
MAX_PACKETS = 512
#: Ticks per second of the clocks in the stream (ISO/IEC 13818-1, 2.4.2.1), and the value at which they wrap.
PCR_RATE = 27_000_000
PCR_WRAP = (1 << 33) * 300

# Tables from a header byte (2.4.3.2) to 1 if the field is set, else 0.
_ERROR = bytes(byte >> 7 for byte in range(256))
_START = bytes(byte >> 6 & 1 for byte in range(256))
_SCRAMBLED = bytes(int(byte & 0xC0 != 0) for byte in range(256))
_ADAPTED = bytes(byte >> 5 & 1 for byte in range(256))
_PAYLOAD = bytes(byte >> 4 & 1 for byte in range(256))
_HOLDS_PCR = bytes(int(7 <= byte <= 183) for byte in range(256))
_PCR_FLAG = bytes(byte >> 4 & 1 for byte in range(256))
_COUNTER = bytes(byte & 15 for byte in range(256))
_CYCLE = bytes(number & 15 for number in range(MAX_PACKETS + 16))
_DISCONTINUITY = bytes(byte >> 7 for byte in range(256))
_NOT_EMPTY = bytes(int(byte > 0) for byte in range(256))
# From a step between two counters (and 16) to 1 if it is neither 0 nor 1.
_BROKEN = bytes(int(byte & 15 > 1) for byte in range(256))


@attrs.frozen
class PacketSample:
    """Counts from a run of packets.

    :ivar packets: packets inspected.
    :ivar errors: packets with ``transport_error_indicator``.
    :ivar video: packets of the video PID.
    :ivar scrambled: video packets that are scrambled.
    :ivar breaks: video packets that do not continue the counter of the packet before (2.4.3.3).
    :ivar pts: PTS of the first picture that starts in the run (90 kHz); None without one or if it cannot be read.
    :ivar clocks: first and last clock reference (27 MHz), each with the offset of its packet in the run; twice the same
        if there is only one, empty if there is none.
    """

    packets: int
    errors: int
    video: int = 0
    scrambled: int = 0
    breaks: int = 0
    pts: int | None = None
    clocks: tuple[tuple[int, int], ...] = ()


class PacketSampler:
    """A sampler for one program.

    :ivar video_expected: True if the program has a video stream.
    """

    __slots__ = ("_audio_masks", "_clock_masks", "_video_masks", "video_expected")

    def __init__(self, program: ProgramMap | None) -> None:
        """Sample the main video stream of ``program`` and its clock."""
        video = None if program is None else program.main_video
        audio = None if program is None else program.first_audio
        clock = NULL_PID if program is None else program.pcr_pid
        self.video_expected = video is not None
        self._video_masks = pid_tables([video.pid]) if video is not None else None
        self._audio_masks = pid_tables([audio.pid]) if audio is not None else None
        self._clock_masks = pid_tables([clock]) if clock != NULL_PID else None

    def sample(self, packets: bytes) -> PacketSample:
        """Inspect the first :data:`MAX_PACKETS` of whole packets."""
        end = min(len(packets), MAX_PACKETS * PACKET_SIZE)
        high, low, control = packets[1:end:PACKET_SIZE], packets[2:end:PACKET_SIZE], packets[3:end:PACKET_SIZE]
        count = len(high)
        errors = high.translate(_ERROR).count(1)
        video = clock = 0
        if self._video_masks is not None:
            video = _packets_with_pid(self._video_masks, high, low)
        if self._clock_masks is not None:
            clock = video if self._clock_masks == self._video_masks else _packets_with_pid(self._clock_masks, high, low)
        return PacketSample(
            count, errors, *_sample_video(packets, video, high, control), _clock_references(packets, clock, control)
        )

    def has_audio(self, packets: bytes) -> bool:
        """Return True if packets of the first audio stream are present.

        A program may announce streams that are never sent.
        """
        if self._audio_masks is None:
            return False
        end = min(len(packets), MAX_PACKETS * PACKET_SIZE)
        return bool(_packets_with_pid(self._audio_masks, packets[1:end:PACKET_SIZE], packets[2:end:PACKET_SIZE]))


def _packets_with_pid(pid: tuple[bytes, bytes], high: bytes, low: bytes) -> int:
    """Return one byte for each packet, 1 for packets of the PID, as a big integer."""
    return _as_integer(high.translate(pid[0])) & _as_integer(low.translate(pid[1]))


def _as_integer(marks: bytes) -> int:
    return int.from_bytes(marks, "big")


def _sample_video(packets: bytes, video: int, high: bytes, control: bytes) -> tuple[int, int, int, int | None]:
    """Return ``video``, ``scrambled``, ``breaks`` and ``pts`` of a sample."""
    if not video:
        return 0, 0, 0, None
    count = len(control)
    carrying = video & _as_integer(control.translate(_PAYLOAD))
    starts = (carrying & _as_integer(high.translate(_START))).to_bytes(count, "big")
    carriers = carrying.to_bytes(count, "big")
    video_control = bytes(compress(control, carriers))
    return (
        video.to_bytes(count, "big").count(1),
        video_control.translate(_SCRAMBLED).count(1),
        _count_breaks(packets, video_control.translate(_COUNTER), carriers, control),
        _first_pts(packets, starts.find(1) * PACKET_SIZE),
    )


def _count_breaks(packets: bytes, counters: bytes, carriers: bytes, control: bytes) -> int:
    """Count the counters that do not continue. A packet may be sent twice, and a flag may announce a break."""
    if not counters or counters == _CYCLE[counters[0] : counters[0] + len(counters)]:
        return 0
    count = len(counters) - 1
    # All differences in one subtraction: 16 more in each byte, and none borrows from its neighbour.
    steps = _as_integer(counters[1:]) + _as_integer(b"\x10" * count) - _as_integer(counters[:-1])
    broken = _as_integer(steps.to_bytes(count, "big").translate(_BROKEN))
    if not broken:
        return 0
    announced = _announced_breaks(packets, len(control)) & _as_integer(control.translate(_ADAPTED))
    marks = bytes(compress(announced.to_bytes(len(control), "big"), carriers))
    return (broken & ~_as_integer(marks[1:])).bit_count()


def _announced_breaks(packets: bytes, count: int) -> int:
    """Return the ``discontinuity_indicator`` (2.4.3.5) of each packet with an adaptation field."""
    end = count * PACKET_SIZE
    flagged = _as_integer(packets[5:end:PACKET_SIZE].translate(_DISCONTINUITY))
    return flagged & _as_integer(packets[4:end:PACKET_SIZE].translate(_NOT_EMPTY))


def _first_pts(packets: bytes, at: int) -> int | None:
    """Return the PTS of the PES packet that starts at ``at`` (2.4.3.6); None if ``at`` is negative or there is none."""
    if at < 0 or scrambled(packets, at):
        return None
    begin = payload_offset(packets, at)
    head = packets[begin : min(begin + 14, at + PACKET_SIZE)]
    if len(head) < 14 or not head.startswith(b"\0\0\1") or not head[7] & 0x80:
        return None
    return (head[9] >> 1 & 7) << 30 | head[10] << 22 | (head[11] >> 1) << 15 | head[12] << 7 | head[13] >> 1


def _clock_references(packets: bytes, with_clock: int, control: bytes) -> tuple[tuple[int, int], ...]:
    """Return ``clocks`` of a sample."""
    count = len(control)
    with_clock = with_clock & _as_integer(control.translate(_ADAPTED))
    if not with_clock:
        return ()
    end = count * PACKET_SIZE
    with_clock &= _as_integer(packets[4:end:PACKET_SIZE].translate(_HOLDS_PCR))
    with_clock &= _as_integer(packets[5:end:PACKET_SIZE].translate(_PCR_FLAG))
    if not with_clock:
        return ()
    marks = with_clock.to_bytes(count, "big")
    return _clock_reference(packets, marks.find(1) * PACKET_SIZE), _clock_reference(
        packets, marks.rfind(1) * PACKET_SIZE
    )


def _clock_reference(packets: bytes, at: int) -> tuple[int, int]:
    """Return the clock reference in the packet at ``at`` (2.4.3.5), and ``at``."""
    value = int.from_bytes(packets[at + 6 : at + 12], "big")
    return (value >> 15) * 300 + (value & 0x1FF), at
