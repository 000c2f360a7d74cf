"""The URIs of a stream as players get them in playlists and manifests."""

from __future__ import annotations

from collections.abc import Callable

from ..core.hls.resource_types import path_ending, segment_ending
from ..core.hls.uri_rewriter import ResourceKind, ResourceRole, RewriteUri
from ..core.hls.url_tokens import TokenTarget, UrlTokens, rung_of
from .served_playlist import CLIENT_MARK, PREFIX_MARK

#: Kinds of resources that one variant has for itself.
_RUNG_KINDS = frozenset({ResourceKind.SEGMENT, ResourceKind.MAP})
_SEGMENT, _MAIN = ResourceKind.SEGMENT, ResourceRole.MAIN


class PlayerUris:
    """Makes the URIs of one stream for players."""

    def __init__(self, tokens: UrlTokens, stream_id: str) -> None:
        self._tokens = tokens
        self._id = stream_id

    def rewriter(
        self,
        source: bytes,
        public: bool,
        parent: TokenTarget | None,
        find_level: Callable[[str], TokenTarget | None] | None = None,
        is_subtitles: bool = False,
    ) -> RewriteUri:
        """
        Return the function that makes the URIs in one playlist or manifest, called in their order.

        :param source: the name of the source (:func:`m3uproxy.core.hls.url_tokens.source_name`).
        :param public: True if a public host sent the playlist.
        :param parent: the playlist or manifest itself; None for the first one of the stream.
        :param find_level: returns the playlist of the source that a rendition report means, if it is known.
        :param is_subtitles: True for the playlist of a subtitle rendition.
        """
        parent_role = ResourceRole.MAIN if parent is None else parent.role
        in_asset = parent is not None and parent.kind in (ResourceKind.ASSET, ResourceKind.ASSETS)
        rung = 0 if parent is None or parent_role is ResourceRole.SIDE else rung_of(parent.url)
        segment = TokenTarget("", source, ResourceKind.SEGMENT, public, parent_role, rung)
        front, make_token = f"{PREFIX_MARK}hls/{self._id}/segment.", self._tokens.maker(self._id, segment)

        default, has_map = "vtt" if is_subtitles else "ts", False

        def rewrite_uri(kind: ResourceKind, url: str, role: ResourceRole) -> str:
            nonlocal has_map
            if kind is _SEGMENT and role is _MAIN:  # thousands in some playlists
                ending = segment_ending(url, default, has_map)
                return f"{front}{ending}?url={make_token(url)}&client_id={CLIENT_MARK}"
            has_map = has_map or kind is ResourceKind.MAP
            level = find_level(url) if find_level is not None and kind is ResourceKind.PLAYLIST else None
            if level is not None:
                return self._uri(level)
            role = parent_role if role is ResourceRole.MAIN else role
            if in_asset and kind is ResourceKind.PLAYLIST:
                kind, role = ResourceKind.ASSET, ResourceRole.SIDE
            own_rung = rung if kind in _RUNG_KINDS else 0
            return self._uri(TokenTarget(url, source, kind, public, role, own_rung))

        return rewrite_uri

    def _uri(self, target: TokenTarget) -> str:
        front, token = f"{PREFIX_MARK}hls/{self._id}", self._tokens.make(self._id, target)
        ending = path_ending(target.url)
        if target.kind is ResourceKind.PLAYLIST or (target.kind is ResourceKind.ASSET and ending is None):
            return f"{front}/playlist.m3u8?url={token}&client_id={CLIENT_MARK}&parent={self._id}"
        default = "mp4" if target.kind is ResourceKind.MAP else "ts"
        return f"{front}/segment.{ending or default}?url={token}&client_id={CLIENT_MARK}"
