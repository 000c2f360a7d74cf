"""A playlist with every URI replaced, and not a byte else.

Replaced is what a player would ask the provider for: URIs that lead to http or https, wherever the specification or
a known vendor puts one. ``skd:`` and ``data:`` URIs are none of our business. What JSON resources name in turn is for
:mod:`.manifests`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum

from ..http.uri_reference import resolve, split_reference
from .playlist import Playlist, is_nested_playlist
from .playlist_lines import LineKind, NotAPlaylist, PlaylistLine, attributes
from .variables import Variables


class ResourceKind(Enum):
    """What a URI leads to. New ones go to the end: tokens know them by their place."""

    PLAYLIST = "playlist"
    SEGMENT = "segment"
    KEY = "key"
    MAP = "map"
    DATA = "data"
    STEERING = "steering"
    ASSETS = "assets"


#: Characters of a playlist that is rewritten, many times what one can have that anybody plays: all of it is made in one
#: go, and one short URI may stand for a long one, or one line have thousands.
MAX_REWRITTEN = 4_194_304
TOO_LONG = f"a playlist that gets longer than {MAX_REWRITTEN} characters"

_SCHEMES = frozenset({"http", "https"})

#: From what a URI leads to and its absolute URL to what a player is given in its place. No quotes, commas or blanks.
RewriteUri = Callable[[ResourceKind, str], str]

_URI_ATTRIBUTES = {
    "EXT-X-MEDIA": {"URI": ResourceKind.PLAYLIST},
    "EXT-X-I-FRAME-STREAM-INF": {"URI": ResourceKind.PLAYLIST},
    "EXT-X-IMAGE-STREAM-INF": {"URI": ResourceKind.PLAYLIST},
    "EXT-X-RENDITION-REPORT": {"URI": ResourceKind.PLAYLIST},
    "EXT-X-KEY": {"URI": ResourceKind.KEY},
    "EXT-X-SESSION-KEY": {"URI": ResourceKind.KEY},
    "EXT-X-MAP": {"URI": ResourceKind.MAP},
    "EXT-X-PART": {"URI": ResourceKind.SEGMENT},
    "EXT-X-PRELOAD-HINT": {"URI": ResourceKind.SEGMENT},
    "EXT-X-SESSION-DATA": {"URI": ResourceKind.DATA},
    "EXT-X-DATERANGE": {"X-ASSET-URI": ResourceKind.PLAYLIST, "X-ASSET-LIST": ResourceKind.ASSETS},
    "EXT-X-CONTENT-STEERING": {"SERVER-URI": ResourceKind.STEERING},
}
#: Tags whose value is a URI: segments that are still being made.
_URI_VALUE_TAGS = frozenset({"EXT-X-PREFETCH", "EXT-X-TWITCH-PREFETCH"})
_REWRITTEN_TAGS = frozenset({*_URI_ATTRIBUTES, *_URI_VALUE_TAGS, "EXT-X-DEFINE"})


def rewrite(
    playlist: Playlist, url: str, rewrite_uri: RewriteUri, imported: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """
    Replace the URIs.

    :param url: of the playlist, after redirects: what its relative URIs go by.
    :param imported: variables of the multivariant playlist.
    :return: a text with its ending for each line of the playlist.
    :raises NotAPlaylist: if that gets too long.
    """
    variables = Variables(url, imported)
    lines: list[str] = []
    size = 0
    is_variant = False
    for line in playlist.lines:
        if line.kind is LineKind.URI:
            kind = ResourceKind.PLAYLIST if is_variant or is_nested_playlist(line) else ResourceKind.SEGMENT
            lines.append(_rewrite_uri_line(line, kind, variables, url, rewrite_uri))
        elif line.name in _REWRITTEN_TAGS:
            lines.append(
                _apply_replacements(line, _replacements(line, variables, url, rewrite_uri), MAX_REWRITTEN - size)
            )
        else:
            lines.append(line.raw)
        size += len(lines[-1])
        if size > MAX_REWRITTEN:
            raise NotAPlaylist(TOO_LONG)
        if line.kind in (LineKind.TAG, LineKind.URI):
            is_variant = line.name == "EXT-X-STREAM-INF"
    return tuple(lines)


def encode_playlist(bom: str, lines: Sequence[str]) -> bytes:
    """The playlist as it goes over the wire; what came as bad UTF-8 leaves as that."""
    return (bom + "".join(lines)).encode("utf-8", "surrogateescape")


Replacement = tuple[int, int, str]


def _rewrite_uri_line(
    line: PlaylistLine, kind: ResourceKind, variables: Variables, url: str, rewrite_uri: RewriteUri
) -> str:
    """A line that is a URI."""
    absolute = absolute_url(url, variables.substitute(line.value))
    if absolute is None:
        return line.raw
    return f"{line.text[: line.start]}{rewrite_uri(kind, absolute)}{line.text[line.end :]}{line.ending}"


def _replacements(line: PlaylistLine, variables: Variables, url: str, rewrite_uri: RewriteUri) -> Iterator[Replacement]:
    """What is to be put where in the line's text, from left to right."""
    if line.name == "EXT-X-DEFINE":
        definition = variables.define(line)
        if definition is not None:
            yield line.start, line.end, definition
        return
    for kind, start, end in _uri_spans(line):
        absolute = absolute_url(url, variables.substitute(line.text[start:end]))
        if absolute is not None:
            yield start, end, rewrite_uri(kind, absolute)


def _uri_spans(line: PlaylistLine) -> Iterator[tuple[ResourceKind, int, int]]:
    """Where the URIs of a tag stand, and what they lead to."""
    if line.name in _URI_VALUE_TAGS:
        yield ResourceKind.SEGMENT, line.start, line.end
    elif line.name in _URI_ATTRIBUTES:
        kinds = _URI_ATTRIBUTES[line.name]
        for each in attributes(line):
            if each.name in kinds:
                yield kinds[each.name], each.start, each.end


def absolute_url(base: str, reference: str) -> str | None:
    """What a reference leads to, without fragment; None if that is nothing that can be asked for over HTTP."""
    if not reference:
        return None
    reference = reference.partition("#")[0] or reference
    scheme, authority, _, _ = split_reference(reference)
    leads = authority != "" if scheme is None else bool(authority) and scheme.lower() in _SCHEMES
    return resolve(base, reference).partition("#")[0] if leads else None


def _apply_replacements(line: PlaylistLine, replacements: Iterator[Replacement], limit: int) -> str:
    pieces, at = [], 0
    for start, end, new in replacements:
        pieces += [line.text[at:start], new]
        at = end
        limit -= len(new)
        if limit < 0:
            raise NotAPlaylist(TOO_LONG)
    return "".join(pieces) + line.text[at:] + line.ending
