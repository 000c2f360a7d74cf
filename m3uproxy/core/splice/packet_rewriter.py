"""The rewriter of a splice: packets of a source get the PIDs, continuity counters and clocks that its players know.

The change is a constant for each track: another PID, an addition to the counter, ticks added to PTS and DTS, ticks
added to the clock. PIDs and counters are therefore changed for a whole run of packets at once. The bytes at one offset
of all packets are taken as one large number, with a mask for the packets of a track. Three kinds of packets are changed
one by one: packets in which a unit starts, packets with a clock value, and tables, which the known tables replace.
Packets of no track are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from ..mpegts.access_index import AccessIndex
from ..mpegts.packets import (
    NULL_PID,
    PACKET_SIZE,
    PAT_PID,
    STARTS,
    SYNC_BYTE,
    marked_offsets,
    payload_offset,
)
from ..mpegts.packets import pid as pid_of
from ..mpegts.pes import START_CODE
from ..mpegts.psi import ProgramMap
from ..mpegts.psi_tables import PsiTables, TableRepeater, tables_in_force
from ..mpegts.timestamps import WRAP, ahead, has_pcr, read_pcr, read_timestamp, write_pcr, write_timestamp

#: Ticks by which the clock, or the DTS, advances where the source's own time would step back.
CLOCK_STEP = 900
DECODING_STEP = 90

_ADAPTATION_MASK = bytes(0xFF if byte & 0x20 else 0 for byte in range(256))


@cache
def _high_mask(high: int) -> bytes:
    """Return a table for the second byte of a packet: 0xFF for these upper bits of the PID, else 0."""
    return bytes(0xFF if byte & 0x1F == high else 0 for byte in range(256))


@cache
def _low_mask(low: int) -> bytes:
    return bytes(0xFF if byte == low else 0 for byte in range(256))


@cache
def _counter_shift(delta: int) -> bytes:
    """Return a table for the fourth byte of a packet that adds ``delta`` to the continuity counter."""
    return bytes(byte & 0xF0 | byte + delta & 0x0F for byte in range(256))


class _TrackRewrite:
    """The change of one PID, as tables and constants.

    :ivar last: fourth byte of the last packet that was changed; None before the first one.
    """

    __slots__ = ("counters", "delta", "flip_high", "flip_low", "high", "last", "low", "pid")

    def __init__(self, pid: int, new: int) -> None:
        high, low = pid >> 8, pid & 0xFF
        self.pid = pid
        self.high = _high_mask(high)
        self.low = _low_mask(low)
        self.flip_high = high ^ new >> 8
        self.flip_low = low ^ new & 0xFF
        self.delta = 0
        self.counters: bytes | None = None
        self.last: int | None = None

    def set_counter_delta(self, delta: int) -> None:
        """Add ``delta`` to the continuity counters."""
        self.delta = delta
        self.counters = _counter_shift(delta & 0x0F)

    def marks(self, packets: bytes | bytearray, among: bytes = b"") -> bytes:
        """Return a byte for each packet: 0xFF for packets of the PID (if ``among`` has them too), else 0."""
        highs, lows = packets[1::PACKET_SIZE].translate(self.high), packets[2::PACKET_SIZE].translate(self.low)
        both = int.from_bytes(highs, "little") & int.from_bytes(lows, "little")
        if among:
            both &= int.from_bytes(among, "little")
        return both.to_bytes(len(highs), "little")


class PacketRewriter:
    """A rewriter for the packets of one source.

    :ivar offset: ticks added to PTS and DTS.
    :ivar clock_offset: ticks added to the clock; None until its first value decides.
    :ivar rest: packets from new tables of the same source on.
    :ivar player_tables: tables that the players know.
    """

    def __init__(
        self, tables: PsiTables, source: PsiTables, pids: Mapping[int, int], counters: Mapping[int, int]
    ) -> None:
        """Prepare the change of each track.

        :param tables: tables that the players know.
        :param source: tables of the source.
        :param pids: PID of the source -> PID of the players, for each track that continues.
        :param counters: last continuity counter of each PID of the players.
        """
        self.offset = 0
        self.clock_offset: int | None = None
        self._last_clock: int | None = None
        self._reordered_pid: int | None = None
        self._last_dts = 0
        self._pids = dict(pids)
        self._counters = counters
        self._tracks = [_TrackRewrite(pid, new) for pid, new in pids.items()]
        null = _TrackRewrite(NULL_PID, NULL_PID)
        null.set_counter_delta(0)
        self._tracks.append(null)
        self._pat = TableRepeater(tables.pat, counters.get(PAT_PID, 15))
        self._pmt = TableRepeater(tables.pmt, counters.get(tables.pmt_pid, 15))
        self._pmt_pid = source.pmt_pid
        self._program = source.program
        self._compared_program: ProgramMap | None = None
        self.player_tables = tables
        self._index = AccessIndex(source.program.program, is_certain=True)
        self._index.scan(source.pat + source.pmt)
        self.rest = b""
        clock, carrier = source.program.pcr_pid, tables.program.pcr_pid
        self._clock_in, self._clock_out = _TrackRewrite(clock, clock), _TrackRewrite(carrier, carrier)
        self._clock_moves = self._pids.get(clock) != carrier
        self._clock_counter = counters.get(carrier, 0)

    def set_offsets(self, offset: int, last_clock: int | None) -> None:
        """Shift PTS and DTS by ``offset`` ticks, and the clock too unless it would step back behind ``last_clock``."""
        self.offset = offset % WRAP
        self._last_clock = last_clock
        self.clock_offset = None

    def decode_after(self, pid: int, dts: int) -> None:
        """Let the first DTS of a track follow ``dts``: move the DTS of pictures that come too early.

        The first picture is shown one frame after the last one. If the two sources reorder pictures differently, its
        DTS may lie before the last DTS sent.
        """
        self._reordered_pid, self._last_dts = pid, dts

    def decide_clock(self, pcr: int) -> int:
        """Return the clock's offset, given its first value."""
        if self.clock_offset is None:
            last = self._last_clock
            back = -1 if last is None else ahead(last, pcr + self.offset)
            self.clock_offset = (self.offset + (back + CLOCK_STEP if back >= 0 else 0)) % WRAP
        return self.clock_offset

    def start_track(self, pid: int, counter: int) -> None:
        """Continue the counters of a track: its first packet has the counter ``counter``.

        Without this call, the first packet of the track decides.
        """
        delta = self._counters.get(self._pids[pid], counter - 1) + 1 - counter
        for track in self._tracks:
            if track.pid == pid:
                track.set_counter_delta(delta)

    def skip_packets(self, pid: int, packets: int) -> None:
        """Reduce the counters of a track, because ``packets`` are missing before its next packet."""
        for track in self._tracks:
            if track.pid == pid:
                track.set_counter_delta(track.delta - packets)

    @property
    def program(self) -> ProgramMap:
        """The program map of the source."""
        return self._program

    @property
    def source_tables(self) -> PsiTables | None:
        """The tables of the source as of now."""
        return tables_in_force(self._index)

    @property
    def track_count(self) -> int:
        """The number of tracks that are changed."""
        return len(self._tracks)

    @property
    def last_counters(self) -> dict[int, int]:
        """The last continuity counter of each PID of the players."""
        carrier = self._clock_out.pid
        counters = (
            {**self._counters, carrier: self._clock_counter & 0x0F} if self._clock_moves else dict(self._counters)
        )
        for track in self._tracks:
            if track.last is not None and track.pid in self._pids:
                counters[self._pids[track.pid]] = track.last & 0x0F
        return {**counters, PAT_PID: self._pat.counter, self.player_tables.pmt_pid: self._pmt.counter}

    def tables(self) -> bytes:
        """Return the tables, with counters that continue."""
        return self._pat.repeat() + self._pmt.repeat()

    def rewrite(self, packets: bytes, follow: bool = True) -> bytes:
        """Change whole packets. Return the packets for the players.

        :param follow: False to pass over other tables of the source, until they are repeated.
        :return: if the source brings other tables, only the packets before these. ``rest`` has the others, for a
            rewriter that knows these tables (:attr:`source_tables`).
        """
        count = len(packets) // PACKET_SIZE
        highs, lows, controls = packets[1::PACKET_SIZE], packets[2::PACKET_SIZE], packets[3::PACKET_SIZE]
        out = bytearray(packets)
        track_mask, full = self._change_headers(out, highs, lows, controls, count), (1 << 8 * count) - 1
        marks = (track_mask ^ full).to_bytes(count, "little")
        if track_mask != full and follow and not self.rest:
            changed = self._find_change(packets, marks)
            if changed is not None:
                self.rest = packets[changed:]
                return self.rewrite(packets[:changed]) if changed else b""
        if self.offset or self._reordered_pid is not None:
            self._shift_timestamps(out, packets, highs)
        self._shift_clocks(out, controls, track_mask, count)
        edits = list(self._replacements(packets, marks)) if track_mask != full else []
        if self._clock_moves:
            edits = self._move_clock(packets, out, edits, track_mask.to_bytes(count, "little"))
        return apply_edits(out, edits) if edits else bytes(out)

    def _change_headers(self, out: bytearray, highs: bytes, lows: bytes, controls: bytes, count: int) -> int:
        """Change PIDs and counters. Return a mask of the packets that belong to a track."""
        ones = int.from_bytes(b"\1" * count, "little")
        new_highs = int.from_bytes(highs, "little")
        new_lows = int.from_bytes(lows, "little")
        new_controls = old_controls = int.from_bytes(controls, "little")
        track_mask = 0
        for track in self._tracks:
            mask = int.from_bytes(highs.translate(track.high), "little")
            mask &= int.from_bytes(lows.translate(track.low), "little")
            if not mask:
                continue
            track_mask |= mask
            if track.counters is None:
                self.start_track(track.pid, controls[(mask & -mask).bit_length() - 1 >> 3] & 0x0F)
            if track.counters is not None:
                new_controls ^= (int.from_bytes(controls.translate(track.counters), "little") ^ old_controls) & mask
                track.last = track.counters[controls[mask.bit_length() - 1 >> 3]]
            if track.flip_high:
                new_highs ^= mask & ones * track.flip_high
            if track.flip_low:
                new_lows ^= mask & ones * track.flip_low
        out[1::PACKET_SIZE] = new_highs.to_bytes(count, "little")
        out[2::PACKET_SIZE] = new_lows.to_bytes(count, "little")
        out[3::PACKET_SIZE] = new_controls.to_bytes(count, "little")
        return track_mask

    def _shift_timestamps(self, out: bytearray, packets: bytes, highs: bytes) -> None:
        for at in marked_offsets(highs.translate(STARTS), 1):
            pid = pid_of(packets, at)
            if pid in self._pids:
                begin = payload_offset(packets, at)
                if begin + 14 <= at + PACKET_SIZE and packets.startswith(START_CODE, begin):
                    self._shift_header(out, begin, at + PACKET_SIZE, pid)

    def _shift_header(self, out: bytearray, at: int, end: int, pid: int) -> None:
        """Shift PTS and DTS of the PES header at ``at``, if its packet is clear and has them."""
        flags = out[at + 7] >> 6
        if flags < 2 or out[at + 6] & 0xC0 != 0x80 or out[at + 8] < 5:
            return
        write_timestamp(out, at + 9, (read_timestamp(out, at + 9) + self.offset) % WRAP)
        if flags == 3 and out[at + 8] >= 10 and at + 19 <= end:
            dts = (read_timestamp(out, at + 14) + self.offset) % WRAP
            write_timestamp(out, at + 14, dts if pid != self._reordered_pid else self._increasing_dts(dts))
        elif pid == self._reordered_pid:
            self._reordered_pid = None

    def _increasing_dts(self, dts: int) -> int:
        if ahead(dts, self._last_dts) > 0:
            self._reordered_pid = None
            return dts
        self._last_dts = (self._last_dts + DECODING_STEP) % WRAP
        return self._last_dts

    def _shift_clocks(self, out: bytearray, controls: bytes, track_mask: int, count: int) -> None:
        if self.clock_offset == 0:
            return
        marks = (int.from_bytes(controls.translate(_ADAPTATION_MASK), "little") & track_mask).to_bytes(count, "little")
        for at in marked_offsets(marks, 0xFF):
            if has_pcr(out, at):
                value = read_pcr(out, at)
                write_pcr(out, at, (value + self.decide_clock(value)) % WRAP)

    def _find_change(self, packets: bytes, marks: bytes) -> int | None:
        """Return the offset of the packet that completes new tables of the source; None without one."""
        for at in marked_offsets(marks, 0xFF):
            self._index.read_table(packets, at)
            program = self._index.program_map
            if program is not self._compared_program and program is not None:
                self._compared_program = program
                if program != self._program:
                    return at
        return None

    def _replacements(self, packets: bytes, marks: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the offsets of the packets of no track, each with its replacement."""
        for at in marked_offsets(marks, 0xFF):
            pid = pid_of(packets, at)
            starts = STARTS[packets[at + 1]]
            if pid == PAT_PID and starts:
                yield at, self._pat.repeat()
            elif pid == self._pmt_pid and starts:
                yield at, self._pmt.repeat()
            else:
                yield at, b""

    def _move_clock(
        self, packets: bytes, out: bytearray, edits: list[tuple[int, bytes]], track_mask: bytes
    ) -> list[tuple[int, bytes]]:
        """Move the clock from its PID in the source to the PID on which players read it."""
        replaced = dict(edits)
        carriers = self._clock_out.marks(out, track_mask)
        marks = self._clock_in.marks(packets, packets[3::PACKET_SIZE].translate(_ADAPTATION_MASK))
        for at in marked_offsets(marks, 0xFF):
            if has_pcr(packets, at):
                before = carriers.rfind(0xFF, 0, at // PACKET_SIZE)
                counter = self._clock_counter if before < 0 else out[before * PACKET_SIZE + 3]
                value = read_pcr(packets, at)
                ticks = (value + self.decide_clock(value)) % WRAP
                clock = clock_packet(self._clock_out.pid, counter, packets[at + 6 : at + 12], ticks)
                replaced[at] = clock + replaced.get(at, bytes(out[at : at + PACKET_SIZE]))
        last = carriers.rfind(0xFF)
        if last >= 0:
            self._clock_counter = out[last * PACKET_SIZE + 3]
        return sorted(replaced.items())


def clock_packet(pid: int, counter: int, pcr: bytes, ticks: int | None = None) -> bytes:
    """Return a packet with only a clock value (2.4.3.5). Its counter is that of the packet before it.

    :param pcr: the six bytes; their base is replaced if ``ticks`` are given.
    """
    head = bytes([SYNC_BYTE, pid >> 8, pid & 0xFF, 0x20 | counter & 0x0F, PACKET_SIZE - 5, 0x10])
    packet = bytearray((head + pcr).ljust(PACKET_SIZE, b"\xff"))
    if ticks is not None:
        write_pcr(packet, 0, ticks)
    return bytes(packet)


def apply_edits(packets: bytes | bytearray, edits: list[tuple[int, bytes]]) -> bytes:
    """Return the packets with others in place of those at some offsets, which are in order."""
    pieces: list[bytes | bytearray] = []
    begin = 0
    for at, replacement in edits:
        pieces += (packets[begin:at], replacement)
        begin = at + PACKET_SIZE
    pieces.append(packets[begin:])
    return b"".join(pieces)
