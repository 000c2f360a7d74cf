"""Faults of a file, given in the query of its URL: the syntax of channels, with another table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from attrs import field

from m3uproxy.provider.faults import BadFault, When, amount, count, flag, moment, status_code


def octets(text: str) -> int:
    """Parse a number of bytes: ``188``, ``100k``, ``2M``.

    :raises ValueError: if the text is invalid.
    """
    when: When = moment(text)
    if when.octets is None:
        raise ValueError("not a number of bytes: use 5000, 100k or 2M")
    return when.octets


def _row(parse: Any, text: str) -> dict[str, Any]:
    return {"parse": parse, "text": text}


@attrs.frozen
class FileFaults:
    """Properties and faults of a file. The defaults mean no fault."""

    size: int = field(default=1_000_000, metadata=_row(octets, "bytes"))
    seed: int = field(default=0, metadata=_row(count, "other content, with another ETag"))
    etag: str = field(default="strong", metadata=_row(str, "strong, weak, none, or the ETag itself without quotes"))
    modified: bool = field(default=True, metadata=_row(flag, "0: no Last-Modified"))
    ranges: bool = field(default=True, metadata=_row(flag, "0: always the whole file, with 200"))
    most: int | None = field(default=None, metadata=_row(octets, "ranges are cut to this many bytes"))
    chunked: bool = field(default=False, metadata=_row(flag, "1: 200 without a length, in chunks"))
    status: int | None = field(default=None, metadata=_row(status_code, "a page with this status instead"))
    head_status: int | None = field(default=None, metadata=_row(status_code, "the same, but only for HEAD"))
    html: bool = field(default=False, metadata=_row(flag, "1: a web page with 200 instead"))
    refuse: bool = field(default=False, metadata=_row(flag, "1: reset at the request"))
    limit: int | None = field(default=None, metadata=_row(count, "connections allowed at a time; others get 458"))
    delay: float = field(default=0.0, metadata=_row(amount, "seconds before the head"))
    rate: int | None = field(default=None, metadata=_row(octets, "bytes a second"))
    stall: int | None = field(default=None, metadata=_row(octets, "no more data after this many bytes of a body"))
    close: int | None = field(default=None, metadata=_row(octets, "close after this many bytes of a body"))
    reset: int | None = field(default=None, metadata=_row(octets, "reset after this many bytes of a body"))
    times: int | None = field(
        default=None,
        metadata=_row(count, "only this many requests stall, close, are reset, …"),
    )
    after: int | None = field(
        default=None, metadata=_row(count, "apply status, html, seed and etag only after this many requests")
    )


ROWS: dict[str, attrs.Attribute[Any]] = {row.name: row for row in attrs.fields(FileFaults)}
#: Faults that ``times`` ends, and faults that ``after`` delays.
_TIMES = frozenset({"refuse", "limit", "delay", "rate", "stall", "close", "reset", "head_status"})
_AFTER = frozenset({"status", "html", "seed", "etag"})


def file_faults(query: Iterable[tuple[str, str]], uses: int) -> FileFaults:
    """Return the faults of a request for a file. Other parameters are ignored.

    :param uses: requests for the same URL so far, this one included.
    :raises BadFault: an invalid value.
    """
    found: dict[str, Any] = {}
    for name, text in query:
        if name in ROWS:
            try:
                found[name] = ROWS[name].metadata["parse"](text)
            except (ValueError, KeyError) as error:
                raise BadFault(f"{name}={text}: {error}") from error
    times, after = found.get("times"), found.get("after")
    past = _TIMES if times is not None and uses > times else frozenset()
    to_come = _AFTER if after is not None and uses <= after else frozenset()
    return FileFaults(**{name: value for name, value in found.items() if name not in past | to_come})
