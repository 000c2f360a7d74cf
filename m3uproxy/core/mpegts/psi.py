"""Program specific information: the elementary streams of a transport stream and their PIDs.

Sections (ISO/IEC 13818-1, 2.4.4) are assembled from the packets of one PID. Two tables are read: the program
association table (2.4.4.3) and the program map table (2.4.4.8).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from enum import Enum

import attrs

from .packets import PACKET_SIZE, SYNC_BYTE, payload_offset, payload_unit_start

PAT_TABLE_ID = 0x00
PMT_TABLE_ID = 0x02

_STUFFING = 0xFF
#: Longest PAT or PMT section: 3 bytes up to the length field, which is limited to 1021 (2.4.4.5, 2.4.4.9).
_MAX_SECTION_BYTES = 1024
_HEADER = 8
_CRC = 4
_PAYLOAD = PACKET_SIZE - 4


class Codec(Enum):
    """The codec of an elementary stream, as far as finding random access points depends on it."""

    MPEG_VIDEO = "MPEG-1 or MPEG-2 video"
    H264 = "H.264"
    HEVC = "HEVC"
    OTHER_VIDEO = "other video"
    AUDIO = "audio"
    DATA = "data"

    @property
    def is_video(self) -> bool:
        """True for a video stream."""
        return self not in (Codec.AUDIO, Codec.DATA)


@attrs.frozen
class Section:
    """A section, not validated yet, and the packets in which it arrived. These may carry other sections too."""

    data: bytes
    packets: bytes

    @property
    def table_id(self) -> int:
        """The kind of the table (table 2-31)."""
        return self.data[0]

    @property
    def table_id_extension(self) -> int:
        """The transport stream's id of a PAT, or the program number of a PMT."""
        return self.data[3] << 8 | self.data[4]

    @property
    def applies_now(self) -> bool:
        """The ``current_next_indicator``: False for a table that is sent ahead of time."""
        return bool(self.data[5] & 0x01)

    @property
    def number(self) -> int:
        """The position among the sections of the table, from 0."""
        return self.data[6]

    @property
    def last_number(self) -> int:
        """The position of the table's last section."""
        return self.data[7]

    @property
    def is_complete(self) -> bool:
        """True if the section has the long header and the CRC that these tables must have."""
        return len(self.data) >= _HEADER + _CRC and bool(self.data[1] & 0x80)

    @property
    def is_valid(self) -> bool:
        """True if the section is complete and its CRC is correct."""
        return self.is_complete and crc32(self.data) == 0

    @property
    def is_plausible(self) -> bool:
        """True if the section is complete and its lengths agree, whatever its CRC."""
        if not self.is_complete:
            return False
        if self.table_id == PMT_TABLE_ID:
            return read_pmt(self) is not None
        return len(self.data) % 4 == 0

    @property
    def repaired(self) -> bytes:
        """The section with a correct CRC."""
        return self.data[:-_CRC] + crc32(self.data[:-_CRC]).to_bytes(_CRC, "big")


@attrs.frozen
class ElementaryStream:
    """An entry of a program map table."""

    stream_type: int
    pid: int
    descriptors: bytes

    @property
    def codec(self) -> Codec:
        """The codec by the stream type, or by the descriptors if the type means "private data"."""
        known = _STREAM_TYPES.get(self.stream_type)
        return known or _codec_by_descriptors(self.descriptors)


@attrs.frozen
class ProgramMap:
    """A program map table: the PID of the program's clock and its elementary streams in the table's order.

    :ivar main_pid: PID of the stream to start at; None if unknown.
    """

    program: int
    pcr_pid: int
    streams: tuple[ElementaryStream, ...]
    main_pid: int | None = attrs.field(default=None, eq=False)

    @property
    def main(self) -> ElementaryStream | None:
        """The stream to start at: that of ``main_pid``, else the first video, else the first audio."""
        by_pid = (stream for stream in self.streams if stream.pid == self.main_pid)
        return next(by_pid, None) or self.first_video or self.first_audio

    @property
    def main_video(self) -> ElementaryStream | None:
        """The stream to start at if it is video, else the first video stream."""
        main = self.main
        return main if main is not None and main.codec.is_video else self.first_video

    @property
    def first_video(self) -> ElementaryStream | None:
        """The first video stream."""
        return next((stream for stream in self.streams if stream.codec.is_video), None)

    @property
    def first_audio(self) -> ElementaryStream | None:
        """The first audio stream."""
        return next((stream for stream in self.streams if stream.codec is Codec.AUDIO), None)


class SectionAssembler:
    """An assembler for the sections of one PID. It holds one unfinished section of at most 1024 bytes."""

    __slots__ = ("_data", "_last_packet", "_packets")

    def __init__(self) -> None:
        self._data = b""
        self._packets = b""
        self._last_packet = b""

    @property
    def unfinished(self) -> bool:
        """True if the next packet of the PID is needed even without a section start in it."""
        return bool(self._packets)

    def feed(self, packet: bytes) -> list[Section]:
        """Take the next packet of the PID. Return the sections that it completes."""
        if self.unfinished and packet == self._last_packet:
            return []  # A packet may be sent twice (2.4.3.3).
        self._last_packet = packet
        payload = packet[payload_offset(packet, 0) :]
        if not payload:
            return []
        if not payload_unit_start(packet, 0):
            return self._continue_section(payload, packet)
        start = 1 + payload[0]
        sections = self._continue_section(payload[1:start], packet)
        self._data, self._packets = payload[start:], packet
        return sections + self._take_sections()

    def _continue_section(self, payload: bytes, packet: bytes) -> list[Section]:
        if not self.unfinished:
            return []
        self._data += payload
        self._packets += packet
        return self._take_sections()

    def _take_sections(self) -> list[Section]:
        """Return the complete sections in the buffer and keep the beginning of another one."""
        sections: list[Section] = []
        data = self._data
        while data and data[0] != _STUFFING:
            length = 3 + ((data[1] & 0x0F) << 8 | data[2]) if len(data) >= 3 else 3
            if length > _MAX_SECTION_BYTES:
                data = b""
            elif len(data) < length:
                self._data = data
                return sections
            else:
                sections.append(Section(data[:length], self._packets))
                data = data[length:]
        self._data = self._packets = b""
        return sections


def read_pat(section: Section) -> dict[int, int]:
    """Return program number -> PID of its map, in the table's order, without the network PID (program 0)."""
    body = section.data[_HEADER:-_CRC]
    programs: dict[int, int] = {}
    for at in range(0, len(body) - 3, 4):
        program = body[at] << 8 | body[at + 1]
        if program:
            programs[program] = (body[at + 2] & 0x1F) << 8 | body[at + 3]
    return programs


def read_pmt(section: Section) -> ProgramMap | None:
    """Return the program map of a section; None if its lengths contradict each other."""
    body = section.data[_HEADER:-_CRC]
    if len(body) < 4:
        return None
    pcr_pid = (body[0] & 0x1F) << 8 | body[1]
    at = 4 + ((body[2] & 0x0F) << 8 | body[3])
    streams: list[ElementaryStream] = []
    while at + 5 <= len(body):
        end = at + 5 + ((body[at + 3] & 0x0F) << 8 | body[at + 4])
        pid = (body[at + 1] & 0x1F) << 8 | body[at + 2]
        streams.append(ElementaryStream(body[at], pid, body[at + 5 : end]))
        at = end
    if at != len(body):
        return None
    return ProgramMap(section.table_id_extension, pcr_pid, tuple(streams))


def section_packets(pid: int, section: bytes, counter: int = 0) -> bytes:
    """Return a section as packets of its own.

    :param counter: continuity counter of the first packet.
    """
    payload = b"\0" + section
    payload += b"\xff" * (-len(payload) % _PAYLOAD)
    packets = b""
    for number, at in enumerate(range(0, len(payload), _PAYLOAD)):
        head = bytes([SYNC_BYTE, (0 if at else 0x40) | pid >> 8, pid & 0xFF, 0x10 | counter + number & 0x0F])
        packets += head + payload[at : at + _PAYLOAD]
    return packets


def descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each descriptor in a descriptor loop (2.6). A torn last one is left out."""
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + data[at + 1]
        if end <= len(data):
            yield data[at], data[at + 2 : end]
        at = end


def crc32(data: bytes) -> int:
    """Return the CRC of annex A (polynomial 0x04C11DB7, most significant bit first); 0 over a section with its CRC."""
    # The library's CRC has the same polynomial and the other order of bits.
    crc = zlib.crc32(data.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# ISO/IEC 13818-1 table 2-34; 0x81 and 0x87 are ATSC A/53, 0x42 and 0xD2 are AVS, 0xEA is VC-1.
# 0x05 and 0x06 are private: their descriptors decide, as they do for a type that is not listed.
_STREAM_TYPES = {
    0x01: Codec.MPEG_VIDEO,
    0x02: Codec.MPEG_VIDEO,
    0x1B: Codec.H264,
    0x24: Codec.HEVC,
    **dict.fromkeys((0x10, 0x21, 0x33, 0x42, 0xD1, 0xD2, 0xEA), Codec.OTHER_VIDEO),
    **dict.fromkeys((0x03, 0x04, 0x0F, 0x11, 0x1C, 0x2D, 0x2E, 0x81, 0x87), Codec.AUDIO),
}

_REGISTRATION = 0x05
_DVB_EXTENSION = 0x7F
# ETSI EN 300 468 table 12: AC-3, enhanced AC-3, DTS, AAC. Extended tags (table 109): DTS-HD, DTS neural,
# AC-4, DTS-UHD; 0x80 is what multiplexers use for Opus.
_AUDIO_TAGS = frozenset({0x6A, 0x7A, 0x7B, 0x7C})
_AUDIO_EXTENDED_TAGS = frozenset({0x0E, 0x0F, 0x15, 0x21, 0x80})
_REGISTERED = {
    b"HEVC": Codec.HEVC,
    b"AVSV": Codec.OTHER_VIDEO,
    b"AV01": Codec.OTHER_VIDEO,
    b"VC-1": Codec.OTHER_VIDEO,
    b"drac": Codec.OTHER_VIDEO,
    **dict.fromkeys((b"AC-3", b"AC-4", b"BSSD", b"DTS1", b"DTS2", b"DTS3", b"EAC3", b"Opus"), Codec.AUDIO),
}


def _codec_by_descriptors(loop: bytes) -> Codec:
    for tag, content in descriptors(loop):
        if tag in _AUDIO_TAGS:
            return Codec.AUDIO
        if tag == _DVB_EXTENSION and content[:1] and content[0] in _AUDIO_EXTENDED_TAGS:
            return Codec.AUDIO
        if tag == _REGISTRATION and content[:4] in _REGISTERED:
            return _REGISTERED[content[:4]]
    return Codec.DATA
