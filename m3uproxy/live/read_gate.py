"""The gate of a programme: a source that sends faster than real time is read no faster than its players take the bytes.

The ring holds seconds, and a programme of hours may come within a minute. So the source is not read while the slowest
player has :data:`ENOUGH` bytes in the ring to be sent, and the ring keeps these bytes. The provider waits, as for a
film. No player slows another one below real time: players that take nothing for :data:`PAUSED` seconds count only if
all do, and with several players the source is read at real time at least, as far as its clock is known.

A live source must never wait for a player. It may begin with a burst, but with no more than :data:`LONGEST_BURST`
seconds of media. A source of unknown kind that is further ahead of real time is a programme. Until this is known, the
ring keeps the bytes of a burst, up to half of its size.
"""

from __future__ import annotations

from collections.abc import Collection

from ..core.programme import BodyNature, MediaClock
from ..core.ring import Block, Ring
from ..interfaces import IBlockConsumer
from .pump import Pump

#: Bytes that wait for the slowest player while the source is not read.
ENOUGH = 1 << 20
#: Seconds after which a player that takes nothing is not waited for, if another player takes bytes.
PAUSED = 3.0
#: Seconds of media ahead of real time from which on the bytes of a source of unknown kind are kept.
BURST = 5.0
#: Seconds of media that a live source is ahead of real time at most.
LONGEST_BURST = 30.0


class ReadGate:
    """The gate of one stream. All times are monotonic seconds."""

    def __init__(self, ring: Ring) -> None:
        """Make a gate for a source that is not known."""
        self._ring = ring
        self.source_changed(BodyNature.LIVE)

    def source_changed(self, nature: BodyNature) -> None:
        """Note that another body begins."""
        self.is_programme = nature is BodyNature.PROGRAMME
        self._may_wait = nature is not BodyNature.JOINED
        self._clock = MediaClock()
        self._lead = 0.0
        self._moment: float | None = None
        self._last: Block | None = None
        self._ring.held = None

    @property
    def media(self) -> float:
        """Seconds of media in the body so far; 0 while unknown."""
        return self._clock.seconds_until(self._last.data) if self._last is not None else 0.0

    def block_received(self, block: Block) -> None:
        """Note a block of the body."""
        self._last = block
        if not block.access:
            return
        step = self._clock.access_point(block.data)
        passed = 0.0 if self._moment is None else block.time - self._moment
        self._lead, self._moment = max(0.0, self._lead - passed) + step, block.time
        if self._may_wait and self._lead >= LONGEST_BURST:
            self.is_programme = True

    def player_fell_behind(self, number: int) -> None:
        """
        Keep the blocks for a player that was at the live edge, until the next check.

        :param number: number of the first block that it needs.
        """
        if self.is_programme and self._ring.held is None:
            self._ring.held = number

    def is_closed(self, pumps: Collection[Pump], muxer: IBlockConsumer | None, now: float) -> bool:
        """
        Return whether the source must not be read now.

        :param pumps: the players of the stream; ``muxer`` stands for those that play HLS.
        """
        if not self._may_wait or not (self.is_programme or self._is_ahead(now)):
            self._ring.held = None
            return False
        behind = _slowest(pumps, now)
        self._ring.held = None if behind is None else behind.next_block
        half = self._ring.capacity // 2
        closed = behind is not None and behind.backlog >= (min(ENOUGH, half) if self.is_programme else half)
        closed = closed or (muxer is not None and muxer.is_full)
        if closed and len(pumps) + (muxer is not None) > 1 and self._moment is not None and not self._is_ahead(now):
            self._ring.held = None
            return False
        return closed

    def _is_ahead(self, now: float) -> bool:
        return self._moment is not None and self._lead - (now - self._moment) >= BURST


def _slowest(pumps: Collection[Pump], now: float) -> Pump | None:
    """Return the player with the most bytes to be sent, without those that are paused unless all are."""
    reading = [pump for pump in pumps if pump.blocked_since is None or now - pump.blocked_since < PAUSED]
    slowest = max(reading or pumps, key=lambda pump: pump.backlog, default=None)
    return slowest if slowest is not None and slowest.backlog else None
