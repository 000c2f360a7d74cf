"""URI references and their resolution against a base (RFC 3986 section 5), without a change of any byte.

Libraries split URLs and join them again: ``a?`` becomes ``a``, ``%2B`` becomes ``+``. IPTV URLs are signed, so these
are different URLs. Here they are split by the expression of RFC 3986 appendix B, which loses nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

_REFERENCE = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def split_reference(reference: str) -> tuple[str | None, str | None, str, str]:
    """Return scheme, authority, path, and query with its question mark (RFC 3986 appendix B). Drop the fragment."""
    match = _REFERENCE.fullmatch(reference)
    assert match is not None  # the expression matches any text
    scheme, authority, path, query = match.groups()
    if scheme is not None and not _SCHEME.fullmatch(scheme):  # a colon in a path, perhaps of a whole URL in it
        return None, None, reference[: match.end(3)], query or ""
    return scheme, authority, path, query or ""


def resolve(base: str, reference: str) -> str:
    """
    Return a reference as an absolute URL (RFC 3986 section 5.2.2).

    Dot segments are removed from a path that is put together, not from an absolute URL.

    :param base: absolute URL with an authority.
    """
    scheme, authority, path, query = split_reference(reference)
    if scheme is not None:
        return reference
    base_scheme, base_authority, base_path, base_query = _split_base(base)
    if authority is not None:
        return f"{base_scheme}:{reference}"
    origin = f"{base_scheme}://{base_authority}"
    if not path:
        return origin + base_path + (query or base_query)
    if not path.startswith("/"):
        path = (base_path[: base_path.rfind("/") + 1] or "/") + path
    return origin + _without_dot_segments(path) + query


@lru_cache(maxsize=64)
def _split_base(base: str) -> tuple[str | None, str | None, str, str]:
    """Split a base URL. Cached, because a playlist has one base and many references."""
    return split_reference(base)


def _without_dot_segments(path: str) -> str:
    """Remove ``.`` and ``..`` from an absolute path, keeping empty segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
