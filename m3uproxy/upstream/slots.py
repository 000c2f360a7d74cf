"""Provider slots: asking, waiting and giving back. The clocked side of :mod:`m3uproxy.core.slots.slot_table`.

A session asks before it dials, hands the slot to the dial, whose sockets are counted on it, and is done with it when
it will not dial again. The answer may come later, when another stream's socket is gone.

Of an account that is asked *now and then* (HLS) a stream has one slot, however many of its parts ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..core.slots.accounts import Account
from ..core.slots.slot_table import Granted, Refused, SlotEffect, SlotTable, Takeover
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import Reason, SourceError
from ..log import make_logger

log = make_logger()

T = TypeVar("T")


@attrs.define(eq=False)
class Slot:
    """Leave to hold connections to an account. Whoever is given it must say, once, when it is :meth:`done`."""

    desk: SlotAllocator
    account: Account
    token: int
    stream: str
    _holders: int = 1
    _goodbyes: list[Callable[[bool], None]] = attrs.field(factory=list, repr=False)

    @property
    def held(self) -> bool:
        """Whether anything may be opened on it."""
        return self._holders > 0

    def share(self) -> Slot:
        """The same for one more."""
        self._holders += 1
        return self

    def before_done(self, call: Callable[[bool], None]) -> None:
        """Have ``call`` called when it is given back, with whether what is open is to be closed at once."""
        self._goodbyes.append(call)

    def opened(self) -> bool:
        """A socket was opened on it. False if it has to be closed at once."""
        return self.desk.slots.socket_opened(self.token)

    def closed(self) -> None:
        """A socket that was opened on it is gone."""
        self.desk.closed(self.token)

    def done(self, at_once: bool = False) -> None:
        """
        It is not needed any more. Others get it when its last socket is gone.

        :param at_once: whether what is open on it must be closed.
        """
        self._holders -= 1
        if self.held:
            return
        while self._goodbyes:
            self._goodbyes.pop()(at_once)
        self.desk.done(self.token)


def release_slot(result: T, slot: Slot | None) -> T:
    """Release a slot, if there is one, and pass the result on. To be used with ``addBoth``."""
    if slot is not None:
        slot.done()
    return result


class StreamSlot:
    """The slot of one stream, kept from dial to dial as long as they go to the same account."""

    def __init__(self, desk: SlotAllocator, stream: str) -> None:
        """``stream`` is its id, by which others may be told to give way to it."""
        self._desk = desk
        self._stream = stream
        self._slot: Slot | None = None
        #: For whom the stream was started; None once nobody in particular waits for it.
        self.viewer: ViewerIdentity | None = None

    async def admit(self, account: Account | None) -> Slot | None:
        """
        Leave to dial; None if nobody counts.

        :raises SourceError: if there is no slot and none becomes free in time.
        """
        if self._slot is not None and self._slot.account != account:
            self.leave()
        if self._slot is None and account is not None:
            self._slot = await self._desk.ask(account, self._stream, self.viewer)
        return self._slot

    def held(self, account: Account | None) -> Slot | None:
        """
        Leave that there is already; None if nobody counts.

        :raises SourceError: if there is none, or for another account.
        """
        if account is not None and (self._slot is None or self._slot.account != account):
            raise SourceError(Reason.NO_SLOT, f"the stream has no connection to provider {account.name!r} now")
        return None if account is None else self._slot

    def has_room(self, account: Account) -> bool:
        """Whether there is a slot beside the one in use, or that one does for both."""
        return self._desk.has_room(account, self._stream)

    def second(self, account: Account | None) -> Slot | None:
        """A slot beside the one in use, which there must be. Its holder has to say when it is done with it."""
        if account is None:
            return None
        granted: list[Slot] = []
        asking = self._desk.ask(account, self._stream)
        asking.addCallback(granted.append)
        asking.addErrback(lambda failure: log.failure("there was no room after all", failure=failure))
        return granted[0]

    def replace(self, slot: Slot | None) -> None:
        """From now on that one is in use."""
        self.leave()
        self._slot = slot

    def leave(self, at_once: bool = False) -> None:
        """There will be no dial for now."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.done(at_once)


@attrs.frozen(eq=False)
class _Ask:
    """Somebody who waits."""

    stream: str
    account: Account
    answer: Deferred[Slot]

    @property
    def tenant(self) -> tuple[str, Account]:
        """By whom a slot that is asked now and then is shared."""
        return self.stream, self.account


class SlotAllocator:
    """Where slots are asked for."""

    def __init__(self, clock: IReactorTime, slots: SlotTable, vacate: Callable[[str], None]) -> None:
        """
        Nobody has asked yet.

        :param vacate: called with the id of a stream that has to give its slot up: end it.
        """
        self._clock = clock
        self._vacate = vacate
        self._asking: dict[int, _Ask] = {}
        self._shared: dict[tuple[str, Account], Slot] = {}
        self._timer: IDelayedCall | None = None
        self.slots = slots

    def ask(self, account: Account, stream: str, viewer: ViewerIdentity | None = None) -> Deferred[Slot]:
        """
        Ask for a slot; see :meth:`m3uproxy.core.slots.slot_table.SlotTable.request`.

        :return: a Deferred that fails with a :class:`SourceError` if none becomes free in time; cancel it to stop
            waiting.
        """
        shared = self._shared.get((stream, account))
        if shared is not None:
            return succeed(shared.share())
        effect = self.slots.request(self._clock.seconds(), account, stream, viewer)
        asking: Deferred[Slot] = Deferred(lambda _: self.done(effect.token))
        self._asking[effect.token] = _Ask(stream, account, asking)
        self._carry_out([effect])
        return asking

    def joined(self, stream: str, viewer: ViewerIdentity) -> None:
        """A player watches a stream. To be told before the stream asks."""
        self.slots.viewer_joined(stream, viewer)

    def left(self, stream: str, viewer: ViewerIdentity) -> None:
        """A player is gone."""
        self._carry_out(self.slots.viewer_left(self._clock.seconds(), stream, viewer))

    def closed(self, token: int) -> None:
        """See :meth:`Slot.closed`."""
        self._carry_out(self.slots.socket_closed(self._clock.seconds(), token))

    def done(self, token: int) -> None:
        """See :meth:`Slot.done`; also for one that waits."""
        self._asking.pop(token, None)
        self._shared = {key: slot for key, slot in self._shared.items() if slot.token != token}
        self._carry_out(self.slots.release(self._clock.seconds(), token))

    def has_room(self, account: Account, stream: str) -> bool:
        """Whether that stream is granted a slot at once."""
        return (stream, account) in self._shared or self.slots.has_free_slot(account)

    def report(self, configured: Collection[Account]) -> dict[str, object]:
        """For statistics; see :meth:`m3uproxy.core.slots.slot_table.SlotTable.report`."""
        return self.slots.report(configured)

    def stop(self) -> None:
        """Leave no timer behind."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # inside

    def _carry_out(self, effects: Iterable[SlotEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Takeover):
                log.info("stream {stream} gives up its provider connection, its viewer moved on", stream=effect.stream)
                self._vacate(effect.stream)
            elif isinstance(effect, Granted):
                self._granted(effect.token)
            elif isinstance(effect, Refused):
                self._refused(effect)
        self._tick_in_time()

    def _granted(self, token: int) -> None:
        asked = self._asking.pop(token, None)
        if asked is None:
            return
        slot = Slot(self, asked.account, token, asked.stream)
        answers = [asked.answer]
        if asked.account.intermittent:
            self._shared[asked.tenant] = slot
            answers += self._with_the_same(asked.tenant)
        for _ in answers[1:]:
            slot.share()
        for answer in answers:
            answer.callback(slot)

    def _with_the_same(self, tenant: tuple[str, Account]) -> list[Deferred[Slot]]:
        """Other parts of the stream need not wait for slots of their own any more."""
        others = {token: ask.answer for token, ask in self._asking.items() if ask.tenant == tenant}
        for token in others:
            self.done(token)
        return list(others.values())

    def _refused(self, effect: Refused) -> None:
        asked = self._asking.pop(effect.token, None)
        if asked is not None:
            asked.answer.errback(SourceError(Reason.NO_SLOT, effect.why))

    def _tick_in_time(self) -> None:
        """Have the timer fire at the next deadline, or before: then it is set anew."""
        deadline = self.slots.next_deadline()
        timer = self._timer
        if timer is not None and timer.active():
            if deadline is not None and timer.getTime() <= deadline:
                return
            timer.cancel()
        now = self._clock.seconds()
        self._timer = None if deadline is None else self._clock.callLater(max(0.0, deadline - now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self.slots.tick(self._clock.seconds()))
