"""Random access points: pictures at which a decoder can start without earlier data.

Only the packet in which a PES packet starts is inspected. The multiplexer's own flag has priority. Without the flag,
the first bytes of the elementary stream decide: parameter sets (H.264, HEVC) and sequence headers (MPEG-2) precede the
picture to start at. They can also push the slices of that picture out of the packet, so its kind may stay unknown.
"""

from __future__ import annotations

from enum import Enum

from .packets import PACKET_SIZE, payload_offset, random_access_indicator, scrambled
from .pes import START_CODE
from .psi import Codec

_PES_HEADER = 9
_SEQUENCE_HEADER = b"\x00\x00\x01\xb3"

# Classes of NAL units; 0 is any other unit.
_IDR_SLICE, _INTRA_SLICE, _SLICE, _PARAMETERS = 1, 2, 3, 4


class AccessKind(Enum):
    """The kind of picture at a random access point, as far as its first packet shows.

    A decoder that is already running continues cleanly at an ``IDR``, but not always at an ``OTHER`` (recovery point,
    CRA, MPEG-2 I picture): pictures may follow that refer to pictures it never received.
    """

    IDR = "IDR"
    OTHER = "other"
    UNKNOWN = "unknown"


def random_access_kind(packets: bytes, at: int, codec: Codec) -> AccessKind | None:
    """Classify the packet at ``at``, in which a PES packet starts.

    :return: None without a random access point. Of a scrambled packet, only the flag counts. Every audio unit is a
        random access point.
    """
    if codec is Codec.AUDIO:
        return AccessKind.UNKNOWN
    flagged = random_access_indicator(packets, at)
    by_payload = None if scrambled(packets, at) else _kind_by_payload(packets, at, codec, flagged)
    return AccessKind.UNKNOWN if by_payload is None and flagged else by_payload


def _kind_by_payload(packets: bytes, at: int, codec: Codec, flagged: bool) -> AccessKind | None:
    begin = _elementary_stream_offset(packets, at)
    end = at + PACKET_SIZE
    if codec is Codec.MPEG_VIDEO:
        return AccessKind.OTHER if packets.find(_SEQUENCE_HEADER, begin, end) >= 0 else None
    units = NAL_UNITS.get(codec)
    return None if units is None else first_picture(packets, begin, end, units, flagged)


def _elementary_stream_offset(packets: bytes, at: int) -> int:
    """Return the offset behind the PES header (ISO/IEC 13818-1, 2.4.3.6); the packet's end without one."""
    begin = payload_offset(packets, at)
    end = at + PACKET_SIZE
    if begin + _PES_HEADER > end or not packets.startswith(START_CODE, begin):
        return end
    return min(begin + _PES_HEADER + packets[begin + 8], end)


def first_picture(packets: bytes, at: int, end: int, units: bytes, flagged: bool) -> AccessKind | None:
    """Read NAL units up to the first slice.

    :param units: meaning of the first byte of a NAL unit, from :data:`NAL_UNITS`.
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
    return AccessKind.UNKNOWN if expected else None


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


#: For each codec with NAL units: the class of a unit by its first byte.
NAL_UNITS = {
    Codec.H264: bytes(_h264_unit(byte & 0x1F) for byte in range(256)),
    Codec.HEVC: bytes(_hevc_unit(byte >> 1 & 0x3F) for byte in range(256)),
}
