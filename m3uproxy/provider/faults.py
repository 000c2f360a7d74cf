"""The table of faults: their names, what their values look like, what they do.

One syntax serves the query of a channel's URL and ``/control``. A value that says *when* is a time (``5s``, ``0.5s``)
or a number of body bytes (``188``, ``100k``, ``2M``); ``0`` is at once. The text of each row is what the program
prints at ``/`` and what ``docs/provider.md`` explains.
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
    """A moment in a body: after so many seconds, or after so many bytes."""

    seconds: float | None = None
    octets: int | None = None


def moment(text: str) -> When:
    """Read a moment."""
    match = _WHEN.fullmatch(text)
    if match is None:
        raise ValueError("not a moment: use 5s, 5000, 100k or 2M")
    number, unit = float(match[1]), match[2]
    if unit == "s":
        return When(seconds=number)
    return When(octets=round(number * {None: 1, "k": 1000, "M": 1_000_000}[unit]))


def amount(text: str) -> float:
    """Read a number that is not negative."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError("not a finite number from 0 on")
    return number


def count(text: str) -> int:
    """Read a whole number that is not negative."""
    if not text.isdecimal():
        raise ValueError("not a whole number from 0 on")
    return int(text)


def status_code(text: str) -> int:
    """Read an HTTP status; invented ones too."""
    if not re.fullmatch(r"\d{3}", text):
        raise ValueError("not three digits")
    return int(text)


def flag(text: str) -> bool:
    """Read a switch: 1 or 0."""
    return {"1": True, "0": False}[text]


def one_of(*words: str) -> Parse:
    """Read one word of several."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError("not one of " + ", ".join(words))
        return text

    return read


def some_of(words: Iterable[str]) -> Parse:
    """Read several words, separated by commas."""
    read_word = one_of(*words)
    return lambda text: tuple(read_word(word) for word in text.split(","))


def answer(text: str) -> int | str:
    """Read what is answered over a limit: a status, or ``html``."""
    return text if text == "html" else status_code(text)


def word_or_amount(word: str) -> Parse:
    """Read one word, or a number that is not negative."""
    return lambda text: text if text == word else amount(text)


def _row(parse: Parse, text: str) -> dict[str, Any]:
    return {"parse": parse, "text": text}


REDIRECTS = ("same", "other", "relative", "path", "chain", "loop", "none", "empty", "https", "ftp")
FRAMINGS = ("close", "chunked", "chunked_cut", "none")


@attrs.frozen
class Faults:
    """What is wrong with one answer. As it stands, nothing."""

    # Before the head
    refuse: str | None = field(
        default=None,
        metadata=_row(one_of("1", "accept"), "1: reset when asked; accept: reset on connect (channel * only)"),
    )
    delay: float = field(default=0.0, metadata=_row(amount, "seconds before the head"))
    hang: str | None = field(
        default=None, metadata=_row(one_of("head", "body"), "head: never answer; body: a head, then nothing")
    )
    # Instead of the stream
    status: int | None = field(default=None, metadata=_row(status_code, "answer with this status and a short page"))
    html: str | None = field(
        default=None,
        metadata=_row(one_of("1", "video"), "a web page with 200; video: Content-Type says video all the same"),
    )
    json: bool = field(default=False, metadata=_row(flag, "1: a JSON error with 200"))
    limit: int | None = field(default=None, metadata=_row(count, "viewers the channel allows at a time"))
    account_limit: int | None = field(
        default=None, metadata=_row(count, "viewers the account (/live/USER/…) allows at a time, over all channels")
    )
    limit_answer: int | str = field(default=458, metadata=_row(answer, "status over the limit, or html"))
    limit_hold: float = field(default=0.0, metadata=_row(amount, "seconds for which a viewer who left still counts"))
    redirect: str | None = field(default=None, metadata=_row(one_of(*REDIRECTS), "302 instead: where to"))
    hops: int | None = field(default=None, metadata=_row(count, "redirects before the stream comes (1; chain: 4)"))
    redirect_status: int = field(default=302, metadata=_row(status_code, "status of the redirects"))
    expire: float | str | None = field(
        default=None,
        metadata=_row(
            word_or_amount("once"),
            "give redirects a token that is good once, or for so many seconds; the entry always is",
        ),
    )
    expire_answer: int = field(default=403, metadata=_row(status_code, "status for a token that is not good any more"))
    # The head
    head: tuple[str, ...] = field(default=(), metadata=_row(some_of(ODDITIES), "odd heads, separated by commas"))
    slow_head: float | None = field(
        default=None, metadata=_row(amount, "send the head byte by byte, with so many seconds between")
    )
    ctype: str | None = field(default=None, metadata=_row(str, "Content-Type of the stream ('' for none)"))
    # Framing of the body
    framing: str = field(default="close", metadata=_row(one_of(*FRAMINGS), "how the body's end is told"))
    length: int | None = field(
        default=None, metadata=_row(count, "announce this Content-Length; the stream goes on regardless")
    )
    gzip: bool = field(default=False, metadata=_row(flag, "1: Content-Encoding: gzip, without end"))
    metaint: int | None = field(
        default=None, metadata=_row(count, "titles of songs among the sound, each so many bytes (icy-metaint), unasked")
    )
    # The body
    burst: float = field(default=0.0, metadata=_row(amount, "seconds of the past to begin with"))
    replay: float = field(
        default=0.0, metadata=_row(amount, "seconds of what the channel has already sent to begin with, whoever got it")
    )
    remux: str | None = field(
        default=None,
        metadata=_row(
            one_of("1", "cut"),
            "multiplexed anew for each connection: other PIDs, packets, tables, counters; cut: frames of sound cut too",
        ),
    )
    restamp: float | str | None = field(
        default=None,
        metadata=_row(
            word_or_amount("wrap"),
            "all clocks later by so many seconds for each connection; wrap: so that they wrap amid the replay",
        ),
    )
    rate: float = field(default=1.0, metadata=_row(amount, "speed: 1 real time, 0 as fast as it is taken"))
    trickle: float | None = field(default=None, metadata=_row(amount, "one packet each so many seconds, no more"))
    garbage: When | None = field(default=None, metadata=_row(moment, "from then on random bytes, never 0x47"))
    cut: When | None = field(default=None, metadata=_row(moment, "leave out cut_size bytes there, then go on"))
    cut_size: int = field(default=1000, metadata=_row(count, "bytes that cut leaves out"))
    bad_chunk: When | None = field(
        default=None, metadata=_row(moment, "send a chunk size that is no number (with framing=chunked)")
    )
    no_video: When | None = field(default=None, metadata=_row(moment, "from then on no packet of the pictures"))
    frozen: When | None = field(default=None, metadata=_row(moment, "from then on the same time on every picture"))
    scrambled: When | None = field(default=None, metadata=_row(moment, "from then on pictures marked as encrypted"))
    damaged: When | None = field(default=None, metadata=_row(moment, "from then on one packet of 8 marked as damaged"))
    thin: When | None = field(default=None, metadata=_row(moment, "from then on the first packet of each picture only"))
    stall: When | None = field(default=None, metadata=_row(moment, "go silent, stay connected"))
    stall_for: float | None = field(
        default=None, metadata=_row(amount, "seconds after which a stall ends, and what was due comes at once")
    )
    close: When | None = field(default=None, metadata=_row(moment, "close"))
    torn: int = field(
        default=0, metadata=_row(count, "bytes of one packet more before a close or reset that has a time")
    )
    close_every: float | None = field(
        default=None, metadata=_row(amount, "close everybody's connection each so many seconds of the provider's clock")
    )
    reset: When | None = field(default=None, metadata=_row(moment, "reset the connection (RST)"))
    # HLS
    stale: bool = field(
        default=False, metadata=_row(flag, "1: the live window stands still from the first request on that says so")
    )
    # Which requests
    only: tuple[str, ...] = field(
        default=(),
        metadata=_row(
            lambda text: tuple(text.split(",")), "of HLS only these: master, playlist, segment, part, … or seg1003.ts"
        ),
    )
    times: int | None = field(
        default=None, metadata=_row(count, "only the first so many requests apply_packet_faults; then all is well")
    )


ROWS: dict[str, attrs.Attribute[Any]] = {row.name: row for row in attrs.fields(Faults)}


class BadFault(ValueError):
    """A fault that is not in the table, or a value that it does not take."""


def parse_faults(pairs: Iterable[tuple[str, str]], strict: bool) -> dict[str, Any]:
    """Read the faults among query pairs.

    :param strict: complain of names that are not in the table. A channel's URL may carry others, such as tokens.
    :return: only what was given, so that one set can be laid over another (see :func:`make_faults`).
    :raises BadFault: in words.
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
    """Faults from several sets; a later one wins."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return Faults(**merged)
