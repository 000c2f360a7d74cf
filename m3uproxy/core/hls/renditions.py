"""Variants and renditions of a multivariant playlist, and their counterparts in another source.

A player keeps requesting the variant it chose. After a change of source it gets the most similar variant there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from .media_segments import decimal_integer
from .playlist import Playlist
from .playlist_lines import LineKind, PlaylistLine, attributes
from .uri_rewriter import ResourceRole, absolute_url, resource_role
from .variables import Variables

_RESOLUTION = re.compile(r"\d{1,6}x(\d{1,6})")
_VARIANT_TAG = "EXT-X-STREAM-INF"
_RENDITION_TAGS = frozenset({_VARIANT_TAG, "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF"})
#: Attributes of variants that may be the only difference between two of them.
_DETAILS = ("CODECS", "AUDIO", "VIDEO-RANGE", "FRAME-RATE", "PATHWAY-ID", "STABLE-VARIANT-ID")


@attrs.frozen
class Rendition:
    """
    A playlist that a multivariant playlist offers: a variant or a rendition.

    :ivar url: absolute URL.
    :ivar tag: name of the tag that offers the playlist.
    :ivar type: TYPE of EXT-X-MEDIA (``AUDIO``, ``SUBTITLES``), empty for variants.
    :ivar bandwidth: bit/s, 0 if unknown.
    :ivar height: height of the picture in lines, 0 if unknown.
    :ivar labels: language, name and group ID; empty strings if absent.
    :ivar details: values of other attributes that tell variants apart; empty strings if absent.
    :ivar index: position among all offered playlists.
    :ivar role: ``MAIN`` for a variant, ``SOUND`` or ``SIDE`` for a rendition.
    """

    url: str = attrs.field(repr=False)
    tag: str
    type: str
    bandwidth: int
    height: int
    labels: tuple[str, str, str]
    details: tuple[str, ...]
    index: int
    role: ResourceRole = ResourceRole.MAIN

    @property
    def is_main(self) -> bool:
        """True for a variant."""
        return self.role is ResourceRole.MAIN


def renditions(playlist: Playlist, url: str) -> tuple[Rendition, ...]:
    """
    Return the variants and renditions of a multivariant playlist.

    :param url: URL of the multivariant playlist after redirects.
    """
    variables = Variables(url)
    found: list[Rendition] = []
    variant: PlaylistLine | None = None
    for index, line in enumerate(playlist.lines):
        if line.name == "EXT-X-DEFINE":
            variables.define(line)
        values = {each.name: each.value for each in attributes(line)} if line.name in _RENDITION_TAGS else {}
        reference = values.get("URI", "")
        if line.name == _VARIANT_TAG:
            variant = line
        elif line.kind is LineKind.URI and variant is not None:
            values = {each.name: each.value for each in attributes(variant)}
            reference, variant = line.value, None
        absolute = absolute_url(url, variables.substitute(reference))
        if absolute is not None:
            role = resource_role(playlist, index, line)
            found.append(_rendition(absolute, line.name or _VARIANT_TAG, values, len(found), role))
    return tuple(found)


def definitions(playlist: Playlist, url: str) -> Mapping[str, str]:
    """Return the variables of a multivariant playlist. Its media playlists may import them."""
    variables = Variables(url)
    for line in playlist.lines:
        if line.name == "EXT-X-DEFINE":
            variables.define(line)
    return variables.values


def _rendition(url: str, tag: str, values: Mapping[str, str], index: int, role: ResourceRole) -> Rendition:
    size = _RESOLUTION.fullmatch(values.get("RESOLUTION", ""))
    return Rendition(
        url=url,
        tag=tag,
        type=values.get("TYPE", ""),
        bandwidth=decimal_integer(values.get("BANDWIDTH", "")) or 0,
        height=int(size[1]) if size else 0,
        labels=(values.get("LANGUAGE", ""), values.get("NAME", ""), values.get("GROUP-ID", "")),
        details=tuple([values.get(name, "") for name in _DETAILS]),
        index=index,
        role=role,
    )


def counterpart(wanted: Rendition | None, offered: Sequence[Rendition]) -> Rendition | None:
    """
    Return the most similar offer of another source.

    Variants are compared by height, then by bandwidth; renditions by language, then by name and group.

    :param wanted: the playlist that the player asked for; None (unknown) selects the variant of the highest bandwidth.
    :return: None if the source offers nothing of this kind.
    """
    if wanted is None:
        variants = [each for each in offered if each.tag == _VARIANT_TAG]
        return max(variants, key=lambda each: each.bandwidth, default=None)
    alike = [each for each in offered if (each.tag, each.type) == (wanted.tag, wanted.type)]
    return min(alike, key=lambda each: _distance(wanted, each), default=None)


def same_rendition(wanted: Rendition, offered: Sequence[Rendition]) -> Rendition | None:
    """
    Return the offer of the same source that takes the place of an earlier one, whose URL has ended.

    A rendition has the same language and name; a variant that is not offered any more is replaced by the nearest one.
    """
    alike = offered if wanted.is_main else [each for each in offered if each.labels[:2] == wanted.labels[:2]]
    return counterpart(wanted, alike)


def _distance(wanted: Rendition, each: Rendition) -> tuple[object, ...]:
    labels = tuple(mine != theirs for mine, theirs in zip(wanted.labels, each.labels, strict=True))
    details = sum(mine != theirs for mine, theirs in zip(wanted.details, each.details, strict=True))
    return (
        *labels,
        wanted.height != each.height,
        abs(wanted.bandwidth - each.bandwidth),
        details,
        abs(wanted.index - each.index),
    )
