"""What clients may send, as pydantic models: its list of errors is the body of a 422 as clients know it."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from ...core.http.outbound_policy import literal_refusal
from ...core.http.redirects import first_hop
from ...errors import SourceError
from ...streams.spec import StreamSpec
from ..responses import HTTPError

_UNSAFE = ("<script", "javascript:", "data:", "vbscript:")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: They belong to one connection and are ours to set.
_OUR_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding"})


def check_url(url: str) -> str:
    """The URL as it came: providers sign URLs byte for byte.

    :raises ValueError: if it is none that we fetch; the text says why, without the URL.
    """
    if not url.strip():
        raise ValueError("a URL must not be blank")
    if _CONTROL.search(url):
        raise ValueError("a URL must not contain control characters")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("a URL must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("a URL must name a host")
    _ = parts.port  # raises ValueError if it is none
    lowered = url.lower()
    if any(word in lowered for word in _UNSAFE):
        raise ValueError("a URL must not contain script")
    refused = literal_refusal(parts.hostname)
    if refused is not None:
        raise ValueError(f"a URL must not lead to {parts.hostname}: {refused}")
    try:
        first_hop(url, "", ())
    except SourceError as why:
        raise ValueError(why.detail) from None
    return url


def _check_text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    return value


#: How ``metadata`` stands in the API's description. By the type alone it takes anything: what is wrong with a value is
#: told once, not for each of the types that it could have had.
_METADATA: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        {"type": "null"},
    ]
}

Url = Annotated[str, AfterValidator(check_url), Field(json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/]"})]
HeaderValue = Annotated[str, AfterValidator(_check_text)]


class _Body(BaseModel):
    """Keys that we do not know are ignored: clients are newer than we are."""

    model_config = ConfigDict(extra="ignore", from_attributes=True, frozen=True)


class RegisterStream(_Body):
    """The body of ``POST /streams``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "http://provider.example/live/user/password/1.ts", "metadata": {"id": 7}}]
        }
    )

    url: Url = Field(description="Where the provider has the stream: http or https.")
    failover_urls: list[Url] | None = Field(None, description="Asked in this order when the URL fails.")
    failover_resolver_url: Url | None = Field(
        None, description="Asked by POST for the next source, before the list, when one fails or the API moves on."
    )
    user_agent: HeaderValue | None = Field(None, description="Sent to the provider; `DEFAULT_USER_AGENT` without it.")
    metadata: dict[str, Any] | None = Field(
        None,
        description="The application's own: strings, numbers and booleans, listed as strings.",
        json_schema_extra=_METADATA,
    )
    headers: dict[str, HeaderValue | None] | None = Field(
        None, description="Sent to the provider; one that is null is left out."
    )
    strict_live_ts: bool | None = Field(None, description="True gives up a silent source sooner, and for longer.")
    use_sticky_session: bool | None = None
    enable_silence_detection: bool | None = None
    silence_threshold_db: float | None = None
    silence_duration: float | None = None
    silence_check_interval: float | None = None
    silence_monitoring_grace_period: float | None = None
    silence_failover_threshold: int | None = None
    content_checks: bool = Field(True, description="False does not look at what sources bring.")
    verify_tls: bool = Field(True, description="False accepts any certificate of an https provider.")
    provider: str | None = Field(None, description="The provider account that its connections count for.")
    max_connections: int | None = Field(
        None, ge=0, description="Connections that the account allows at once; the tighter of this and the settings'."
    )

    @field_validator("metadata")
    @classmethod
    def _stringify(cls, metadata: dict[str, Any] | None) -> dict[str, str] | None:
        """Numbers and booleans become strings as Python writes them: clients compare with ``"True"``."""
        if metadata is None:
            return None
        for key, value in metadata.items():
            if not isinstance(value, str | int | float):
                raise ValueError(f"the value of {key!r} must be a string, a number or a boolean")
        return {key: str(value) for key, value in metadata.items()}

    @field_validator("headers")
    @classmethod
    def _check_names(cls, headers: dict[str, str | None] | None) -> dict[str, str | None] | None:
        for name in headers or {}:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is not a header name")
            if name.lower() in _OUR_HEADERS:
                raise ValueError(f"the header {name} cannot be set")
        return headers

    def spec(self, default_user_agent: str, sticky: bool = False) -> StreamSpec:
        """The stream that is asked for. A header without a value is not sent.

        :param sticky: whether sessions are sticky where the body does not say.
        """
        headers = tuple((name, value) for name, value in (self.headers or {}).items() if value is not None)
        return StreamSpec(
            url=self.url,
            user_agent=self.user_agent or default_user_agent,
            headers=headers,
            failover_urls=tuple(self.failover_urls or ()),
            failover_resolver_url=self.failover_resolver_url,
            metadata=self.metadata or {},
            strict_live_ts=bool(self.strict_live_ts),
            use_sticky_session=sticky if self.use_sticky_session is None else self.use_sticky_session,
            verify_tls=self.verify_tls,
            provider=self.provider,
            max_connections=self.max_connections,
            content_checks=self.content_checks,
        )


class TestConnection(_Body):
    """The body of ``POST /test-connection``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "http://editor.example:36400/up"}]})
    __test__ = False  # for pytest, which takes the name for a test's

    url: str = Field(description="What to fetch.")


class _Query(BaseModel):
    """Parameters of a URL. Those that a route does not know are ignored, the token among them."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class FailOver(_Query):
    """The query of ``POST /streams/{stream_id}/failover``."""

    index: int | None = Field(None, ge=0, description="The source to move to, 0 for the primary; else the next one.")


class FieldValue(_Query):
    """What metadata must say."""

    field: str = Field(description="Name of a piece of metadata.")
    value: str = Field(description="What it must be, as a string.")


class ByMetadata(FieldValue):
    """The query of ``GET /streams/by-metadata``."""

    active_only: bool = Field(True, description="Only streams with a player.")


class CountsByMetadata(_Query):
    """The query of ``GET /streams/counts-by-metadata``."""

    field: str = Field(description="Name of a piece of metadata.")
    values: str = Field(description="Values, separated by commas.")
    active_only: bool = Field(True, description="Only streams with a player.")


class DeleteOldest(FieldValue):
    """The query of ``DELETE /streams/oldest-by-metadata``."""

    exclude_channel_id: str | None = Field(None, description="Spare streams whose metadata `id` is this.")


class DeleteByMetadata(DeleteOldest):
    """The query of ``DELETE /streams/by-metadata``."""

    force: bool = Field(True, description="Delete also streams that are being watched.")
    client_id: str | None = Field(
        None, max_length=128, description="With `force=false`: first disconnect this player, then see who is left."
    )


Model = TypeVar("Model", bound=BaseModel)

_MISSING = {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}


def parse_json(content: bytes) -> object:
    """The value of a request's body, whatever the request calls its type.

    :raises HTTPError: 422 if it is not JSON or not there.
    """
    if not content:
        raise HTTPError(422, [_MISSING])
    try:
        return from_json(content, allow_inf_nan=False)
    except ValueError as error:
        wrong = {"type": "json_invalid", "loc": ["body"], "msg": "JSON decode error", "input": {}}
        raise HTTPError(422, [{**wrong, "ctx": {"error": str(error)}}]) from None


def validate(model: type[Model], value: object, part: str) -> Model:
    """Make a model of a part of a request.

    :param part: ``body`` or ``query``.
    :raises HTTPError: 422 with everything that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        raise HTTPError(422, [_located(one, part) for one in wrong]) from None


def _located(wrong: Any, part: str) -> dict[str, object]:
    """An error as clients know it. What is missing from a query is not shown the whole query: the token is in it."""
    located = {**wrong, "loc": [part, *wrong["loc"]]}
    return {**located, "input": None} if part == "query" and wrong["type"] == "missing" else located
