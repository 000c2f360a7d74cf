"""The reader of the program tables on one PID: the sections in force, and the packets in which they last arrived.

A table that is repeated unchanged is compared, not parsed. A PAT may have several sections, and several programs may
have their PMTs on one PID, so sections have keys.

A section with a wrong CRC is damaged, or its source computes all CRCs wrongly. It is in force if no other one is known,
or if it comes twice in a row: damage does not repeat itself. Most players ignore such a table, so its packets are kept
with a correct CRC.
"""

from __future__ import annotations

from .packets import PACKET_SIZE
from .packets import pid as pid_of
from .psi import PAT_TABLE_ID, Section, SectionAssembler, section_packets

#: Sections on one PID, at most.
_MAX_SECTIONS = 64


class TableReader:
    """The tables of one kind on one PID.

    The key of a section is its number (PAT), or its program (PMT).
    """

    __slots__ = (
        "_assembler",
        "_packets",
        "_sections",
        "_single_keys",
        "_single_payload",
        "_suspect",
        "_table_id",
        "_with_wrong_crc",
    )

    def __init__(self, table_id: int) -> None:
        self._table_id = table_id
        self._assembler = SectionAssembler()
        self._sections: dict[int, bytes] = {}
        self._with_wrong_crc: set[int] = set()
        self._suspect = b""
        # The packets of each section, in the order of their arrival.
        self._packets: dict[int, bytes] = {}
        # The beginning of a packet whose sections are all in it, and their keys; empty while a section is unfinished.
        self._single_payload = b""
        self._single_keys: list[int] = []

    @property
    def unfinished(self) -> bool:
        """True if the next packet of the PID is needed even without a section start in it."""
        return self._assembler.unfinished

    @property
    def sections(self) -> list[Section]:
        """The sections in force, by key."""
        return [Section(self._sections[key], b"") for key in sorted(self._sections)]

    @property
    def all_packets(self) -> bytes:
        """The packets in which all sections last arrived. Sections may share packets."""
        packets = tuple(self._packets.values())
        return packets[0] if len(packets) == 1 else b"".join(dict.fromkeys(packets))

    def packets(self, key: int) -> bytes:
        """Return the packets in which a section last arrived; ``b""`` if it is unknown."""
        return self._packets.get(key, b"")

    def feed(self, packet: bytes) -> list[Section]:
        """Take the next packet of the PID. Return the sections that it completes and that change a table."""
        if self._single_payload and packet.startswith(self._single_payload, 4):
            for key in self._single_keys:
                self._packets[key] = packet
            return []
        self._single_keys, self._single_payload = [], b""
        changed = [section for section in self._assembler.feed(packet) if self._accepts(section, packet)]
        if self.unfinished:
            self._single_payload = b""
        return changed

    def _accepts(self, section: Section, packet: bytes) -> bool:
        """Put a section in force, if it can be. Return True if it changes the table."""
        is_pat = self._table_id == PAT_TABLE_ID
        if section.table_id != self._table_id or len(section.data) < 8 or not section.applies_now:
            return False
        if section.number and not is_pat:
            return False
        key = section.number if is_pat else section.table_id_extension
        is_changed = section.data != self._sections.get(key)
        if is_changed and not self._is_trusted(section, key):
            return False
        if is_pat:
            self._forget_above(section.last_number)
        self._suspect, self._sections[key] = b"", section.data
        self._note_packets(section, key, packet)
        return is_changed

    def _is_trusted(self, section: Section, key: int) -> bool:
        """Return True if a new section may be put in force."""
        is_known = key in self._sections
        if not is_known and len(self._sections) >= _MAX_SECTIONS:
            return False
        if section.is_valid:
            self._with_wrong_crc.discard(key)
            return True
        is_repeated, self._suspect = section.data == self._suspect, section.data
        if not section.is_plausible or (is_known and not is_repeated):
            return False
        self._with_wrong_crc.add(key)
        return True

    def _forget_above(self, last: int) -> None:
        for number in [number for number in self._sections if number > last]:
            del self._sections[number]
            self._packets.pop(number, None)

    def _note_packets(self, section: Section, key: int, packet: bytes) -> None:
        self._packets.pop(key, None)
        if key in self._with_wrong_crc:
            self._packets[key] = _repaired_packets(section)
            return
        self._packets[key] = section.packets
        if section.packets == packet:
            self._single_keys.append(key)
            self._single_payload = packet[4 : packet.find(section.data, 4) + len(section.data)]


def _repaired_packets(section: Section) -> bytes:
    """Return packets with a correct CRC in place of those of a section. The last one keeps its counter."""
    pid, last = pid_of(section.packets, 0), section.packets[3 - PACKET_SIZE] & 0x0F
    count = len(section_packets(pid, section.data)) // PACKET_SIZE
    return section_packets(pid, section.repaired, last - count + 1)
