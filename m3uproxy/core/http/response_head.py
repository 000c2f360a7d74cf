"""Repair of response heads that real panels send and a strict parser refuses.

Twisted's client (24.7 to 26.10) fails a whole response for one odd line, such as ``ICY 200 OK`` or ``Server : x``,
while every player plays the stream. The head is rewritten once, before the client sees it, so that the body costs
nothing. Lines that are not understood are left out, because only the status, ``Location``, ``Content-Type``, cookies
and the framing are needed.

Leniency with framing would be dangerous, so it is decided here as in RFC 9112 section 6.3: ``chunked`` takes
precedence over ``Content-Length``, and contradictory lengths are ignored. The body then lasts until the connection is
closed, which is how live streams are sent anyway. Lengths that servers state for want of one are ignored, too: the
largest numbers of some types, anything over a terabyte, and 0 in front of a body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import Reason, SourceError

#: Longest head in bytes, interim (1xx) heads included.
MAX_HEAD_BYTES = 65_536
#: Twisted accepts lines of 16,384 bytes up to the line feed, with the carriage return; a longer one is left out.
_MAX_LINE_BYTES = 16_383

#: Lengths that stand for an unknown length: the largest number of 31, 32 and 53 bits.
_PLACEHOLDERS = frozenset({(1 << 31) - 1, (1 << 32) - 1, (1 << 53) - 1})
#: The longest believed length in bytes.
_MAX_LENGTH = 10**12

_STATUS_LINE = re.compile(rb"(HTTP(?:/(\d+(?:\.\d+)?))?|ICY)[ \t]+(\d{3})(?!\d)[ \t]*(.*)", re.I | re.DOTALL)
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]+")
_BLANKS = re.compile(rb"[ \t]+")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: The header of a body in chunked coding, as a repaired head has it.
_CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n"

#: Content codings that are decoded.
_CODINGS = (b"gzip", b"deflate")

Header = tuple[bytes, bytes]


def end_of_head(buffer: bytes, start: int = 0) -> int:
    """
    Return the index behind the empty line that ends a head; -1 if the head is incomplete.

    Lines end with CRLF or with LF alone (RFC 9112 section 2.2). Empty lines before the status line are skipped.

    :param start: index at which to continue an unsuccessful search of the same buffer: its length then, less three.
    """
    leading = len(buffer) - len(buffer.lstrip(b"\r\n"))
    found = [at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := buffer.find(end, max(start, leading))) >= 0]
    return min(found, default=-1)


def repair_head(head: bytes, ignore_zero: bool = False) -> bytes:
    """
    Rewrite a response head, up to and including its empty line, so that Twisted's client accepts it.

    :param ignore_zero: ignore a length of 0 of a response with status 200: a body comes, or the connection closes.
    :raises SourceError: ``BAD_HEAD`` if the first line is not a status line.
    """
    lines = [line.removesuffix(b"\r") for line in head.lstrip(b"\r\n").rstrip(b"\r\n").split(b"\n")]
    fixed = [_status_line(lines[0])]
    least = 1 if ignore_zero and fixed[0][9:12] == b"200" else 0
    for name, value in _framing(list(_headers(lines[1:])), least):
        line = name + b": " + value
        if len(line) < _MAX_LINE_BYTES:
            fixed.append(line)
    return b"\r\n".join(fixed) + b"\r\n\r\n"


def is_interim(head: bytes) -> bool:
    """Return whether a repaired head is interim (1xx), so that another one follows (RFC 9110 section 15.2)."""
    return head[9:10] == b"1"


def is_chunked(head: bytes) -> bool:
    """Return whether the body that follows a repaired head is in chunked coding."""
    return _CHUNKED in head


def _status_line(line: bytes) -> bytes:
    match = _STATUS_LINE.fullmatch(line.strip(b" \t"))
    if match is None:
        raise SourceError(Reason.BAD_HEAD, "the response does not begin with a status line")
    _, version, status, reason = match.groups()
    number = b"1.0" if version in {None, b"1.0", b"0.9"} else b"1.1"
    return b"HTTP/%b %b %b" % (number, status, _CONTROLS.sub(b" ", reason[:200]))


def _unfolded(lines: list[bytes]) -> Iterator[bytes]:
    """Join continuation lines (obs-fold, RFC 9112 section 5.2) with one space; a first line is never continued."""
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
    """Yield the valid headers. Blanks in a name become hyphens (``Content Type: text/html``)."""
    for line in _unfolded(lines):
        name, colon, value = line.partition(b":")
        name = _BLANKS.sub(b"-", name.strip(b" \t"))
        if colon and _TOKEN.fullmatch(name):
            value = _CONTROLS.sub(b" ", value).strip(b" \t")
            if not _breaks_cookie_agent(name, value):
                yield name, _plain_coding(name, value)


def _breaks_cookie_agent(name: bytes, value: bytes) -> bool:
    """Return whether a cookie is not ASCII (RFC 6265 section 4.1.1); Twisted's ``CookieAgent`` fails on it."""
    return name.lower() in {b"set-cookie", b"set-cookie2"} and not value.isascii()


def _plain_coding(name: bytes, value: bytes) -> bytes:
    """Write the content codings that are decoded in lower case (RFC 9110 section 8.4.1.3: also ``x-gzip``)."""
    coding = value.lower().removeprefix(b"x-")
    return coding if name.lower() == b"content-encoding" and coding in _CODINGS else value


def _framing(headers: list[Header], least: int) -> list[Header]:
    """
    Return the headers with at most one header for the length of the body.

    :param least: the shortest believed length.
    """
    kept = [pair for pair in headers if pair[0].lower() not in {b"transfer-encoding", b"content-length"}]
    codings = [coding for coding in _members(headers, b"transfer-encoding") if coding != b"identity"]
    if codings and codings[-1] == b"chunked":
        kept += [(b"Content-Encoding", coding) for coding in _CODINGS if {coding, b"x-" + coding} & set(codings)]
        return [*kept, (b"Transfer-Encoding", b"chunked")]
    lengths = {_length(text) for text in _members(headers, b"content-length")}
    if not codings and len(lengths) == 1 and (length := lengths.pop()) >= least:
        kept.append((b"Content-Length", b"%d" % length))
    return kept


def _length(text: bytes) -> int:
    """Return a length in bytes; -1 if it is invalid or not believed."""
    length = int(text) if text.isdigit() and len(text) < 19 else -1
    return -1 if length in _PLACEHOLDERS or length > _MAX_LENGTH else length


def _members(headers: list[Header], header: bytes) -> list[bytes]:
    """Return the members of a list header, over all its lines, in lower case (RFC 9110 section 5.6.1)."""
    return [
        member.strip(b" \t").lower()
        for name, value in headers
        if name.lower() == header
        for member in value.split(b",")
        if member.strip(b" \t")
    ]
