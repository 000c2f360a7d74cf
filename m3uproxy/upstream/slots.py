"""Provider slots: acquire, wait, release. The clocked side of :mod:`m3uproxy.core.slots.slot_table`.

A session acquires a slot before it dials, passes the slot to the dial, whose sockets count for it, and releases the
slot when no other dial follows. Acquiring may take until the socket of another stream has closed. A session also waits
until the socket of its own last dial has closed: a provider that allows one connection must not see two.

Whatever an answer causes, it finds the table settled: all effects of a call are noted first, then the streams that must
end are told, and then the requests are answered. Each of these may request and release slots.

For an account with *intermittent* connections (HLS) a stream has one slot, however many of its parts acquire it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial
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

#: Seconds for which a dial waits for the socket that it replaces.
PREVIOUS_SOCKET_TIMEOUT = 1.0

T = TypeVar("T")


@attrs.define(eq=False)
class Slot:
    """
    The permission to hold connections to an account. See :class:`m3uproxy.core.slots.accounts.ProviderSlot`.

    Each holder must call :meth:`release` once.
    """

    _allocator: SlotAllocator
    account: Account
    token: int
    stream: str
    _holders: int = 1
    _before_release: list[Callable[[bool], None]] = attrs.field(factory=list, repr=False)

    @property
    def held(self) -> bool:
        """True until the last holder releases the slot. Afterwards no connection may be opened on it."""
        return self._holders > 0

    def share(self) -> Slot:
        """Return the slot for one more holder."""
        self._holders += 1
        return self

    def before_release(self, called: Callable[[bool], None]) -> None:
        """Have ``called`` called when the slot is released, with True if open connections must be closed at once."""
        self._before_release.append(called)

    def socket_opened(self) -> bool:
        """Count a socket that was opened. Return False if it must be closed at once."""
        return self._allocator.table.socket_opened(self.token)

    def socket_closed(self) -> None:
        """Stop counting a socket that was opened and is closed now."""
        self._allocator.socket_closed(self.token)

    def release(self, abort: bool = False) -> None:
        """
        Release the slot. Another request gets it when its last socket has closed.

        :param abort: whether connections that are in use must be closed.
        """
        self._holders -= 1
        if self.held:
            return
        while self._before_release:
            try:
                self._before_release.pop()(abort)
            except Exception:
                log.failure("stream {stream}: closing connections of its slot failed", stream=self.stream)
        self._allocator.release(self.token)


def release_slot(result: T, slot: Slot | None) -> T:
    """Release a slot, if there is one, and pass the result on. To be used with ``addBoth``."""
    if slot is not None:
        slot.release()
    return result


class StreamSlot:
    """
    The slot of one stream. It is kept from dial to dial as long as these go to the same account.

    :ivar viewer: the viewer that the stream was started for. None if no single viewer waits for it any more.
    """

    def __init__(self, allocator: SlotAllocator, stream: str) -> None:
        """
        Start without a slot.

        :param stream: the id of the stream.
        """
        self._allocator = allocator
        self._stream = stream
        self._slot: Slot | None = None
        self.viewer: ViewerIdentity | None = None

    async def acquire(self, account: Account | None) -> Slot | None:
        """
        Acquire a slot of an account, which the next dial needs. A slot of another account is released.

        :return: None if the connections of the account are not counted.
        :raises SourceError: ``NO_SLOT`` if no slot becomes free in time.
        """
        if self._slot is not None and self._slot.account != account:
            self.release()
        if self._slot is None and account is not None:
            self._slot = await self._allocator.request(account, self._stream, self.viewer)
        return self._slot

    def get_held(self, account: Account | None) -> Slot | None:
        """
        Return the slot that the stream holds.

        :return: None if the connections of the account are not counted.
        :raises SourceError: ``NO_SLOT`` if the stream holds no slot of this account.
        """
        if account is not None and (self._slot is None or self._slot.account != account):
            raise SourceError(Reason.NO_SLOT, f"the stream has no connection to provider {account.name!r} now")
        return None if account is None else self._slot

    def has_free_slot(self, account: Account) -> bool:
        """Return whether a second slot is free, or the slot of the stream may be shared."""
        return self._allocator.has_free_slot(account, self._stream)

    def acquire_second(self, account: Account | None) -> Slot | None:
        """
        Acquire a second slot, in addition to the one in use. The caller releases it.

        One must be free; see :meth:`has_free_slot`.

        :return: None if the connections of the account are not counted.
        """
        if account is None:
            return None
        granted: list[Slot] = []
        request = self._allocator.request(account, self._stream)
        request.addCallback(granted.append)
        request.addErrback(
            lambda failure: log.failure("stream {stream}: second slot refused", failure=failure, stream=self._stream)
        )
        return granted[0]

    def replace(self, slot: Slot | None) -> None:
        """Release the slot in use, and use another one from now on."""
        self.release()
        self._slot = slot

    def release(self, abort: bool = False) -> None:
        """
        Release the slot in use, if there is one.

        :param abort: whether connections that are in use must be closed.
        """
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release(abort)


class PreviousSocket:
    """The last socket that a session closed. The next dial waits until it has closed."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._closed: Deferred[None] = succeed(None)

    def closing(self, closed: Deferred[None]) -> None:
        """
        Note that a socket is being closed. The next dial waits for this socket.

        :param closed: fires when the socket has closed.
        """
        self._closed = closed

    def closed(self) -> Deferred[None]:
        """Return a Deferred that fires when the socket has closed. Cancelling it affects no other wait."""
        waiting: Deferred[None] = Deferred()

        def fire(result: None) -> None:
            if not waiting.called:
                waiting.callback(None)

        self._closed.addCallback(fire)
        return waiting

    async def wait(self) -> None:
        """Wait until the socket has closed, for :data:`PREVIOUS_SOCKET_TIMEOUT` at most."""
        if not self._closed.called:
            await self.closed().addTimeout(PREVIOUS_SOCKET_TIMEOUT, self._clock, onTimeoutCancel=lambda *_: None)


@attrs.frozen(eq=False)
class _WaitingRequest:
    """A request for a slot that is not answered yet."""

    stream: str
    account: Account
    answer: Deferred[Slot]

    @property
    def holder(self) -> tuple[str, Account]:
        """The stream and the account that share a slot with intermittent connections."""
        return self.stream, self.account


class SlotAllocator:
    """
    The requests for slots of all streams.

    :ivar table: the slots of all accounts.
    """

    def __init__(self, clock: IReactorTime, table: SlotTable, yield_slot: Callable[[str], None]) -> None:
        """
        Start without requests.

        :param yield_slot: called with the id of a stream that must release its slot, so it must end.
        """
        self._clock = clock
        self._yield_slot = yield_slot
        self._waiting: dict[int, _WaitingRequest] = {}
        self._shared: dict[tuple[str, Account], Slot] = {}
        self._timer: IDelayedCall | None = None
        self.table = table

    def request(self, account: Account, stream: str, viewer: ViewerIdentity | None = None) -> Deferred[Slot]:
        """
        Request a slot; see :meth:`m3uproxy.core.slots.slot_table.SlotTable.request`.

        :return: a Deferred that fails with :class:`SourceError` if no slot becomes free in time. Cancelling it
            withdraws the request.
        """
        shared = self._shared.get((stream, account))
        if shared is not None:
            return succeed(shared.share())
        effect = self.table.request(self._clock.seconds(), account, stream, viewer)
        answer: Deferred[Slot] = Deferred(lambda _: self._withdraw(effect.token))
        self._waiting[effect.token] = _WaitingRequest(stream, account, answer)
        self._carry_out([effect])
        return answer

    def viewer_joined(self, stream: str, viewer: ViewerIdentity) -> None:
        """Note that a viewer watches a stream. To be called before the stream requests a slot."""
        self.table.viewer_joined(stream, viewer)

    def viewer_left(self, stream: str, viewer: ViewerIdentity) -> None:
        """Note that a viewer has left a stream. Its slot may now go to a stream that waits."""
        self._carry_out(self.table.viewer_left(self._clock.seconds(), stream, viewer))

    def socket_closed(self, token: int) -> None:
        """See :meth:`Slot.socket_closed`."""
        self._carry_out(self.table.socket_closed(self._clock.seconds(), token))

    def release(self, token: int) -> None:
        """Release a slot (see :meth:`Slot.release`), or withdraw a request that waits."""
        self._carry_out(self._release(token))

    def _release(self, token: int) -> list[SlotEffect]:
        self._waiting.pop(token, None)
        self._shared = {key: slot for key, slot in self._shared.items() if slot.token != token}
        return self.table.release(self._clock.seconds(), token)

    def _withdraw(self, token: int) -> None:
        """Withdraw a request that waits. If its slot is granted but not handed over yet, that happens later."""
        if token in self._waiting:
            self.release(token)

    def has_free_slot(self, account: Account, stream: str) -> bool:
        """Return whether a request of the stream would be granted at once."""
        return (stream, account) in self._shared or self.table.has_free_slot(account)

    def report(self, configured: Collection[Account]) -> dict[str, object]:
        """Return the statistics; see :meth:`m3uproxy.core.slots.slot_table.SlotTable.report`."""
        return self.table.report(configured)

    def stop(self) -> None:
        """Cancel the timer."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _carry_out(self, effects: Iterable[SlotEffect]) -> None:
        """Note all effects, then end streams and answer requests."""
        ended: list[str] = []
        answers: list[Callable[[], None]] = []
        pending = deque(effects)
        while pending:
            effect = pending.popleft()
            if isinstance(effect, Takeover):
                ended.append(effect.stream)
            elif isinstance(effect, Granted):
                pending.extend(self._granted(effect.token, answers))
            elif isinstance(effect, Refused):
                self._refused(effect, answers)
        self._set_timer()
        for stream in ended:
            self._end_stream(stream)
        for answer in answers:
            answer()

    def _end_stream(self, stream: str) -> None:
        log.info("stream {stream} yields its provider slot: its viewer changed stream", stream=stream)
        try:
            self._yield_slot(stream)
        except Exception:
            log.failure("stream {stream} has not released its provider slot", stream=stream)

    def _granted(self, token: int, answers: list[Callable[[], None]]) -> list[SlotEffect]:
        """
        Note that a slot is granted, and add the answer; more than one if parts of a stream share the slot.

        :return: the effects of the requests that are no longer needed.
        """
        request = self._waiting.pop(token, None)
        if request is None:
            return []
        slot = Slot(self, request.account, token, request.stream)
        answers.append(partial(_hand_over, slot, request.answer))
        if not request.account.intermittent:
            return []
        self._shared[request.holder] = slot
        others = {other: each.answer for other, each in self._waiting.items() if each.holder == request.holder}
        answers += [partial(_hand_over, slot.share(), answer) for answer in others.values()]
        return [effect for other in others for effect in self._release(other)]

    def _refused(self, effect: Refused, answers: list[Callable[[], None]]) -> None:
        request = self._waiting.pop(effect.token, None)
        if request is not None:
            answers.append(partial(_refuse, request.answer, SourceError(Reason.NO_SLOT, effect.why)))

    def _set_timer(self) -> None:
        """Set the timer to the next deadline. A timer that fires before stays: it is set again then."""
        deadline = self.table.next_deadline()
        timer = self._timer
        if timer is not None and timer.active():
            if deadline is not None and timer.getTime() <= deadline:
                return
            timer.cancel()
        now = self._clock.seconds()
        self._timer = None if deadline is None else self._clock.callLater(max(0.0, deadline - now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self.table.tick(self._clock.seconds()))


def _hand_over(slot: Slot, answer: Deferred[Slot]) -> None:
    """Answer a request with a slot. If the request was cancelled meanwhile, release the slot."""
    if answer.called:
        slot.release()
    else:
        answer.callback(slot)


def _refuse(answer: Deferred[Slot], error: SourceError) -> None:
    """Refuse a request, unless it was cancelled meanwhile."""
    if not answer.called:
        answer.errback(error)
