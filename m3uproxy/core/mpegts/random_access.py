"""Random access points: pictures at which a decoder can start without earlier data.

The multiplexer's own flag has priority. Without the flag, the first bytes of the elementary stream decide: parameter
sets (H.264, HEVC) and sequence headers (MPEG-2) precede the picture to start at. They can push the slices of that
picture out of the packet in which the PES packet starts, so its kind may stay unknown. If other data (SEI, stuffing)
push out the parameter sets too, the next packets of the PES packet are searched (:class:`PictureSearch`).
"""

from __future__ import annotations

from enum import Enum

from .packets import PACKET_SIZE, payload_offset, payload_unit_start, random_access_indicator, scrambled
from .pes import MAX_HEADER, START_CODE, packets_of, payload_of, read_pes_header
from .psi import Codec

_PES_HEADER = 9
#: Bytes of an elementary stream in which the first picture of a unit is searched.
_MAX_SEARCH = 1 << 16
#: Bytes of a run that are searched at first. Each further step is four times as long.
_FIRST_STEP = 32 * PACKET_SIZE
#: Bytes of a run that are searched in a microsecond.
_BYTES_PER_COST = 1000

# Classes of NAL units, and of the units of MPEG-2 video; 0 is any other unit.
_IDR_SLICE, _INTRA_SLICE, _SLICE, _PARAMETERS = 1, 2, 3, 4


class AccessKind(Enum):
    """The kind of picture at a random access point, as far as its first packet shows.

    A decoder that is already running continues cleanly at an ``IDR``, but not always at an ``OTHER`` (recovery point,
    CRA, MPEG-2 I picture): pictures may follow that refer to pictures it never received.

    ``UNDECIDED`` is no kind: the packet shows neither a picture nor parameter sets.
    """

    IDR = "IDR"
    OTHER = "other"
    UNKNOWN = "unknown"
    UNDECIDED = "undecided"


def random_access_kind(packets: bytes, at: int, codec: Codec) -> AccessKind | None:
    """Classify the packet at ``at``, in which a PES packet starts.

    :return: None without a random access point, ``UNDECIDED`` if the next packets must be searched. Of a scrambled
        packet, only the flag counts. Every audio unit is a random access point.
    """
    if codec is Codec.AUDIO:
        return AccessKind.UNKNOWN
    flagged = random_access_indicator(packets, at)
    units = VIDEO_UNITS.get(codec)
    begin, end = payload_offset(packets, at), at + PACKET_SIZE
    may_be_pes = packets.startswith(START_CODE[: end - begin], begin)
    if units is None or not may_be_pes or scrambled(packets, at):
        return AccessKind.UNKNOWN if flagged else None
    return first_picture(packets, _elementary_stream_offset(packets, begin, end), end, units, flagged)


def _elementary_stream_offset(packets: bytes, begin: int, end: int) -> int:
    """Return the offset behind the PES header (ISO/IEC 13818-1, 2.4.3.6), or the packet's end if it is longer."""
    if begin + _PES_HEADER > end:
        return end
    return min(begin + _PES_HEADER + packets[begin + 8], end)


def first_picture(packets: bytes, at: int, end: int, units: bytes, flagged: bool) -> AccessKind | None:
    """Read NAL units up to the first slice.

    :param units: meaning of the first byte of a unit, from :data:`VIDEO_UNITS`.
    :param flagged: True if the multiplexer marks this as a random access point.
    """
    expected = flagged
    found = packets.find(START_CODE, at, end - 1)
    while found >= 0:
        unit = units[packets[found + 3]]
        if unit == _IDR_SLICE:
            return AccessKind.IDR
        if unit == _INTRA_SLICE:
            return AccessKind.OTHER
        if unit == _SLICE:
            return AccessKind.OTHER if expected else None
        expected = expected or unit == _PARAMETERS
        found = packets.find(START_CODE, found + 3, end - 1)
    return AccessKind.UNKNOWN if expected else AccessKind.UNDECIDED


class PictureSearch:
    """A search for the first picture of a unit whose first packet shows none.

    :ivar kind: the result; None without a random access point.
    """

    __slots__ = ("_codec", "_content", "_cost", "_pid", "kind")

    def __init__(self, pid: int, codec: Codec) -> None:
        self._pid = pid
        self._codec = codec
        self._content = b""
        self._cost = 0
        self.kind: AccessKind | None = None

    def take_cost(self) -> int:
        """Return the cost since the last call, microseconds."""
        cost, self._cost = self._cost, 0
        return cost

    def read(self, packets: bytes, at: int) -> bool:
        """Read the packets of the unit from ``at`` on. Return True if the search has ended."""
        step, has_ended = _FIRST_STEP, False
        while at < len(packets) and not has_ended:
            end = min(at + step, len(packets))
            for offset in packets_of(packets, self._pid, at, end):
                has_ended = bool(self._content) and payload_unit_start(packets, offset)
                if has_ended:
                    break
                self._content += payload_of(packets, offset)
            self._cost += 1 + (end - at) // _BYTES_PER_COST
            has_ended = self._has_decided() or has_ended
            at, step = end, step * 4
        return has_ended

    def _has_decided(self) -> bool:
        """Return True if the picture was found, or will not be."""
        header = read_pes_header(self._content)
        if header is None:
            return len(self._content) > MAX_HEADER
        content = self._content[header.size :]
        kind = first_picture(content, 0, len(content), VIDEO_UNITS[self._codec], False)
        if kind is None or kind in (AccessKind.IDR, AccessKind.OTHER):
            self.kind = kind
            return True
        if kind is AccessKind.UNKNOWN:
            self.kind = kind
        return len(content) >= _MAX_SEARCH


def _h264_unit(nal_type: int) -> int:
    """Classify a NAL unit type (ITU-T H.264 table 7-1).

    1 to 5 are slices, 5 of an IDR picture; 7 is a sequence parameter set.
    """
    if nal_type == 5:
        return _IDR_SLICE
    if 1 <= nal_type <= 4:
        return _SLICE
    return _PARAMETERS if nal_type == 7 else 0


def _hevc_unit(nal_type: int) -> int:
    """Classify a NAL unit type (ITU-T H.265 table 7-1).

    Up to 31 are slices, 16 to 23 of IRAP pictures, 19 and 20 of IDR pictures; 32 is a VPS, 33 an SPS.
    """
    if nal_type in (19, 20):
        return _IDR_SLICE
    if 16 <= nal_type <= 23:
        return _INTRA_SLICE
    if nal_type < 32:
        return _SLICE
    return _PARAMETERS if nal_type in (32, 33) else 0


def _mpeg_unit(start_code: int) -> int:
    """Classify a start code (ISO/IEC 13818-2 table 6-1): 0 begins a picture, 0xB3 a sequence header."""
    return {0x00: _SLICE, 0xB3: _INTRA_SLICE}.get(start_code, 0)


#: For each codec that can be inspected: the class of a unit by its first byte.
VIDEO_UNITS = {
    Codec.MPEG_VIDEO: bytes(_mpeg_unit(byte) for byte in range(256)),
    Codec.H264: bytes(_h264_unit(byte & 0x1F) for byte in range(256)),
    Codec.HEVC: bytes(_hevc_unit(byte >> 1 & 0x3F) for byte in range(256)),
}
