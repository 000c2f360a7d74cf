"""Content dialler: opens a source of any kind as if it were a live transport stream.

The first bytes of the answer decide. A playlist is joined. A live stream, and a file that is a transport stream, are
returned as they are, over the same connection. If the request says which kind is expected,
another kind fails with :class:`m3uproxy.core.body_kind.KindMismatch`. The open body is then kept for the session that
plays this kind.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ...core.body_kind import (
    STREAMED_TYPES,
    BodyKind,
    KindMismatch,
    body_kind,
    kind_mismatch,
    media_type_of,
    stream_kind_of,
    unplayable,
)
from ...core.hls.playlist_limits import MAX_BYTES
from ...core.hls.segment_follower import check_joinable
from ...core.http.source_request import DialTimeouts, SourceRequest
from ...core.ingest.parser import Format
from ...core.slots.accounts import ProviderSlot
from ...core.stream_kind import StreamKind, kind_of
from ...errors import Reason, SourceError
from ...interfaces import IDialler, IResponseBody
from ...settings import Settings
from ...upstream.body_collector import read_whole
from ...upstream.body_start import ReadStart, facts_of, read_start
from ..fetcher import Fetcher
from ..http_client import ResourceRequest
from ..served_playlist import ParsedPlaylist
from .joined_body import JoinedBody, raise_playlist_timeout
from .joined_source import JoinedSource

T = TypeVar("T")

#: Seconds for which a playlist fetched for another reader is used again.
_PLAYLIST_MAX_AGE = 1.0


@implementer(IDialler)
@attrs.frozen
class ContentDialler:
    """
    Dials sources of any kind. A stream may have backups of any kind, too.

    :ivar source_dialler: dials a URL and returns the body as the provider sends it.
    :ivar settings: ``hls_join_bandwidth`` limits the bandwidth of the variant.
    """

    clock: Any
    fetcher: Fetcher
    source_dialler: IDialler
    settings: Settings

    def dial(
        self, request: SourceRequest, timeouts: DialTimeouts, slot: ProviderSlot | None = None
    ) -> Deferred[IResponseBody]:
        """See :meth:`m3uproxy.interfaces.IDialler.dial`. Playlists and segments are fetched on the slot."""
        return Deferred.fromCoroutine(self._dial(request, timeouts, slot))

    async def _dial(self, request: SourceRequest, timeouts: DialTimeouts, slot: ProviderSlot | None) -> IResponseBody:
        deadline = self.clock.seconds() + timeouts.total
        patience = timeouts.patience(self.settings.first_byte_timeout)
        request = attrs.evolve(request, patience=patience)
        body = self.fetcher.opened.take(request)
        if body is None and self._is_fetched(request, slot):
            try:
                return await self._within(deadline, self._join(request, slot))
            except KindMismatch:
                if request.expected is not None:
                    raise
        if body is None:
            body = await self.source_dialler.dial(request, timeouts, slot)
        seconds = min(timeouts.first_byte, max(0.0, deadline - self.clock.seconds()))
        start = await read_start(body, request.url, self.clock, seconds)
        facts = facts_of(body, request.url, start.data)
        kind = body_kind(facts)
        if kind is None or (kind is not BodyKind.LIVE and start.is_empty):
            return await self._refuse(body, unplayable(facts), start)
        is_file = stream_kind_of(kind) is StreamKind.VOD
        is_cut = request.segmented and is_file and media_type_of(start.data) == Format.TS.value
        if request.expected not in (None, stream_kind_of(kind)) and not is_cut:
            self.fetcher.opened.keep(request, body)
            raise kind_mismatch(facts, kind)
        if kind is BodyKind.PLAYLIST:
            return await self._within(deadline, self._join(request, slot, body))
        if kind is BodyKind.LIVE or media_type_of(start.data) in STREAMED_TYPES:
            return body
        return await self._refuse(body, SourceError(Reason.NOT_LIVE, f"{kind.value} of another format"), start)

    def _is_fetched(self, request: SourceRequest, slot: ProviderSlot | None) -> bool:
        """
        Return whether to fetch the playlist as players of the playlist do: from the cache, over a pooled connection.

        That is so if the fetcher knows it, or if the account has a limit: another connection could be one too many.
        """
        if kind_of(request.url) is not StreamKind.HLS or request.expected is StreamKind.LIVE:
            return False
        source = attrs.evolve(request, slot=slot)
        limited = request.account is not None and request.account.limit is not None
        return limited or self.fetcher.knows(ResourceRequest(request.url, source))

    async def _within(self, deadline: float, joining: Coroutine[Any, Any, T]) -> T:
        left = max(0.0, deadline - self.clock.seconds())
        waiting: Deferred[T] = Deferred.fromCoroutine(joining)
        return await waiting.addTimeout(left, self.clock, onTimeoutCancel=raise_playlist_timeout)

    async def _join(
        self, request: SourceRequest, slot: ProviderSlot | None, body: IResponseBody | None = None
    ) -> IResponseBody:
        """
        Join the segments of a source.

        :param body: the open body of its playlist; None to fetch the playlist.
        """
        playlist = None if body is None else await self._read_playlist(body)
        source = JoinedSource(
            self.fetcher, attrs.evolve(request, slot=slot), self.settings.hls_join_bandwidth, playlist
        )
        media = await source.media_playlist(_PLAYLIST_MAX_AGE)
        check_joinable(media.playlist)
        source.request = attrs.evolve(source.request, patience=None)
        return JoinedBody(self.clock, source, media)

    async def _read_playlist(self, body: IResponseBody) -> ParsedPlaylist:
        """Read a playlist to its end. Its socket has closed when this returns, because segments need another one."""
        try:
            data = await read_whole(body, MAX_BYTES)
        finally:
            closed = body.close()
        await closed
        return ParsedPlaylist(await self.fetcher.playlists.parse(data), data, body.final_url, body.public)

    async def _refuse(self, body: IResponseBody, error: SourceError, start: ReadStart) -> IResponseBody:
        await body.close()
        raise start.error if start.is_empty and start.error is not None else error
