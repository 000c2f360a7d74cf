"""The hold: packets of a PES unit are released only when the unit is complete.

Packets that were sent cannot be taken back. A stream can therefore be spliced to another at any moment only if each
unit is sent completely or not at all.

**Video** units end where the next one starts, because their length is left open. The stream is cut before the last
start of a video unit. All packets behind the cut wait, whatever their PID. The order of the multiplexer is kept, and
its clock with it. The cost is a delay of one frame, less the time that the packets would have waited for the next chunk
anyway.

**Audio** and other units declare their length. A unit that is incomplete at the cut is held back, its packets picked
out. Most multiplexers write units without a break and never pay this cost.

PIDs without units (tables, clock, padding) and units with an unreadable header (scrambled) are not held. At most
:data:`_MAX_SIZED_PIDS` PIDs are held by length, because each costs a search in every chunk. Packets are held for at
most :data:`MAX_HOLD_SECONDS` seconds or :data:`MAX_HOLD_BYTES` bytes. A unit that takes longer is released as it comes,
and video with such units is not held at all.

The hold handles every byte of every stream. It inspects starts only. Each packet is inspected once, however many and
small the pieces are in which the stream arrives.
"""

from __future__ import annotations

from ..mpegts.packets import PACKET_SIZE, payload_offset, scrambled, unit_starts
from ..mpegts.packets import pid as pid_of
from ..mpegts.pes import START_CODE, packets_of

#: Seconds and bytes for which packets wait for the rest of their unit, at most.
MAX_HOLD_SECONDS = 0.5
MAX_HOLD_BYTES = 1 << 20
#: PIDs whose units are held by their length, at most.
_MAX_SIZED_PIDS = 32

_UNHELD, _SIZED, _VIDEO = 0, 1, 2


class PesHold:
    """A hold for the packets of incomplete units, PID by PID."""

    __slots__ = (
        "_count",
        "_kinds",
        "_picture",
        "_pieces",
        "_sized_pids",
        "_unheld_since",
        "_units",
        "_video",
        "_waiting_since",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start another stream and drop the packets held."""
        self._pieces: list[bytes] = []
        self._count = 0
        self._kinds: dict[int, int] = {}
        self._sized_pids = 0
        # Numbers of held packets in which units start: the last one of video, all of other PIDs.
        self._video: int | None = None
        self._picture: int | None = None
        self._units: dict[int, list[int]] = {}
        # PID -> start of the wait for its unfinished unit.
        self._waiting_since: dict[int, float] = {}
        # PID of video -> start of the last unit that was not held.
        self._unheld_since: dict[int, float] = {}

    @property
    def size(self) -> int:
        """The number of bytes held."""
        return self._count * PACKET_SIZE

    def push(self, packets: bytes, now: float) -> bytes:
        """Take the next packets. Return the packets that are released, in order, except for those picked out.

        :param now: monotonic seconds.
        """
        base = self._count
        self._find_starts(packets, base, now)
        end = base + len(packets) // PACKET_SIZE
        cut = end if self._picture is None else self._picture
        if cut < base:
            # A video unit from before continues: no cut in these packets.
            if self._may_hold(now, end):
                self._pieces.append(packets)
                self._count = end
                return b""
            cut = end
        return self._release(packets, base, cut, now)

    def take_all(self) -> bytes:
        """Return all held packets, complete or not: the stream ends here."""
        held = b"".join(self._pieces)
        self.reset()
        return held

    def take_complete(self) -> bytes:
        """Return the held packets of complete units and drop the rest: the stream breaks off here."""
        held = b"".join(self._pieces)
        drop: set[int] = set()
        if self._video is not None and self._picture is not None:
            drop.update(packets_of(held, self._video, self._picture * PACKET_SIZE, len(held)))
        for pid, starts in self._units.items():
            drop.update(_unfinished(held, starts[-1] * PACKET_SIZE, pid))
        self.reset()
        return _without(held, sorted(drop)) if drop else held

    def _find_starts(self, packets: bytes, base: int, now: float) -> None:
        kinds = self._kinds
        for at in unit_starts(packets):
            pid = pid_of(packets, at)
            position = base + at // PACKET_SIZE
            kind = kinds.get(pid)
            if kind is None:
                kind = self._classify(packets, at, pid)
            if kind == _SIZED:
                self._units.setdefault(pid, []).append(position)
            elif kind == _VIDEO:
                if pid != self._video:
                    self._choose_video(pid, now)
                if pid == self._video:
                    self._picture = position
                    self._waiting_since[pid] = now

    def _classify(self, packets: bytes, at: int, pid: int) -> int:
        if scrambled(packets, at):
            return _UNHELD
        begin = payload_offset(packets, at)
        kind = _UNHELD
        if packets.startswith(START_CODE, begin) and begin + 6 <= at + PACKET_SIZE:
            is_video = packets[begin + 3] & 0xF0 == 0xE0 or packets[begin + 4 : begin + 6] == b"\0\0"
            kind = _VIDEO if is_video else _SIZED
        if kind == _SIZED:
            self._sized_pids += 1
            kind = _SIZED if self._sized_pids <= _MAX_SIZED_PIDS else _UNHELD
        self._kinds[pid] = kind
        return kind

    def _choose_video(self, pid: int, now: float) -> None:
        """Hold one video PID: the first, unless its units take too long."""
        if self._video is None:
            if now - self._unheld_since.get(pid, now) < MAX_HOLD_SECONDS:
                self._video = pid
            self._unheld_since[pid] = now

    def _may_hold(self, now: float, count: int) -> bool:
        video = self._video
        if video is None or (
            count * PACKET_SIZE <= MAX_HOLD_BYTES and now - self._waiting_since[video] < MAX_HOLD_SECONDS
        ):
            return video is not None
        self._unheld_since[video] = self._waiting_since.pop(video)
        self._picture = self._video = None
        return False

    def _release(self, packets: bytes, base: int, cut: int, now: float) -> bytes:
        """Release the packets before packet number ``cut`` whose units are complete."""
        split = (cut - base) * PACKET_SIZE
        rest = packets[split:]
        passes_unchanged = not rest and not self._pieces
        out = packets if passes_unchanged else b"".join((*self._pieces, memoryview(packets)[:split]))
        carried = self._carry_incomplete(out, cut, now) if self._units else []
        kept = b"".join([out[at : at + PACKET_SIZE] for at in carried]) + rest if carried else rest
        if self._picture is not None:
            self._picture += len(carried) - cut
        self._pieces = [kept] if kept else []
        self._count = len(kept) // PACKET_SIZE
        return _without(out, carried) if carried else out

    def _carry_incomplete(self, out: bytes, cut: int, now: float) -> list[int]:
        """Return the offsets of the packets in ``out`` whose units are incomplete, and renumber the unit starts."""
        carried: list[int] = []
        first_carried: dict[int, int] = {}
        for pid, starts in self._units.items():
            before = [position for position in starts if position < cut]
            unfinished = _unfinished(out, before[-1] * PACKET_SIZE, pid) if before else []
            since = self._waiting_since.pop(pid, now)
            if len(before) > 1:
                # The unit that waited is complete; this is another one.
                since = now
            if unfinished and now - since < MAX_HOLD_SECONDS:
                self._waiting_since[pid] = since
                carried += unfinished
                first_carried[pid] = unfinished[0]
        if len(carried) * PACKET_SIZE > MAX_HOLD_BYTES:
            for pid in first_carried:
                del self._waiting_since[pid]
            carried, first_carried = [], {}
        carried.sort()
        units: dict[int, list[int]] = {}
        for pid, starts in self._units.items():
            kept = [position - cut + len(carried) for position in starts if position >= cut]
            if pid in first_carried:
                kept.insert(0, carried.index(first_carried[pid]))
            if kept:
                units[pid] = kept
        self._units = units
        return carried


def _unfinished(data: bytes, start: int, pid: int) -> list[int]:
    """Return the offsets of the packets of the unit at ``start``; empty if the unit is complete."""
    begin = payload_offset(data, start)
    if begin + 6 > start + PACKET_SIZE or not data.startswith(START_CODE, begin):
        return []
    length = data[begin + 4] << 8 | data[begin + 5]
    if not length:
        return []
    missing = 6 + length - (start + PACKET_SIZE - begin)
    offsets = [start]
    high, low = pid >> 8, pid & 0xFF
    lows = data[start + 2 :: PACKET_SIZE]
    found = 0
    while missing > 0:
        found = lows.find(low, found + 1)
        if found < 0:
            return offsets
        at = start + found * PACKET_SIZE
        if data[at + 1] & 0x1F == high:
            offsets.append(at)
            missing -= at + PACKET_SIZE - payload_offset(data, at)
    return []


def _without(data: bytes, offsets: list[int]) -> bytes:
    """Return the packets except those at the given offsets, which are in order."""
    pieces: list[bytes] = []
    begin = 0
    for at in offsets:
        pieces.append(data[begin:at])
        begin = at + PACKET_SIZE
    pieces.append(data[begin:])
    return b"".join(pieces)
