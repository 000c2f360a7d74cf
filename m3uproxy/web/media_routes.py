"""What players may ask for, for the API's description. The routes themselves stand beside Klein, in ``stream.py``."""

from __future__ import annotations

from pydantic import BaseModel, Field

from .routes import Operation


class PlayerQuery(BaseModel):
    """The query of a media route. All of it is optional, whatever its value; it is never an error."""

    client_id: str | None = Field(None, description="The player's own name, shown in listings.")
    username: str | None = Field(None, description="Who watches, shown in listings; `user` and `u` mean the same.")
    expires: str | None = Field(None, description="Part of a signed URL.")
    signature: str | None = Field(None, description="Part of a signed URL.")


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
_PATH = "/stream/{stream_id}"

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
)
