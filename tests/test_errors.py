"""Errors of sources: equal copies, and stored errors that keep no frames."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
from kept_exceptions import kept_exceptions

from m3uproxy import errors
from m3uproxy.core.failover.machine import FailoverMachine, FailoverPolicy, FailoverState
from m3uproxy.core.failover.sources import Sources
from m3uproxy.errors import Reason, SourceError, StoredError


class Segment:
    """An object that a frame refers to."""


class Keeper:
    """An object with a stored error."""

    error = StoredError()


def raised(name: str = "a segment") -> tuple[SourceError, weakref.ref[Segment]]:
    """Return an error that was raised and holds a frame, and a reference to an object of this frame."""
    segment = Segment()
    try:
        try:
            raise KeyError(name)
        except KeyError as cause:
            raise SourceError(Reason.STALLED, "no byte", 200) from cause
    except SourceError as error:
        return error, weakref.ref(segment)


def test_detached_error_is_equal_and_has_no_frames() -> None:
    error, segment = raised()
    copy = error.detached()
    assert copy == error
    assert hash(copy) == hash(error)
    assert copy != SourceError(Reason.STALLED, "no byte", 404)
    assert copy.__traceback__ is copy.__cause__ is copy.__context__ is None
    del error
    gc.collect()
    assert segment() is None


def store_in_keeper(error: SourceError) -> object:
    keeper = Keeper()
    keeper.error = error
    return keeper


def store_in_machine(error: SourceError) -> object:
    machine = FailoverMachine(FailoverPolicy(), Sources(range(2), FailoverPolicy().rules, lambda: 0.5))
    machine.start(0)
    machine.failed(0, error)
    assert machine.state is FailoverState.DIALLING
    assert machine.error == error
    return machine


@pytest.mark.parametrize("store", [store_in_keeper, store_in_machine])
def test_stored_error_keeps_no_frames(store: Callable[[SourceError], object]) -> None:
    error, segment = raised()
    kept = store(error)
    assert segment() is not None
    del error
    gc.collect()
    assert segment() is None
    assert kept is not None


def test_raising_a_stored_error_adds_nothing_to_it() -> None:
    keeper = Keeper()
    assert keeper.error is None
    keeper.error = SourceError(Reason.FULL)
    for _ in range(3):
        with pytest.raises(SourceError) as caught:
            raise keeper.error
        assert caught.value == SourceError(Reason.FULL)
    assert keeper.error.__traceback__ is None
    keeper.error = None
    assert keeper.error is None


@pytest.mark.parametrize("wrap", [lambda kept: kept, lambda kept: [kept], lambda kept: {"a": (kept,)}])
def test_kept_exceptions_are_found(monkeypatch: pytest.MonkeyPatch, wrap: Callable[[object], object]) -> None:
    assert list(kept_exceptions()) == []
    monkeypatch.setattr(errors, "KEPT", wrap(SourceError(Reason.FULL)), raising=False)
    assert [place for place in kept_exceptions() if "KEPT" in place] != []
