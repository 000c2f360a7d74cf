"""What has been sent cannot be taken back: so that a stream can be joined to another at any moment, the packets
of a unit are let go only when all of it is there.

**Video** ends where its next unit starts, its length being left open. The stream is cut in front of the last
start of video; all behind it waits, whatever its PID, so that the order in which the multiplexer put the packets
is kept, and its clock with it. That costs one frame, less what would have waited for the next block anyway.

**Audio** and other units say how long they are. One that is not complete at the cut stays behind, its packets
picked out. Multiplexers that write units without a break (most) never pay for that.

PIDs without units (tables, clock, padding) and units whose header cannot be read (scrambled) are not looked at.
Nor is anything held for more than :data:`LONGEST` seconds or :data:`LARGEST` bytes: a unit that takes longer
goes out as it comes, and video with such units is not held at all.

This is done for every byte of every stream. The walk looks at starts only; each packet is looked at once, however
often and in whatever small pieces the stream comes.
"""

from __future__ import annotations

from m3uproxy.core.mpegts.packets import PACKET_SIZE, payload_offset, scrambled, unit_starts
from m3uproxy.core.mpegts.packets import pid as pid_of
from m3uproxy.core.mpegts.pes import START_CODE, packets_of

#: Seconds and bytes that anything waits for the rest of its unit.
MAX_HOLD_SECONDS = 0.5
MAX_HOLD_BYTES = 1 << 20

_UNHELD, _SIZED, _VIDEO = 0, 1, 2


class PesHold:
    """Lets packets go whose units are complete, PID by PID."""

    __slots__ = ("_count", "_kinds", "_picture", "_pieces", "_unheld_since", "_units", "_video", "_waiting_since")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Another stream begins; what is held is forgotten."""
        self._pieces: list[bytes] = []
        self._count = 0
        self._kinds: dict[int, int] = {}
        # Which packets of those held units start in: the last one of video, those of other PIDs.
        self._video: int | None = None
        self._picture: int | None = None
        self._units: dict[int, list[int]] = {}
        # PID -> since when its unfinished unit waits; of video also when one that was not held started.
        self._waiting_since: dict[int, float] = {}
        self._unheld_since: dict[int, float] = {}

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._count * PACKET_SIZE

    def push(self, packets: bytes, now: float) -> bytes:
        """Take the next packets; those that may go, in the order they came, but for what was picked out.

        :param now: monotonic seconds.
        """
        base = self._count
        self._find_starts(packets, base, now)
        end = base + len(packets) // PACKET_SIZE
        cut = end if self._picture is None else self._picture
        if cut < base:
            # Video that began before goes on: no cut in these packets.
            if self._may_hold(now, end):
                self._pieces.append(packets)
                self._count = end
                return b""
            cut = end
        return self._release(packets, base, cut, now)

    def take_all(self) -> bytes:
        """What is held, complete or not: the stream ends here and nothing follows."""
        held = b"".join(self._pieces)
        self.reset()
        return held

    def take_complete(self) -> bytes:
        """What is held and complete: the stream breaks off here. The rest is dropped."""
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
        self._kinds[pid] = kind
        return kind

    def _choose_video(self, pid: int, now: float) -> None:
        """One video is held: the first, as long as its units do not take too long."""
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
        """Let go what lies before packet number ``cut`` and is complete."""
        split = (cut - base) * PACKET_SIZE
        rest = packets[split:]
        all_released = not rest and not self._pieces
        out = packets if all_released else b"".join((*self._pieces, memoryview(packets)[:split]))
        carried = self._carry_incomplete(out, cut, now) if self._units else []
        kept = b"".join([out[at : at + PACKET_SIZE] for at in carried]) + rest if carried else rest
        if self._picture is not None:
            self._picture += len(carried) - cut
        self._pieces = [kept] if kept else []
        self._count = len(kept) // PACKET_SIZE
        return _without(out, carried) if carried else out

    def _carry_incomplete(self, out: bytes, cut: int, now: float) -> list[int]:
        """Offsets of the packets in ``out`` whose units are not complete; starts are counted anew."""
        carried: list[int] = []
        begun: dict[int, int] = {}
        for pid, starts in self._units.items():
            before = [position for position in starts if position < cut]
            unfinished = _unfinished(out, before[-1] * PACKET_SIZE, pid) if before else []
            since = self._waiting_since.pop(pid, now)
            if len(before) > 1:
                # Not the unit that waited: that one is complete.
                since = now
            if unfinished and now - since < MAX_HOLD_SECONDS:
                self._waiting_since[pid] = since
                carried += unfinished
                begun[pid] = unfinished[0]
        carried.sort()
        units: dict[int, list[int]] = {}
        for pid, starts in self._units.items():
            kept = [position - cut + len(carried) for position in starts if position >= cut]
            if pid in begun:
                kept.insert(0, carried.index(begun[pid]))
            if kept:
                units[pid] = kept
        self._units = units
        return carried


def _unfinished(data: bytes, start: int, pid: int) -> list[int]:
    """Offsets of the packets of the unit that starts at ``start``, to the end of ``data``; none if it is complete."""
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
    """The packets but for those at the offsets given, which are in order."""
    pieces: list[bytes] = []
    begin = 0
    for at in offsets:
        pieces.append(data[begin:at])
        begin = at + PACKET_SIZE
    pieces.append(data[begin:])
    return b"".join(pieces)
