"""URLs for logs, statistics and messages: enough to recognise a channel, and no secret.

An IPTV URL *is* a password. Xtream panels put user and password into the path or the query, resellers put tokens into
either. A URL that leaks from one log line plays for weeks. So the rule is not "remove the known secrets" but "keep the
known harmless parts": scheme, host, port, well-known words, the last segment of the path.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: Replacement for each part that was removed.
REDACTED = "***"

#: Control characters, and bytes that are not UTF-8: a playlist may hold any, and a log line must not.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HIERARCHICAL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}):/{1,3}([^/?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?")
_IDENTIFIER = re.compile(r"\d{1,12}(?:\.[A-Za-z0-9]{1,5})?")
_FILE = re.compile(r"[^@=;]{1,80}\.[A-Za-z0-9]{1,5}")

#: Signs of ``user:password@``, ``key=value`` and lists of such in a path, plain or percent-encoded.
_ASSIGNMENT = re.compile(r"[@=:&|]|%(?:40|3D|3A|26|7C)", re.I)

#: Segments that Xtream panels put before user and password, and the number of secret segments that follow. ``hlsr`` is
#: followed by a token, user and password, the channel and a hash.
_PREFIXES = dict.fromkeys("live movie movies series timeshift timeshifts streaming".split(), 2) | {"hlsr": 5}
#: A segment of this length may be a token; the last one from twice this length, unless it names a file.
_TOKEN_LENGTH = 16
_HARMLESS_KEYS = frozenset(
    "action bitrate ch channel codec container duration end ext format lang language limit lutc offset output page"
    " profile quality resolution season start stream stream_id type utc vod_id".split()
)


@lru_cache(maxsize=1024)
def redact(url: str) -> str:
    """
    Replace every part of a URL that may be a secret.

    These are userinfo, Xtream credentials in the path, path segments that look like a token, the values of all query
    keys that are not known to be harmless, the fragment, and all that follows a bar, such as headers. Never raises.
    Text that is not a URL is replaced whole.
    """
    url, bar, _ = _UNPRINTABLE.sub("_", url).partition("|")
    return _redact_url(url) + (bar + REDACTED if bar else "")


def _redact_url(url: str) -> str:
    match = _HIERARCHICAL.fullmatch(url)
    if match is None:
        return _redact_target(url) if url.startswith("/") else REDACTED
    scheme, authority, target = match.groups()
    return f"{scheme.lower()}://{_redact_authority(authority)}{_redact_target(target)}"


def _redact_authority(authority: str) -> str:
    """Keep host and port. If they are invalid, replace all (a password with a slash in it ends up here)."""
    _, at, host = authority.rpartition("@")
    return (REDACTED + at if at else "") + (host if _HOST.fullmatch(host) or not host else REDACTED)


def _redact_target(target: str) -> str:
    path, _, _ = target.partition("#")
    path, question, query = path.partition("?")
    return _redact_path(path) + question + _redact_query(query)


def _redact_path(path: str) -> str:
    pieces = path.split("/")
    named = [index for index, piece in enumerate(pieces) if piece]
    secret = _credentials([pieces[index] for index in named])
    last = len(pieces) - 1
    for position, index in enumerate(named):
        if position in secret:
            pieces[index] = REDACTED
        else:
            pieces[index] = _redact_segment(pieces[index], index == last)
    return "/".join(pieces)


def _credentials(segments: list[str]) -> set[int]:
    """
    Return the positions of the segments that hold user and password in the URL schemes of Xtream.

    These are ``/live/<user>/<password>/<id>.ts`` and similar (also behind other segments), and
    ``/<user>/<password>/<id>``. A last segment that is a file name or a number is no credential.
    """
    secret: set[int] = set()
    for position, segment in enumerate(segments):
        secret.update(range(position + 1, position + 1 + _PREFIXES.get(segment.lower(), 0)))
    last = len(segments) - 1
    if len(segments) == 3 or (last >= 2 and _IDENTIFIER.fullmatch(segments[last])):
        secret |= {last - 2, last - 1}
    return {position for position in secret if not _is_public(segments, position)}


def _is_public(segments: list[str], position: int) -> bool:
    """Return whether a segment in the place of a credential is harmless: a leading prefix, or a file name."""
    word = segments[position] if position < len(segments) else ""
    if position == len(segments) - 1:
        return bool(_IDENTIFIER.fullmatch(word) or _FILE.fullmatch(word))
    return position == 0 and word.lower() in _PREFIXES


def _redact_segment(segment: str, is_last: bool) -> str:
    """Redact a segment that is no credential by its place: replace tokens, and parameters after a semicolon."""
    word, semicolon, _ = segment.partition(";")
    too_long = len(word) >= (_TOKEN_LENGTH if not is_last else 2 * _TOKEN_LENGTH)
    if _ASSIGNMENT.search(word) or (too_long and not (is_last and _FILE.fullmatch(word))):
        word = REDACTED
    return word + (semicolon + REDACTED if semicolon else "")


def _redact_query(query: str) -> str:
    return "".join(piece if piece in {"&", ";"} else _redact_pair(piece) for piece in re.split("([&;])", query))


def _redact_pair(pair: str) -> str:
    """Redact ``key=value``. A word without a value may be a token, too."""
    key, equals, value = pair.partition("=")
    if not pair:
        return ""
    if not equals:
        return REDACTED
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", key):
        key = REDACTED
    harmless = key.lower() in _HARMLESS_KEYS and len(value) < _TOKEN_LENGTH and "=" not in value
    return key + equals + (value if harmless or not value else REDACTED)
