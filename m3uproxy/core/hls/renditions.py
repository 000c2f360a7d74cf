"""What a multivariant playlist offers, and which offer of another source is the counterpart of one.

A player goes on asking for the variant that it chose. When the stream moves to another source, what it gets is the
variant there that is most like it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from .media_segments import decimal_integer
from .playlist import Playlist
from .playlist_lines import LineKind, PlaylistLine, attributes
from .uri_rewriter import absolute_url
from .variables import Variables

_RESOLUTION = re.compile(r"\d{1,6}x(\d{1,6})")
_VARIANT_TAG = "EXT-X-STREAM-INF"
_RENDITION_TAGS = frozenset({_VARIANT_TAG, "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF"})


@attrs.frozen
class Rendition:
    """
    One playlist that is offered.

    :ivar url: absolute.
    :ivar tag: the tag that offers it.
    :ivar type: of EXT-X-MEDIA (``AUDIO``, ``SUBTITLES``), else empty.
    :ivar bandwidth: bit/s, 0 if not told.
    :ivar height: lines of the picture, 0 if not told.
    :ivar labels: language, name, group, where there are any.
    :ivar index: its place among all that are offered.
    """

    url: str = attrs.field(repr=False)
    tag: str
    type: str
    bandwidth: int
    height: int
    labels: tuple[str, str, str]
    index: int


def renditions(playlist: Playlist, url: str) -> tuple[Rendition, ...]:
    """
    What is offered.

    :param url: of the multivariant playlist, after redirects.
    """
    variables = Variables(url)
    found: list[Rendition] = []
    variant: PlaylistLine | None = None
    for line in playlist.lines:
        if line.name == "EXT-X-DEFINE":
            variables.define(line)
        values = {each.name: each.value for each in attributes(line)} if line.name in _RENDITION_TAGS else {}
        reference = values.get("URI", "")
        if line.kind is LineKind.URI and variant is not None:
            values = {each.name: each.value for each in attributes(variant)}
            reference = line.value
        absolute = absolute_url(url, variables.substitute(reference))
        if absolute is not None:
            found.append(_rendition(absolute, line.name or _VARIANT_TAG, values, len(found)))
        if line.kind in (LineKind.TAG, LineKind.URI):
            variant = line if line.name == _VARIANT_TAG else None
    return tuple(found)


def definitions(playlist: Playlist, url: str) -> Mapping[str, str]:
    """The variables that a multivariant playlist defines, which its variants may import."""
    variables = Variables(url)
    for line in playlist.lines:
        if line.name == "EXT-X-DEFINE":
            variables.define(line)
    return variables.values


def _rendition(url: str, tag: str, values: Mapping[str, str], index: int) -> Rendition:
    size = _RESOLUTION.fullmatch(values.get("RESOLUTION", ""))
    return Rendition(
        url=url,
        tag=tag,
        type=values.get("TYPE", ""),
        bandwidth=decimal_integer(values.get("BANDWIDTH", "")) or 0,
        height=int(size[1]) if size else 0,
        labels=(values.get("LANGUAGE", ""), values.get("NAME", ""), values.get("GROUP-ID", "")),
        index=index,
    )


def counterpart(wanted: Rendition | None, offered: Sequence[Rendition]) -> Rendition | None:
    """
    What comes nearest: same height, then nearest bandwidth; for sound and subtitles the same language, then name.

    :param wanted: None if nothing is known of it: then it is taken for the best variant.
    :return: None if nothing of that kind is offered.
    """
    if wanted is None:
        variants = [each for each in offered if each.tag == _VARIANT_TAG]
        return max(variants, key=lambda each: each.bandwidth, default=None)
    alike = [each for each in offered if (each.tag, each.type) == (wanted.tag, wanted.type)]
    return min(alike, key=lambda each: _distance(wanted, each), default=None)


def _distance(wanted: Rendition, each: Rendition) -> tuple[object, ...]:
    labels = tuple(mine != theirs for mine, theirs in zip(wanted.labels, each.labels, strict=True))
    return (
        *labels,
        wanted.height != each.height,
        abs(wanted.bandwidth - each.bandwidth),
        abs(wanted.index - each.index),
    )
