"""HLS dialler: opens an HLS source as if it were a live transport stream."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ...core.hls.segment_follower import check_joinable
from ...core.http.source_request import DialTimeouts, SourceRequest
from ...core.slots.accounts import ProviderSlot
from ...core.stream_kind import StreamKind, kind_of
from ...interfaces import IDialler, IResponseBody
from ...settings import Settings
from ..fetcher import Fetcher
from .joined_body import JoinedBody, raise_playlist_timeout
from .joined_source import JoinedSource

#: Seconds for which a playlist fetched for another reader is used again.
_PLAYLIST_MAX_AGE = 1.0


@implementer(IDialler)
@attrs.frozen
class HlsDialler:
    """
    Dials HLS sources by joining their segments, and all other sources with another dialler.

    A stream may have backups of either kind.

    :ivar live_dialler: dials sources that are not HLS.
    :ivar settings: ``hls_join_bandwidth`` limits the bandwidth of the variant.
    """

    clock: Any
    fetcher: Fetcher
    live_dialler: IDialler
    settings: Settings

    def dial(
        self, request: SourceRequest, timeouts: DialTimeouts, slot: ProviderSlot | None = None
    ) -> Deferred[IResponseBody]:
        """See :meth:`m3uproxy.interfaces.IDialler.dial`. Playlists and segments are fetched on the slot."""
        if kind_of(request.url) is not StreamKind.HLS:
            return self.live_dialler.dial(request, timeouts, slot)
        patience = timeouts.patience(self.settings.first_byte_timeout)
        awaited = attrs.evolve(request, slot=slot, patience=patience)
        dialling: Deferred[IResponseBody] = Deferred.fromCoroutine(self._open(awaited))
        return dialling.addTimeout(timeouts.total, self.clock, onTimeoutCancel=raise_playlist_timeout)

    async def _open(self, request: SourceRequest) -> IResponseBody:
        source = JoinedSource(self.fetcher, request, self.settings.hls_join_bandwidth)
        playlist = await source.media_playlist(_PLAYLIST_MAX_AGE)
        check_joinable(playlist.playlist)
        source.request = attrs.evolve(request, patience=None)
        return JoinedBody(self.clock, source, playlist)
