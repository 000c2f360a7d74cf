"""Table of faults: names, syntax of the values, effects.

The query of a channel's URL and ``/control`` use the same syntax. A moment is a time (``5s``, ``0.5s``) or a number of
body bytes (``188``, ``100k``, ``2M``); ``0`` is immediate. The program prints the text of each row at ``/``;
``docs/provider.md`` explains the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, cast

import attrs
from attrs import field

from m3uproxy.provider.heads import ODDITIES

Parse = Callable[[str], Any]
_WHEN = re.compile(r"(\d+(?:\.\d+)?)(s|k|M)?")


@attrs.frozen
class When:
    """A moment in a body: a number of seconds or of bytes from its start."""

    seconds: float | None = None
    octets: int | None = None


def moment(text: str) -> When:
    """Parse a moment.

    :raises ValueError: if the text is invalid.
    """
    match = _WHEN.fullmatch(text)
    if match is None:
        raise ValueError("not a time or a number of bytes: use 5s, 5000, 100k or 2M")
    number, unit = float(match[1]), match[2]
    if unit == "s":
        return When(seconds=number)
    return When(octets=round(number * {None: 1, "k": 1000, "M": 1_000_000}[unit]))


def amount(text: str) -> float:
    """Parse a finite number of at least 0.

    :raises ValueError: if the text is invalid.
    """
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError("not a finite number of at least 0")
    return number


def count(text: str) -> int:
    """Parse a whole number of at least 0.

    :raises ValueError: if the text is invalid.
    """
    if not text.isdecimal():
        raise ValueError("not a whole number of at least 0")
    return int(text)


def status_code(text: str) -> int:
    """Parse an HTTP status of three digits, registered or not.

    :raises ValueError: if the text is invalid.
    """
    if not re.fullmatch(r"\d{3}", text):
        raise ValueError("not three digits")
    return int(text)


def flag(text: str) -> bool:
    """Parse a switch: 1 or 0.

    :raises KeyError: if the text is invalid.
    """
    return {"1": True, "0": False}[text]


def one_of(*words: str) -> Parse:
    """Return a parser of a single word from a list."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError("not one of " + ", ".join(words))
        return text

    return read


def some_of(words: Iterable[str]) -> Parse:
    """Return a parser of words from a list, separated by commas."""
    read_word = one_of(*words)
    return lambda text: tuple(read_word(word) for word in text.split(","))


def answer(text: str) -> int | str:
    """Parse the answer over a limit: a status, or ``html``.

    :raises ValueError: if the text is invalid.
    """
    return text if text == "html" else status_code(text)


def word_or_amount(word: str) -> Parse:
    """Return a parser of a word or of a finite number of at least 0."""
    return lambda text: text if text == word else amount(text)


def _row(parse: Parse, text: str) -> dict[str, Any]:
    return {"parse": parse, "text": text}


REDIRECTS = ("same", "other", "relative", "path", "chain", "loop", "none", "empty", "https", "ftp")
FRAMINGS = ("close", "chunked", "chunked_cut", "none")


@attrs.frozen
class Faults:
    """Faults of an answer. The defaults mean no fault."""

    # Before the head
    refuse: str | None = field(
        default=None,
        metadata=_row(one_of("1", "accept"), "1: reset at the request; accept: reset at connect (channel * only)"),
    )
    delay: float = field(default=0.0, metadata=_row(amount, "seconds before the head"))
    hang: str | None = field(
        default=None, metadata=_row(one_of("head", "body"), "head: no answer; body: a head, then no data")
    )
    # Instead of the stream
    status: int | None = field(default=None, metadata=_row(status_code, "answer with this status and a short page"))
    html: str | None = field(
        default=None,
        metadata=_row(one_of("1", "video"), "a web page with 200; video: with Content-Type video/mp2t"),
    )
    json: bool = field(default=False, metadata=_row(flag, "1: a JSON error with 200"))
    limit: int | None = field(default=None, metadata=_row(count, "viewers the channel allows at a time"))
    account_limit: int | None = field(
        default=None, metadata=_row(count, "viewers the account (/live/USER/…) allows at a time, over all channels")
    )
    limit_answer: int | str = field(default=458, metadata=_row(answer, "status over the limit, or html"))
    limit_hold: float = field(default=0.0, metadata=_row(amount, "seconds for which a closed connection still counts"))
    redirect: str | None = field(
        default=None, metadata=_row(one_of(*REDIRECTS), "target of a 302 instead of the stream")
    )
    hops: int | None = field(default=None, metadata=_row(count, "redirects before the stream comes (1; chain: 4)"))
    redirect_status: int = field(default=302, metadata=_row(status_code, "status of the redirects"))
    expire: float | str | None = field(
        default=None,
        metadata=_row(
            word_or_amount("once"),
            "redirect with a token that is valid once, or for this many seconds",
        ),
    )
    expire_answer: int = field(default=403, metadata=_row(status_code, "status for an expired token"))
    # The head
    head: tuple[str, ...] = field(default=(), metadata=_row(some_of(ODDITIES), "malformed heads, separated by commas"))
    slow_head: float | None = field(
        default=None, metadata=_row(amount, "send the head byte by byte, this many seconds apart")
    )
    ctype: str | None = field(default=None, metadata=_row(str, "Content-Type of the stream ('' for none)"))
    # Framing of the body
    framing: str = field(default="close", metadata=_row(one_of(*FRAMINGS), "how the end of the body is marked"))
    length: int | None = field(
        default=None, metadata=_row(count, "announce this Content-Length; the stream continues beyond it")
    )
    gzip: bool = field(default=False, metadata=_row(flag, "1: Content-Encoding: gzip, flushed with each write"))
    metaint: int | None = field(
        default=None,
        metadata=_row(count, "ICY metadata every this many bytes (icy-metaint), also without Icy-MetaData"),
    )
    # The body
    burst: float = field(default=0.0, metadata=_row(amount, "seconds of past broadcast at the start"))
    replay: float = field(
        default=0.0, metadata=_row(amount, "seconds of what the channel has already sent at the start, to any client")
    )
    remux: str | None = field(
        default=None,
        metadata=_row(
            one_of("1", "cut"),
            "a new multiplex for each connection: PIDs, packets, tables, counters; cut: also split audio frames",
        ),
    )
    restamp: float | str | None = field(
        default=None,
        metadata=_row(
            word_or_amount("wrap"),
            "all clocks later by this many seconds for each connection; wrap: clocks wrap within the replay",
        ),
    )
    rate: float = field(default=1.0, metadata=_row(amount, "speed: 1 real time, 0 as fast as the client reads"))
    trickle: float | None = field(default=None, metadata=_row(amount, "one packet every this many seconds"))
    garbage: When | None = field(default=None, metadata=_row(moment, "from then on random bytes without 0x47"))
    cut: When | None = field(default=None, metadata=_row(moment, "leave out cut_size bytes, then continue"))
    cut_size: int = field(default=1000, metadata=_row(count, "bytes that cut leaves out"))
    bad_chunk: When | None = field(
        default=None, metadata=_row(moment, "send an invalid chunk size (with framing=chunked)")
    )
    no_video: When | None = field(default=None, metadata=_row(moment, "from then on no video packet"))
    no_media: When | None = field(
        default=None, metadata=_row(moment, "from then on null packets for pictures and sound")
    )
    frozen: When | None = field(default=None, metadata=_row(moment, "from then on the same timestamp on every picture"))
    scrambled: When | None = field(
        default=None, metadata=_row(moment, "from then on video packets marked as scrambled")
    )
    damaged: When | None = field(default=None, metadata=_row(moment, "from then on one packet of 8 marked as damaged"))
    thin: When | None = field(default=None, metadata=_row(moment, "from then on the first packet of each picture only"))
    stall: When | None = field(default=None, metadata=_row(moment, "send no data, stay connected"))
    stall_for: float | None = field(
        default=None, metadata=_row(amount, "seconds until a stall ends; the data due is then sent at once")
    )
    close: When | None = field(default=None, metadata=_row(moment, "close"))
    torn: int = field(default=0, metadata=_row(count, "bytes of a partial packet before a close or reset at a time"))
    close_every: float | None = field(
        default=None, metadata=_row(amount, "close all connections every this many seconds of the provider's clock")
    )
    reset: When | None = field(default=None, metadata=_row(moment, "reset the connection (RST)"))
    # HLS
    stale: bool = field(
        default=False, metadata=_row(flag, "1: the live window stops at the first playlist requested with this fault")
    )
    # Which requests
    only: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            lambda text: tuple(text.split(",")), "of HLS only these: master, playlist, segment, part, … or seg1003.ts"
        ),
    )
    times: int | None = field(default=None, metadata=_row(count, "apply the faults to this many requests only"))


ROWS: dict[str, attrs.Attribute[Any]] = {row.name: row for row in attrs.fields(Faults)}


class BadFault(ValueError):
    """An unknown fault, or an invalid value. The text names both."""


def parse_faults(pairs: Iterable[tuple[str, str]], strict: bool) -> dict[str, Any]:
    """Parse the faults among query pairs.

    :param strict: refuse unknown names. The URL of a channel may have other parameters, such as tokens.
    :return: values of the given names only, so that sets can be merged (see :func:`make_faults`).
    :raises BadFault: an unknown name if ``strict``, or an invalid value.
    """
    found: dict[str, Any] = {}
    for name, text in pairs:
        if name not in ROWS:
            if strict:
                raise BadFault(f"no such fault: {name}")
            continue
        try:
            found[name] = cast(Parse, ROWS[name].metadata["parse"])(text)
        except (ValueError, KeyError) as error:
            raise BadFault(f"{name}={text}: {error}") from error
    return found


def make_faults(*layers: dict[str, Any]) -> Faults:
    """Merge sets of faults; later sets override earlier ones."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return Faults(**merged)
