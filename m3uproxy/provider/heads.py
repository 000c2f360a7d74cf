"""Response heads, regular and malformed, byte for byte.

An oddity is a function from the lines of a head to other lines. The lines have no line ends; the status line is the
first one. Oddities apply in the order of the table. Each one was seen from a real panel, transcoder or middlebox, or
tests a lenient reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Lines = list[bytes]
Oddity = Callable[[Lines], Lines]

REASONS = {
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    509: "Bandwidth Limit Exceeded",
}


def _status_line(change: Callable[[bytes, bytes, bytes], bytes]) -> Oddity:
    def odd(lines: Lines) -> Lines:
        version, code, reason = [*lines[0].split(b" ", 2), b"", b""][:3]
        return [change(version, code, reason), *lines[1:]]

    return odd


def _append(*more: bytes) -> Oddity:
    return lambda lines: [*lines, *more]


def _insert(place: int, *more: bytes) -> Oddity:
    return lambda lines: [*lines[:place], *more, *lines[place:]]


#: Oddities by name. ``lf`` and ``missing`` change the bytes between the lines; :func:`render_head` applies them.
ODDITIES: dict[str, Oddity] = {
    "icy": _status_line(lambda version, code, reason: b"ICY " + code + b" " + reason),
    "http1": _status_line(lambda version, code, reason: b"HTTP/1 " + code + b" " + reason),
    "http10": _status_line(lambda version, code, reason: b"HTTP/1.0 " + code + b" " + reason),
    "lower": _status_line(lambda version, code, reason: version.lower() + b" " + code + b" " + reason.lower()),
    "no_reason": _status_line(lambda version, code, reason: version + b" " + code),
    "spaces": _status_line(lambda version, code, reason: version + b"   " + code + b"  " + reason),
    "text_status": _status_line(lambda version, code, reason: version + b" OK " + reason),
    "bare": lambda lines: lines[:1],
    "folded_first": _insert(1, b" continued: from nothing"),
    "folded": _append(b"X-Folded: one", b"\ttwo"),
    "no_colon": _append(b"this line has no colon"),
    "empty_name": _append(b": a value without a name"),
    "space_name": _append(b"X Powered By: panel"),
    "space_colon": _append(b"Server : x"),
    "latin1": _append(b"X-Operator: T\xe9l\xe9"),
    "nul": _append(b"X-Nul: a\0b"),
    "identity": _append(b"Transfer-Encoding: identity"),
    "two_lengths": _append(b"Content-Length: 1000", b"Content-Length: 2000"),
    "bad_length": _append(b"Content-Length: -1"),
    "many": _append(*(b"X-Field-%d: x" % number for number in range(600))),
    "long_line": _append(b"X-Long: " + b"a" * 20_000),
    "huge": _append(*(b"X-Huge-%d: " % number + b"a" * 4000 for number in range(262))),
    "endless": _append(*(b"X-Endless-%d: " % number + b"a" * 4000 for number in range(2620))),
    "leading_lines": _insert(0, b"", b""),
    "continue": _insert(0, b"HTTP/1.1 100 Continue", b""),
    "early_hints": _insert(0, b"HTTP/1.1 103 Early Hints", b"Link: </x>", b""),
    "lf": lambda lines: lines,
    "missing": lambda lines: lines,
}


def render_head(status: int, headers: Iterable[tuple[str, str]], oddities: Iterable[str] = ()) -> bytes:
    """Return the bytes of a head, with the empty line.

    :param oddities: names from :data:`ODDITIES`.
    """
    chosen = set(oddities)
    if "missing" in chosen:
        return b""
    reason = REASONS.get(status, "")
    lines = [f"HTTP/1.1 {status} {reason}".rstrip().encode("ascii")]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
    for name, odd in ODDITIES.items():
        if name in chosen:
            lines = odd(lines)
    end = b"\n" if "lf" in chosen else b"\r\n"
    return end.join([*lines, b"", b""])
