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
    403: "The URL is not signed, or has expired.",
    404: "There is no stream of that id.",
}
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
        description="Endless. The head is sent with the first video; until then a failure has a status, afterwards "
        "it ends the connection. Radio and FLV are called what they are: `audio/aac`, `audio/mpeg`, `video/x-flv`. "
        "`Range` is ignored. Any web page may play it.",
        tag="media",
        answer="video/mp2t",
        query=PlayerQuery,
        errors=_UNPLAYABLE | _UNDELIVERED,
        open=True,
    ),
    Operation(
        method="HEAD",
        path=_PATH,
        summary="The head of the same, without asking the provider",
        tag="media",
        answer="video/mp2t",
        query=PlayerQuery,
        errors=_UNPLAYABLE,
        open=True,
    ),
)
