"""What players may ask for, for the API's description. The routes themselves stand beside Klein, in ``stream.py``."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field

from .endpoint import Operation


class PlayerQuery(BaseModel):
    """The query of a media route. All of it is optional, whatever its value; it is never an error."""

    client_id: str | None = Field(None, description="The player's own name, shown in listings.")
    username: str | None = Field(None, description="Who watches, shown in listings; `user` and `u` mean the same.")
    expires: str | None = Field(None, description="Part of a signed URL.")
    signature: str | None = Field(None, description="Part of a signed URL.")


class PlaylistQuery(PlayerQuery):
    """The same for a playlist."""

    url: str | None = Field(None, description="What a playlist names in this place; of no other use.")
    parent: str | None = Field(None, description="Known to clients, and of no effect: variants are of their stream.")


class SegmentQuery(BaseModel):
    """What a playlist puts into the URLs of segments."""

    url: str = Field(description="What a playlist names in this place; of no other use.")
    client_id: str = Field(description="The player's name.")


_UNPLAYABLE = {
    403: "The URL is not signed, or has expired; or the provider refuses a film.",
    404: "There is no stream of that id, or the provider has no such film.",
}
_NO_PART = {416: "The film has no such part."}
_UNDELIVERED = {
    502: "No source delivers: it refuses, or answers what is no stream.",
    503: "No source has a free connection, or a limit of the proxy is reached.",
    504: "No source delivers: it does not answer in time.",
}
_NOT_HLS = {501: "It is a film, which is not made into HLS."}
_PATH = "/stream/{stream_id}"
_PLAYLIST = "/hls/{stream_id}/playlist.m3u8"
_SEGMENTS = ("/hls/{stream_id}/segment.ts", "/hls/{stream_id}/segment")


def _hls() -> Iterator[Operation]:
    """HEAD asks the provider as GET does, if nothing is kept: there is no other way to know."""
    for method, what in (("GET", "Play"), ("HEAD", "The head of")):
        yield Operation(
            method=method,
            path=_PLAYLIST,
            summary=f"{what} an HLS stream, or a live stream as HLS",
            description="The provider's playlist, with our URLs in it, all else as it came. After a change of source "
            "it goes on with the next number. Of a live MPEG-TS stream: the segments that it is cut into. Any web "
            "page may play it.",
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
                summary=f"{what} what a playlist names: a segment, a key",
                description="With the provider's own status: also 206 and 416 for a `Range`, also errors.",
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
        description="A live stream is endless, and `Range` is ignored. Radio and FLV are called what they are: "
        "`audio/aac`, `audio/mpeg`, `video/x-flv`. Of a film a part can be had (206), and the connection goes on "
        "behind it. The head is sent with the first bytes; until then a failure has a status, afterwards it ends the "
        "connection. Any web page may play it.",
        tag="media",
        answer="video/mp2t",
        query=PlayerQuery,
        errors=_UNPLAYABLE | _NO_PART | _UNDELIVERED,
        open=True,
    ),
    Operation(
        method="HEAD",
        path=_PATH,
        summary="The head of the same; only for a film the provider is asked",
        tag="media",
        answer="video/mp2t",
        query=PlayerQuery,
        errors=_UNPLAYABLE,
        open=True,
    ),
    *_hls(),
)
