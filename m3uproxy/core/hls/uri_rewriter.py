"""URI rewriting in playlists. All other bytes stay the same.

Rewritten are the URIs that a player would request from the provider: http and https URIs at every position that the
specification or a known vendor defines. ``skd:`` and ``data:`` URIs are kept. URIs inside JSON resources are rewritten
by :mod:`.json_manifests`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache

from ..http.uri_reference import resolve, split_reference
from .playlist import Playlist, is_nested_playlist
from .playlist_lines import LineKind, OversizedPlaylist, PlaylistLine, attribute, attributes
from .steps import CHARACTERS, MAX_WEIGHT, Steps, run_steps
from .variables import Variables


class ResourceKind(Enum):
    """The kinds of resources that a URI can name. Append new members: tokens encode the position."""

    PLAYLIST = "playlist"
    SEGMENT = "segment"
    KEY = "key"
    MAP = "map"
    DATA = "data"
    STEERING = "steering"
    ASSETS = "assets"
    ASSET = "asset"
    SCHEDULE = "schedule"


class ResourceRole(Enum):
    """
    The part that a resource has in a programme. Append new members: tokens encode the position.

    ``MAIN`` is the main programme, ``SOUND`` the separate sound without which it is silent. ``SIDE`` is anything
    beside it: subtitles, other sound, trick play, advertisements, session data.
    """

    MAIN = "main"
    SOUND = "sound"
    SIDE = "side"


#: Longest rewritten playlist in characters: a day of 2-second segments. The result may be much longer than the source,
#: because a short reference may be a long URL, and a line may hold thousands.
MAX_REWRITTEN = 16_777_216
TOO_LONG = f"a playlist of more than {MAX_REWRITTEN} characters after rewriting"

_SCHEMES = frozenset({"http", "https"})
#: The usual reference: a file in the folder of the playlist or below, without dot segments and fragment.
_BELOW_FOLDER = re.compile(r"[A-Za-z0-9_][^:/?#]*(?:/[^:/?#.][^:/?#]*)*(?:\?[^#]*)?", re.DOTALL)
#: Constants of the module, because an attribute of an Enum takes long in a loop.
_URI, _PLAYLIST, _SEGMENT = LineKind.URI, ResourceKind.PLAYLIST, ResourceKind.SEGMENT
_MAIN = ResourceRole.MAIN

#: Maps the kind, the absolute URL and the role of a resource to the URI for players. The role is the one in this
#: playlist, which may itself not be part of the main programme. No quotes, commas or blanks in the result.
RewriteUri = Callable[[ResourceKind, str, ResourceRole], str]

_URI_ATTRIBUTES = {
    "EXT-X-STREAM-INF": {"URI": ResourceKind.PLAYLIST},
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
    "EXT-X-DATERANGE": {"X-ASSET-URI": ResourceKind.ASSET, "X-ASSET-LIST": ResourceKind.ASSETS},
    "EXT-X-CONTENT-STEERING": {"SERVER-URI": ResourceKind.STEERING},
}
#: Kinds by the ``TYPE`` of EXT-X-PRELOAD-HINT. A hinted URI is the one that a later tag names, as players know it.
_HINTED_KINDS = {"MAP": {"URI": ResourceKind.MAP}, "KEY": {"URI": ResourceKind.KEY}}
#: Classes of date ranges whose ``X-URI`` players request (RFC 8216bis appendices F and H).
_PRELOAD_CLASS, _SCHEDULE_CLASS = "com.apple.hls.preload", "com.apple.hls.daterange-schedule"
#: Tags whose URIs are not part of the main programme, except the sound that it needs (``Playlist.sound_lines``).
_SIDE_TAGS = frozenset(
    "EXT-X-MEDIA EXT-X-I-FRAME-STREAM-INF EXT-X-IMAGE-STREAM-INF EXT-X-SESSION-DATA EXT-X-DATERANGE"
    " EXT-X-CONTENT-STEERING".split()
)
#: Tags whose value is a URI: segments that are not complete yet.
_URI_VALUE_TAGS = frozenset({"EXT-X-PREFETCH", "EXT-X-TWITCH-PREFETCH"})
#: Tags that describe the next URI line. Any other line may stand between them and that URI.
_URI_LINE_TAGS = frozenset({"EXT-X-STREAM-INF", "EXTINF"})
_REWRITTEN_TAGS = frozenset({*_URI_ATTRIBUTES, *_URI_VALUE_TAGS, "EXT-X-DEFINE"})


def rewrite(
    playlist: Playlist, url: str, rewrite_uri: RewriteUri, imported: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """
    Replace the URIs of a playlist.

    :param url: URL of the playlist after redirects, the base of relative URIs.
    :param rewrite_uri: returns the URI for players.
    :param imported: variables of the multivariant playlist.
    :return: the text of each line with its ending.
    :raises OversizedPlaylist: if the result is longer than :data:`MAX_REWRITTEN`.
    """
    return run_steps(rewrite_steps(playlist, url, rewrite_uri, imported))


def rewrite_steps(
    playlist: Playlist, url: str, rewrite_uri: RewriteUri, imported: Mapping[str, str] | None = None
) -> Steps[tuple[str, ...]]:
    """Replace the URIs in steps; see :func:`rewrite`."""
    rewriter = _PlaylistRewriter(playlist, url, rewrite_uri, imported)
    weight = 0
    for line in playlist.lines:
        rewriter.add(line)
        weight += 1 + (len(line.text) + len(rewriter.lines[-1])) // CHARACTERS
        if weight > MAX_WEIGHT:
            weight = 0
            yield
    return tuple(rewriter.lines)


class _PlaylistRewriter:
    """
    The rewriter of one playlist.

    :ivar lines: the lines so far, with their endings.
    """

    def __init__(
        self, playlist: Playlist, url: str, rewrite_uri: RewriteUri, imported: Mapping[str, str] | None
    ) -> None:
        self.lines: list[str] = []
        self._playlist = playlist
        self._url = url
        self._rewrite_uri = rewrite_uri
        self._variables = Variables(url, imported)
        self._left = MAX_REWRITTEN
        self._is_variant = False

    def add(self, line: PlaylistLine) -> None:
        """Rewrite the next line."""
        if line.kind is _URI:
            new = self._uri_line(line)
            self._is_variant = False
        elif line.name in _REWRITTEN_TAGS:
            role = resource_role(self._playlist, len(self.lines), line)
            replacements = _replacements(line, role, self._variables, self._url, self._rewrite_uri)
            new = _apply_replacements(line, replacements, self._left)
        else:
            new = line.text + line.ending
        if line.name in _URI_LINE_TAGS:
            self._is_variant = line.name == "EXT-X-STREAM-INF"
        self.lines.append(new)
        self._left -= len(new)
        if self._left < 0:
            raise OversizedPlaylist(TOO_LONG)

    def _uri_line(self, line: PlaylistLine) -> str:
        """Return a URI line with the URI replaced."""
        _, text, ending, _, start, end = line
        absolute = absolute_url(self._url, self._variables.substitute(text[start:end]))
        if absolute is None:
            return text + ending
        named = self._playlist.multivariant or self._is_variant or is_nested_playlist(line)
        kind = _PLAYLIST if named else _SEGMENT
        return f"{text[:start]}{self._rewrite_uri(kind, absolute, _MAIN)}{text[end:]}{ending}"


def encode_playlist(bom: str, lines: Sequence[str]) -> bytes:
    """Return the playlist in UTF-8. Invalid bytes of the source are restored."""
    return run_steps(encode_steps(bom, lines))


def encode_steps(bom: str, lines: Sequence[str]) -> Steps[bytes]:
    """Encode in steps; see :func:`encode_playlist`. Text with invalid bytes is slow to encode."""
    pieces = [bom.encode()]
    for at in range(0, len(lines), MAX_WEIGHT):
        pieces.append("".join(lines[at : at + MAX_WEIGHT]).encode("utf-8", "surrogateescape"))
        yield
    return b"".join(pieces)


#: Start and end in the text of the line, and the new text.
Replacement = tuple[int, int, str]


def _replacements(
    line: PlaylistLine, role: ResourceRole, variables: Variables, url: str, rewrite_uri: RewriteUri
) -> Iterator[Replacement]:
    """Yield start, end and new text of each replacement in the line, from left to right."""
    if line.name == "EXT-X-DEFINE":
        definition = variables.define(line)
        if definition is not None:
            yield line.start, line.end, definition
        return
    for kind, start, end in _uri_spans(line):
        absolute = absolute_url(url, variables.substitute(line.text[start:end]))
        if absolute is not None:
            yield start, end, rewrite_uri(kind, absolute, role)


def _uri_spans(line: PlaylistLine) -> Iterator[tuple[ResourceKind, int, int]]:
    """Yield kind, start and end of each URI in a tag."""
    if line.name in _URI_VALUE_TAGS:
        yield ResourceKind.SEGMENT, line.start, line.end
    elif "URI" in line.text or "LIST" in line.text:
        kinds = _attribute_kinds(line)
        for each in attributes(line):
            if each.name in kinds:
                yield kinds[each.name], each.start, each.end


def _attribute_kinds(line: PlaylistLine) -> Mapping[str, ResourceKind]:
    """Return the attributes of a tag that name resources, and the kinds of these."""
    kinds: Mapping[str, ResourceKind] = _URI_ATTRIBUTES[line.name]
    if line.name == "EXT-X-PRELOAD-HINT":
        return _HINTED_KINDS.get(attribute(line, "TYPE") or "", kinds)
    if line.name == "EXT-X-DATERANGE" and "X-URI" in line.text:
        return date_range_kinds({each.name: each.value for each in attributes(line)})
    return kinds


def date_range_kinds(values: Mapping[str, object]) -> Mapping[str, ResourceKind]:
    """
    Return the attributes of a date range that may name resources, and the kinds of these.

    ``X-URI`` names a schedule of date ranges, or what players load before a date range that names it, too.

    :param values: the attributes by name, without quotes.
    """
    kinds, named = _URI_ATTRIBUTES["EXT-X-DATERANGE"], values.get("CLASS")
    if _SCHEDULE_CLASS in (named, values.get("X-TARGET-CLASS") if named == _PRELOAD_CLASS else None):
        return {**kinds, "X-URI": ResourceKind.SCHEDULE}
    if named == _PRELOAD_CLASS:
        is_list = str(values.get("X-URI")).partition("?")[0].lower().endswith(".json")
        return {**kinds, "X-URI": ResourceKind.ASSETS if is_list else ResourceKind.ASSET}
    return kinds


def resource_role(playlist: Playlist, index: int, line: PlaylistLine) -> ResourceRole:
    """
    Return the role of a resource that a line names.

    :param index: the index of the line.
    """
    if line.name not in _SIDE_TAGS:
        return ResourceRole.MAIN
    return ResourceRole.SOUND if index in playlist.sound_lines else ResourceRole.SIDE


def absolute_url(base: str, reference: str) -> str | None:
    """
    Return the absolute URL of a reference without its fragment.

    If the reference does not lead to an http or https URL, return None.
    """
    if _BELOW_FOLDER.fullmatch(reference):
        return _folder(base) + reference
    if not reference:
        return None
    reference = reference.partition("#")[0] or reference
    scheme, authority, _, _ = split_reference(reference)
    leads = authority != "" if scheme is None else bool(authority) and scheme.lower() in _SCHEMES
    return resolve(base, reference).partition("#")[0] if leads else None


@lru_cache(maxsize=64)
def _folder(base: str) -> str:
    """Return the URL that references to files of the same folder are appended to."""
    return resolve(base, "x")[:-1]


def _apply_replacements(line: PlaylistLine, replacements: Iterator[Replacement], limit: int) -> str:
    pieces, at = [], 0
    for start, end, new in replacements:
        pieces += [line.text[at:start], new]
        at = end
        limit -= len(new)
        if limit < 0:
            raise OversizedPlaylist(TOO_LONG)
    return "".join(pieces) + line.text[at:] + line.ending
