"""Descriptions of the players' routes for ``/openapi.json``. :mod:`m3uproxy.web.media` answers them, not Klein."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field

from .endpoint import Operation


class PlayerQuery(BaseModel):
    """The query of a media route. All parameters are optional, and no value is an error."""

    client_id: str | None = Field(None, description="Id that the player chose, shown in listings.")
    username: str | None = Field(None, description="Name of the viewer, for listings; `user` and `u` are synonyms.")
    expires: str | None = Field(None, description="Part of a signed URL.")
    signature: str | None = Field(None, description="Part of a signed URL.")


class PlaylistQuery(PlayerQuery):
    """The query of a playlist."""

    url: str | None = Field(None, description="The value from the playlist.")
    parent: str | None = Field(None, description="Without effect; clients of m3u-proxy send it for variants.")


class SegmentQuery(BaseModel):
    """The query of a segment, as playlists write it."""

    url: str = Field(description="The value from the playlist.")
    client_id: str = Field(description="Id of the player.")


_UNPLAYABLE = {
    403: "The URL is not signed or has expired; or the provider refuses a film.",
    404: "The stream is unknown; or the provider does not have the film.",
}
_NO_RANGE = {416: "The range is outside of the film."}
_UNDELIVERED = {
    502: "No source delivers: each refuses, or answers without a stream.",
    503: "No provider connection is free, or a limit of the proxy is reached.",
    504: "No source answers in time.",
}
_NOT_HLS = {501: "The stream is a film; films are not available as HLS."}
_PATH = "/stream/{stream_id}"
_PLAYLIST = "/hls/{stream_id}/playlist.m3u8"
_SEGMENTS = ("/hls/{stream_id}/segment.ts", "/hls/{stream_id}/segment")


def _hls() -> Iterator[Operation]:
    """Yield the operations of HLS. If nothing is cached, HEAD sends a request to the provider as GET does."""
    for method, verb in (("GET", "Play"), ("HEAD", "Return the head of")):
        yield Operation(
            method=method,
            path=_PLAYLIST,
            summary=f"{verb} an HLS stream, or a live stream as HLS",
            description="HLS: the provider's playlist with URLs of the proxy; all else is unchanged. After a change of "
            "source the media sequence continues. Live MPEG-TS: a playlist of the segments that the proxy cuts. CORS "
            "allows all origins.",
            tag="media",
            answer="application/vnd.apple.mpegurl",
            query=PlaylistQuery,
            errors=_UNPLAYABLE | _UNDELIVERED | _NOT_HLS,
            open=True,
        )
        for path in _SEGMENTS:
            yield Operation(
                method=method,
                path=path,
                summary=f"{verb} a resource of a playlist: a segment, a key",
                description="The status is the provider's, also 206 and 416 for a `Range`, also for errors.",
                tag="media",
                answer="video/mp2t",
                query=SegmentQuery,
                errors={422: "`url` or `client_id` is missing."} | _UNPLAYABLE | _UNDELIVERED | _NOT_HLS,
                open=True,
            )


MEDIA = (
    Operation(
        method="GET",
        path=_PATH,
        summary="Play a stream",
        description="A live stream is endless; `Range` is ignored. Radio and FLV have their own types: `audio/aac`, "
        "`audio/mpeg`, `video/x-flv`. Films support `Range` (206), and the connection stays open after a part. The "
        "head is sent with the first bytes. Before that, a failure has a status; after that, it ends the connection. "
        "CORS allows all origins.",
        tag="media",
        answer="video/mp2t",
        query=PlayerQuery,
        errors=_UNPLAYABLE | _NO_RANGE | _UNDELIVERED,
        open=True,
    ),
    Operation(
        method="HEAD",
        path=_PATH,
        summary="Return the head of a stream; only for a film a request goes to the provider",
        tag="media",
        answer="video/mp2t",
        query=PlayerQuery,
        errors=_UNPLAYABLE,
        open=True,
    ),
    *_hls(),
)
