"""A new multiplex of the broadcast, as a provider's restreamer makes it: the same elementary streams in other packets.

A client therefore cannot compare packets, counters, PIDs or tables. A PES packet of video still holds a picture. Audio
is packed differently; a frame may lie across two PES packets.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import attrs

from m3uproxy.provider.clip import (
    PACKET,
    TICKS,
    WRAP,
    pcr_offset,
    read_pcr,
    read_stamp,
    stamp_offsets,
    write_pcr,
    write_stamp,
)
from m3uproxy.provider.multiplex import NULL_PACKET, Layout, Multiplexer, Unit, make_stamp

#: Stream types of audio (table 2-34; 0x81 and 0x87 are AC-3 and enhanced AC-3 in ATSC).
SOUND = frozenset({0x03, 0x04, 0x0F, 0x11, 0x81, 0x87})
#: Most packets that wait to be interleaved with video.
MAX_PENDING = 100
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


class Change(Protocol):
    """A change of the broadcast for a connection."""

    def feed(self, packets: bytes) -> bytes:
        """Process the next whole packets. Return the whole packets to send instead, possibly none."""


class Restamp:
    """A change that adds a number of ticks to PCR, PTS and DTS (33 bits, so they may wrap)."""

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks

    def feed(self, packets: bytes) -> bytes:
        """See :meth:`Change.feed`."""
        out = bytearray(packets)
        for start in range(0, len(out), PACKET):
            clock = pcr_offset(packets, start)
            if clock is not None:
                write_pcr(out, clock, read_pcr(out, clock) + self._ticks)
            for at in stamp_offsets(packets, start):
                write_stamp(out, at, read_stamp(out, at) + self._ticks)
        return bytes(out)


@attrs.define
class _Track:
    """An elementary stream.

    :ivar payload: current PES packet; None before its start.
    :ivar waiting: audio frames for the next PES packet.
    :ivar carried: end of an audio frame whose beginning is sent.
    """

    pid: int
    is_sound: bool
    payload: bytearray | None = None
    key: bool = False
    pcr: bytes = b""
    waiting: list[Unit] = attrs.Factory(list)
    carried: bytes = b""


class Remux:
    """A change that makes a new multiplex, from the first tables on."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._mux = Multiplexer(layout)
        self._tracks: dict[int, _Track] = {}
        self._main: _Track | None = None
        self._pmt_pid = self._clock_pid = -1
        self._pat_body = self._pmt_body = b""
        self._pcr = self._pcr_sent = b""
        self._main_units = 0
        self._pending: deque[bytes] = deque()

    def feed(self, packets: bytes) -> bytes:
        """See :meth:`Change.feed`. A unit is sent when it is complete."""
        out: list[bytes] = []
        for start in range(0, len(packets), PACKET):
            out += self._packet_received(packets[start : start + PACKET])
        return b"".join(out)

    def _packet_received(self, packet: bytes) -> list[bytes]:
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == 0 or pid == self._pmt_pid:
            self._read_tables(pid, packet)
            return []
        clock = pcr_offset(packet, 0)
        if clock is not None and pid == self._clock_pid:
            self._pcr = packet[clock : clock + 6]
        track = self._tracks.get(pid)
        return [] if track is None or not packet[3] & 0x10 else self._append(track, packet)

    def _append(self, track: _Track, packet: bytes) -> list[bytes]:
        out: list[bytes] = []
        if packet[1] & 0x40:
            out = self._finish(track)
            track.payload, track.pcr = bytearray(), self._pcr
            track.key = bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x40)
        if track.payload is None:
            return []
        track.payload += packet[_payload(packet) :]
        length = track.payload[4] << 8 | track.payload[5]
        return out + self._finish(track) if length and len(track.payload) >= 6 + length else out

    def _finish(self, track: _Track) -> list[bytes]:
        """Send the complete PES packet of a track."""
        pes, track.payload = track.payload, None
        if pes is None or pes[:3] != b"\0\0\1":
            return []
        size = {3: 10, 2: 5}.get(pes[7] >> 6, 0)
        unit = Unit(pes[3], bytes(pes[9 : 9 + size]), bytes(pes[9 + pes[8] :]), track.pcr, track.key)
        if not track.is_sound:
            return self._send(track, unit)
        out: list[bytes] = []
        for frame in frames_of(unit):
            track.waiting.append(frame)
            if len(track.waiting) >= self._layout.sound_pack:
                out += self._send(track, self._packed(track))
        return out

    def _packed(self, track: _Track) -> Unit:
        """Combine the waiting audio frames. The PTS is that of the first frame that starts in the unit (2.4.3.7)."""
        frames, track.waiting = track.waiting, []
        data = track.carried + b"".join(frame.data for frame in frames)
        kept = min(self._layout.sound_carry, len(frames[-1].data) // 2)
        track.carried = data[len(data) - kept :]
        pcr = next((frame.pcr for frame in reversed(frames) if frame.pcr), b"")
        return attrs.evolve(frames[0], data=data[: len(data) - kept], pcr=pcr)

    def _send(self, track: _Track, unit: Unit) -> list[bytes]:
        if track is not self._main:
            self._pending.extend(self._mux.unit(track.pid, attrs.evolve(unit, pcr=b""), track.is_sound))
            many = not self._layout.spread or len(self._pending) > MAX_PENDING
            return self._take_pending(len(self._pending)) if many and self._main_units else []
        out: list[bytes] = []
        if self._main_units % self._layout.tables_every == 0:
            out += [self._mux.section(0, self._pat_body), self._mux.section(self._layout.pmt, self._pmt_body)]
        self._main_units += 1
        if unit.pcr == self._pcr_sent:
            unit = attrs.evolve(unit, pcr=b"")
        self._pcr_sent = unit.pcr or self._pcr_sent
        if self._layout.clock is not None and unit.pcr:
            out.append(self._mux.clock(self._layout.clock, unit.pcr))
            unit = attrs.evolve(unit, pcr=b"")
        for packet in self._mux.unit(track.pid, unit, track.is_sound):
            out += [packet, *self._take_pending(1)]
        return out + [NULL_PACKET] * self._layout.padding

    def _take_pending(self, count: int) -> list[bytes]:
        return [self._pending.popleft() for _ in range(min(count, len(self._pending)))]

    # Tables (2.4.4), each in a single packet

    def _read_tables(self, pid: int, packet: bytes) -> None:
        if not packet[1] & 0x40 or self._main is not None:
            return
        begin = _payload(packet)
        section = packet[begin + 1 + packet[begin] :]
        size = 3 + ((section[1] & 0x0F) << 8 | section[2]) - 4
        if pid == 0:
            self._pmt_pid = (section[10] & 0x1F) << 8 | section[11]
        else:
            self._read_program(section[:size])

    def _read_program(self, section: bytes) -> None:
        layout = self._layout
        self._clock_pid = (section[8] & 0x1F) << 8 | section[9]
        at = 12 + ((section[10] & 0x0F) << 8 | section[11])
        described, streams = section[10:at], b""
        while at < len(section):
            pid, info = (section[at + 1] & 0x1F) << 8 | section[at + 2], (section[at + 3] & 0x0F) << 8 | section[at + 4]
            track = _Track(layout.pids[len(self._tracks)], section[at] in SOUND)
            streams += bytes([section[at], 0xE0 | track.pid >> 8, track.pid & 0xFF]) + section[at + 3 : at + 5 + info]
            self._tracks[pid] = track
            at += 5 + info
        tracks = list(self._tracks.values())
        self._main = next((each for each in tracks if not each.is_sound), tracks[0])
        clock = self._main.pid if layout.clock is None else layout.clock
        self._pat_body = _table(0x00, 0x1234, layout.version, _pair(layout.program, layout.pmt))
        body = bytes([0xE0 | clock >> 8, clock & 0xFF]) + described + streams
        self._pmt_body = _table(0x02, layout.program, layout.version, body)


def _payload(packet: bytes) -> int:
    return 4 + (packet[4] + 1 if packet[3] & 0x20 else 0)


def _pair(number: int, pid: int) -> bytes:
    return number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big")


def _table(table_id: int, extension: int, version: int, body: bytes) -> bytes:
    rest = extension.to_bytes(2, "big") + bytes([0xC1 | version << 1, 0, 0]) + body
    return bytes([table_id]) + (0xB000 | len(rest) + 4).to_bytes(2, "big") + rest


def frames_of(unit: Unit) -> list[Unit]:
    """Return the AAC frames of a unit (ADTS, ISO/IEC 13818-7, 6.2), each with its timestamp. Return other audio as the
    unit.
    """
    frames: list[Unit] = []
    data, at, time = unit.data, 0, 0.0
    while at < len(data):
        size = _adts_size(data, at)
        if not size or not unit.stamps or at + size > len(data):
            return [unit]
        pts = (read_stamp(unit.stamps, 0) + round(time)) % WRAP
        frames.append(
            attrs.evolve(unit, stamps=make_stamp(pts), data=data[at : at + size], pcr=b"" if at else unit.pcr)
        )
        time += 1024 * TICKS / _RATES[data[at + 2] >> 2 & 0x0F]
        at += size
    return frames


def _adts_size(data: bytes, at: int) -> int:
    if len(data) - at < 7 or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0 or data[at + 2] >> 2 & 0x0F > 12:
        return 0
    return (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
