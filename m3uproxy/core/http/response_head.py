"""Repair of response heads that real panels send and a strict parser refuses.

Twisted's client (24.7 to 26.10) fails a whole response for one odd line, such as ``ICY 200 OK`` or ``Server : x``,
while every player plays the stream. The head is rewritten before the client sees it, once, so that it costs the
body nothing. What is not understood is left out rather than guessed at: we need the status, ``Location``,
``Content-Type``, cookies and the framing, no more.

Framing is where leniency could do harm, so it is decided here as RFC 9112 section 6.3 says: ``chunked`` wins over
``Content-Length``, and lengths that contradict each other count for nothing (the body then lasts until the close,
which is how live streams are sent anyway).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import Reason, SourceError

#: Longest head we read, in bytes, interim (1xx) heads included.
MAX_HEAD_BYTES = 65_536
#: Twisted takes lines of 16,384 bytes up to the line feed, with the carriage return; a longer one is left out.
_LONGEST_LINE = 16_383

_STATUS_LINE = re.compile(rb"(HTTP(?:/(\d+(?:\.\d+)?))?|ICY)[ \t]+(\d{3})(?!\d)[ \t]*(.*)", re.I | re.DOTALL)
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]+")
_BLANKS = re.compile(rb"[ \t]+")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Header = tuple[bytes, bytes]


def end_of_head(buffer: bytes, start: int = 0) -> int:
    """
    Find the end of a head: the index behind its empty line, or -1 if that has not come yet.

    Lines end with CRLF or with LF alone (RFC 9112 section 2.2). Empty lines in front of the status line do not
    count.

    :param start: where an earlier, vain search of the same buffer may be taken up (its length then, less three).
    """
    leading = len(buffer) - len(buffer.lstrip(b"\r\n"))
    found = [at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := buffer.find(end, max(start, leading))) >= 0]
    return min(found, default=-1)


def repair_head(head: bytes) -> bytes:
    """
    Rewrite a response head, up to and including its empty line, so that Twisted's client takes it.

    :raises SourceError: ``BAD_HEAD`` if the first line is no status line.
    """
    lines = [line.removesuffix(b"\r") for line in head.lstrip(b"\r\n").rstrip(b"\r\n").split(b"\n")]
    fixed = [_status_line(lines[0])]
    for name, value in _framing(list(_headers(lines[1:]))):
        line = name + b": " + value
        if len(line) < _LONGEST_LINE:
            fixed.append(line)
    return b"\r\n".join(fixed) + b"\r\n\r\n"


def is_interim(head: bytes) -> bool:
    """Whether a repaired head is a 1xx one, after which another follows (RFC 9110 section 15.2)."""
    return head[9:10] == b"1"


def _status_line(line: bytes) -> bytes:
    match = _STATUS_LINE.fullmatch(line.strip(b" \t"))
    if match is None:
        raise SourceError(Reason.BAD_HEAD, "the answer does not begin with a status line")
    _, version, status, reason = match.groups()
    number = b"1.0" if version in {None, b"1.0", b"0.9"} else b"1.1"
    return b"HTTP/%b %b %b" % (number, status, _CONTROLS.sub(b" ", reason[:200]))


def _unfolded(lines: list[bytes]) -> Iterator[bytes]:
    """Join continuation lines (obs-fold, RFC 9112 section 5.2) with one space; a first one stands for itself."""
    whole: bytes | None = None
    for line in lines:
        if whole is not None and line[:1] in {b" ", b"\t"}:
            whole += b" " + line.strip(b" \t")
            continue
        if whole is not None:
            yield whole
        whole = line.lstrip(b" \t")
    if whole is not None:
        yield whole


def _headers(lines: list[bytes]) -> Iterator[Header]:
    """Lines that can be read as a header; blanks in a name become hyphens (``Content Type: text/html``)."""
    for line in _unfolded(lines):
        name, colon, value = line.partition(b":")
        name = _BLANKS.sub(b"-", name.strip(b" \t"))
        if colon and _TOKEN.fullmatch(name):
            value = _CONTROLS.sub(b" ", value).strip(b" \t")
            if not _stops_cookies(name, value):
                yield name, _coding(name, value)


def _stops_cookies(name: bytes, value: bytes) -> bool:
    """Cookies are ASCII (RFC 6265 section 4.1.1); on others Twisted's ``CookieAgent`` fails the response."""
    return name.lower() in {b"set-cookie", b"set-cookie2"} and not value.isascii()


def _coding(name: bytes, value: bytes) -> bytes:
    """treq's decoder knows the content coding ``gzip`` by that spelling only (RFC 9110 section 8.4.1.3)."""
    if name.lower() == b"content-encoding" and value.lower() in {b"gzip", b"x-gzip"}:
        return b"gzip"
    return value


def _framing(headers: list[Header]) -> list[Header]:
    """The same headers with one statement on the body's length, or none."""
    kept = [pair for pair in headers if pair[0].lower() not in {b"transfer-encoding", b"content-length"}]
    codings = [coding for coding in _listed(headers, b"transfer-encoding") if coding != b"identity"]
    if codings and codings[-1] == b"chunked":
        if b"gzip" in codings or b"x-gzip" in codings:
            kept.append((b"Content-Encoding", b"gzip"))
        return [*kept, (b"Transfer-Encoding", b"chunked")]
    lengths = {_length(text) for text in _listed(headers, b"content-length")}
    if not codings and len(lengths) == 1 and (length := lengths.pop()) >= 0:
        kept.append((b"Content-Length", b"%d" % length))
    return kept


def _length(text: bytes) -> int:
    """A stated length in bytes; -1 for what is none."""
    return int(text) if text.isdigit() and len(text) < 19 else -1


def _listed(headers: list[Header], wanted: bytes) -> list[bytes]:
    """Members of a list header, over all its lines, in lower case (RFC 9110 section 5.6.1)."""
    return [
        member.strip(b" \t").lower()
        for name, value in headers
        if name.lower() == wanted
        for member in value.split(b",")
        if member.strip(b" \t")
    ]
