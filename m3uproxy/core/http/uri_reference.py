"""URL references, and what they lead to from a base (RFC 3986 section 5), without a byte of them changed.

Libraries take URLs apart and put them together again: ``a?`` becomes ``a``, ``%2B`` becomes ``+``. The URLs of IPTV
are signed, so these are different URLs. Here they are cut by the expression of RFC 3986 appendix B, which loses
nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

_REFERENCE = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def split_reference(reference: str) -> tuple[str | None, str | None, str, str]:
    """Scheme, authority, path, and query with its question mark (RFC 3986 appendix B). The fragment goes."""
    match = _REFERENCE.fullmatch(reference)
    assert match is not None  # the expression matches every text
    scheme, authority, path, query = match.groups()
    if scheme is not None and not _SCHEME.fullmatch(scheme):
        return None, None, f"{scheme}:{path}", query or ""
    return scheme, authority, path, query or ""


def resolve(base: str, reference: str) -> str:
    """
    A reference as an absolute URL (RFC 3986 section 5.2.2).

    Dot segments are removed where a path is put together, not from a URL that came whole.

    :param base: an absolute URL with an authority.
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
    """A playlist has one base and many references."""
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
