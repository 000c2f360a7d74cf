"""A search for exceptions that the package keeps for as long as the process runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

from twisted.internet import main
from twisted.internet.protocol import connectionDone
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from m3uproxy.errors import SourceError

#: Exceptions of Twisted that every connection shares. They must not be raised.
SHARED = {"CONNECTION_DONE": main.CONNECTION_DONE, "CONNECTION_LOST": main.CONNECTION_LOST}


def kept_exceptions() -> Iterator[str]:
    """Yield the places of exceptions and failures that belong to a module, a class or a function of the package."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "m3uproxy":
            yield from _found(name, dict(vars(module)), {id(connectionDone)})
    yield from (name for name, shared in SHARED.items() if shared.__traceback__ is not None)


def _found(place: str, value: Any, seen: set[int]) -> Iterator[str]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (BaseException, Failure)):
        yield place
    for name, part in _parts(value):
        yield from _found(f"{place}.{name}", part, seen)


def _parts(value: Any) -> Iterator[tuple[object, Any]]:
    """Yield the parts of a container, the attributes of a class, and the default values of a function."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from enumerate(value)
    elif isinstance(value, type) and value.__module__.startswith("m3uproxy"):
        yield from dict(vars(value)).items()
    elif callable(value) and str(getattr(value, "__module__", "")).startswith("m3uproxy"):
        yield "__defaults__", getattr(value, "__defaults__", None)


def errors_with_frames() -> list[SourceError]:
    """Return the errors of sources that are in use anywhere and hold the frames that they were raised through."""
    globalLogBeginner._initialBuffer._buffer.clear()  # events that are kept for a log that is not begun
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, SourceError) and each.__traceback__ is not None]
