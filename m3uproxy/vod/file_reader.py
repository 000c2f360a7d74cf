"""An open body of a file, read at the pace of one response to a player.

The body is paused, unless its reader wants bytes and there are none. Only then does the reactor wait for it, and only
then does the silence timer run: a player may pause for as long as it likes. A reader that wants more gets at once
what the socket holds, up to :data:`TURN` bytes in one turn of the reactor. A provider on the internet sends 1.4 kB
every millisecond, and a turn for each piece would be the greatest cost there is; so behind a small piece the
reactor rests for a moment, while more gathers in the kernel. A paused socket has a small window, and a fixed rest would
throttle a fast provider: the rest halves when it brought much, and when it is too short to be worth it, the reactor
reads as it comes for a while.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from ..core.http.body_sniffing import SNIFF_BYTES, body_error
from ..core.http.representation import Representation
from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer
from ..timers import SilenceTimer
from .interfaces import ByteConsumer
from .range_request import OpenedRange

#: Bytes handed on in one turn of the reactor.
TURN = 1_048_576
#: Seconds for which small pieces gather, at most and at least; below that, seconds without a rest.
GATHER = 0.02
SHORTEST = 0.002
FREE = 1.0
#: Bytes that are much for one rest, half of what any window holds; and bytes that no rest comes before.
MUCH = 32_768
AT_ONCE = 262_144
#: Bytes that are rather read and dropped than asked for anew.
SKIP = 1_048_576


class FileReaderOwner(Protocol):
    """Who opened the body."""

    def passing(self, feed: FileReader, offset: int, data: memoryview) -> None:
        """These bytes of the file, which is the right one, are about to be handed on."""

    def broke(self, feed: FileReader, error: SourceError) -> None:
        """There is no more to come, or nothing good. Told once; the owner closes the feed."""


@implementer(IBodyConsumer)
class FileReader:
    """See the module's text."""

    def __init__(
        self,
        clock: IReactorTime,
        opened: OpenedRange,
        edition: Representation | None,
        silence: float,
        owner: FileReaderOwner,
    ) -> None:
        """
        Take nothing yet.

        :param edition: the file that this belongs to.
        :param silence: seconds without a byte, while some are wanted, after which the body counts as stalled.
        """
        self._clock = clock
        self._body = opened.body
        self._owner = owner
        self._limit = silence
        self._reader: ByteConsumer | None = None
        self._spare: deque[memoryview] = deque()
        self._over: SourceError | None = None
        self._judged = opened.first > 0
        self._closed = self._running = self._reading = self._resumed = False
        self._waiting_since: float | None = None
        self._interval = GATHER
        self._gathered = False
        self._free_until = 0.0
        self._silence = SilenceTimer(clock, self._silence_remaining, self._stalled)
        self._next: IDelayedCall | None = None
        self.edition = edition
        self.stop = opened.stop
        self.position = opened.first
        self.passed = 0
        self._began = self._heard = 0.0

    @property
    def ran(self) -> float:
        """Seconds until the last byte came."""
        return self._heard - self._began

    def start(self, reader: ByteConsumer) -> None:
        """Begin to read."""
        self._reader = reader
        self._began = self._heard = self._clock.seconds()
        self._body.deliver(self)
        self._resumed = True
        self.go_on()

    def suits(self, reader: ByteConsumer, edition: Representation | None) -> bool:
        """Whether what comes next is what a reader of that edition needs, or close before it."""
        place = reader.position
        if self._closed or self._over is not None or place is None or edition is None or edition != self.edition:
            return False
        return self.position <= place <= self.position + SKIP and (self.stop is None or place < self.stop)

    def serve(self, reader: ByteConsumer | None) -> None:
        """From now on for this reader; for none, the body is paused and kept."""
        self._reader = reader
        self.go_on()

    def close(self) -> Deferred[None]:
        """Drop the connection.

        :return: a Deferred that fires when the socket is gone.
        """
        self._closed = True
        self._reader = None
        self._spare.clear()
        self._silence.cancel()
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        return self._body.close()

    def go_on(self) -> None:
        """Hand on what there is, as far as it is wanted, and see that more comes."""
        if self._running or self._closed:
            return
        self._running = True
        try:
            brought = self._run()
        finally:
            self._running = False
        self._settle(brought)

    # IBodyConsumer

    def body_received(self, data: bytes) -> None:
        """Keep it until it is wanted: a paused body may still bring what was under way."""
        self._heard = self._clock.seconds()
        if not self._closed:
            self._spare.append(memoryview(data))
            if not self._reading:
                self.go_on()

    def body_ended(self, error: SourceError) -> None:
        """What was read is still to be handed on."""
        self._over = error
        if not self._reading:
            self.go_on()

    # inside

    def _settle(self, brought: int) -> None:
        """Nothing more goes on in this turn: rest, wait, or tell that this is the end."""
        if self._closed:
            return
        if self._over is not None and not self._spare and (self._wants() or self._reader is None):
            self._fail(self._over)
        elif not self._wants():
            self._rest()
        else:
            self._wait(brought)

    def _wants(self) -> bool:
        return not self._closed and self._reader is not None and self._reader.wants

    def _run(self) -> int:
        """Bytes handed on."""
        brought = 0
        while brought < TURN and self._wants() and (self._spare or self._read()):
            brought += self._hand_on()
        return brought

    def _read(self) -> bool:
        """Read what the socket holds, without asking the reactor."""
        if self._over is not None:
            return False
        self._reading = True
        try:
            self._body.read(True)
        finally:
            self._reading = False
        return bool(self._spare)

    def _hand_on(self) -> int:
        reader, data = self._reader, self._spare.popleft()
        assert reader is not None
        assert reader.position is not None
        if not self._judged and not self._judge(data):
            return 0
        before = data[: max(0, reader.position - self.position)]
        if len(before):
            self._skip(reader, before)
            used = len(before)
        else:
            self._owner.passing(self, self.position, data)
            used = reader.take(data)
        self.position += used
        self.passed += used
        if used < len(data) and not self._closed:
            self._spare.appendleft(data[used:])
        return used

    def _judge(self, data: memoryview) -> bool:
        """A provider may answer with a login page, whatever is asked for."""
        self._judged = True
        error = body_error(bytes(data[:SNIFF_BYTES]), 0, "")
        if error is not None:
            self._fail(error)
        return error is None

    def _skip(self, reader: ByteConsumer, data: memoryview) -> None:
        """What was given before must come again."""
        assert reader.position is not None
        begin = reader.position - len(reader.proof)
        known = max(0, begin - self.position)
        again = data[known:]
        place = self.position + known - begin
        if again != reader.proof[place : place + len(again)]:
            self._fail(SourceError(Reason.OTHER_FILE, "it goes on otherwise than what was sent"))

    def _fail(self, error: SourceError) -> None:
        self._spare.clear()
        self._owner.broke(self, error)

    def _rest(self) -> None:
        """Nothing is wanted."""
        self._waiting_since = None
        self._pause()

    def _pause(self) -> None:
        if self._resumed:
            self._resumed = False
            self._body.pause()

    def _is_to_gather(self, brought: int) -> bool:
        """Whether to rest; how much the last rest brought says how long the next one is."""
        now = self._clock.seconds()
        gathered, self._gathered = self._gathered, False
        if not brought or self.passed <= AT_ONCE or now < self._free_until:
            return False
        if gathered and brought >= MUCH:
            self._interval /= 2
            if self._interval < SHORTEST:
                self._interval, self._free_until = GATHER, now + FREE
                return False
        elif gathered and brought < MUCH // 4:
            self._interval = min(GATHER, self._interval * 2)
        return gathered or brought < MUCH

    def _wait(self, brought: int) -> None:
        """More is wanted."""
        if brought >= TURN:
            self._again(0)
        elif self._is_to_gather(brought):
            self._pause()
            self._gathered = True
            self._again(self._interval)
        elif not self._resumed:
            self._resumed = True
            self._body.resume()
        if self._waiting_since is None:
            self._waiting_since = self._clock.seconds()
        self._silence.start(self._limit)

    def _again(self, seconds: float) -> None:
        if self._next is None:
            self._next = self._clock.callLater(seconds, self._go_on_later)

    def _go_on_later(self) -> None:
        self._next = None
        self.go_on()

    def _quiet(self, since: float) -> float:
        """Return the seconds without a byte."""
        return self._clock.seconds() - max(self._heard, since)

    def _silence_remaining(self) -> float | None:
        """Return the seconds until the body counts as stalled; None if no bytes are wanted."""
        return None if self._waiting_since is None else self._limit - self._quiet(self._waiting_since)

    def _stalled(self) -> None:
        assert self._waiting_since is not None
        self._fail(SourceError(Reason.STALLED, f"no byte for {self._quiet(self._waiting_since):.1f} s"))
