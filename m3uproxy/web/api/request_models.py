"""Bodies and queries of requests as pydantic models. Clients know pydantic's list of errors as the body of a 422."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from ...core.http.outbound_policy import literal_refusal
from ...core.http.redirects import first_hop
from ...core.http.source_headers import check_header_name, check_header_value, split_headers
from ...errors import SourceError
from ...streams.spec import StreamSpec
from ..responses import HTTPError

_UNSAFE = ("<script", "javascript:", "data:", "vbscript:")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_source_url(url: str) -> str:
    """Check the URL of a source, with headers behind it. Return it without blanks and line ends around it.

    :raises ValueError: if the proxy does not fetch such URLs, or cannot send such headers.
    """
    check_url(split_headers(url)[0])
    return url.strip()


def check_url(url: str) -> str:
    """Check a URL and return it without blanks and line ends around it. Providers sign all other bytes.

    :raises ValueError: if the proxy does not fetch such URLs; the text gives the reason without the URL.
    """
    url = url.strip()
    if not url:
        raise ValueError("a URL must not be blank")
    if _CONTROL.search(url):
        raise ValueError("a URL must not contain control characters")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("a URL must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("a URL must name a host")
    _ = parts.port  # raises ValueError if the port is invalid
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


#: Schema of ``metadata`` in the description. The type of the field accepts any value, so that an invalid value is
#: reported once, and not once for each allowed type.
_METADATA: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        {"type": "null"},
    ]
}

_IS_URL = Field(json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/]"})
Url = Annotated[str, AfterValidator(check_url), _IS_URL]
SourceUrl = Annotated[str, AfterValidator(check_source_url), _IS_URL]
HeaderValue = Annotated[str, AfterValidator(check_header_value)]


class RequestBody(BaseModel):
    """A JSON body. Unknown keys are ignored: clients may be newer than the proxy."""

    model_config = ConfigDict(extra="ignore", from_attributes=True, frozen=True)


class RegisterStream(RequestBody):
    """The body of ``POST /streams``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "http://provider.example/live/user/password/1.ts", "metadata": {"id": 7}}]
        }
    )

    url: SourceUrl = Field(
        description="URL of the stream at the provider: http or https. Headers may follow: `URL|User-Agent=VLC&...`."
    )
    failover_urls: list[SourceUrl] | None = Field(None, description="Backups, used in this order when a source fails.")
    failover_resolver_url: Url | None = Field(
        None,
        description="Names the next source (POST) when a source fails or the API moves on; overrides the list.",
    )
    user_agent: HeaderValue | None = Field(None, description="User-Agent for the provider (`DEFAULT_USER_AGENT`).")
    metadata: dict[str, Any] | None = Field(
        None,
        description="Values of the application: strings, numbers and booleans, listed as strings.",
        json_schema_extra=_METADATA,
    )
    headers: dict[str, HeaderValue | None] | None = Field(
        None, description="Headers for the provider; a header with the value null is not sent."
    )
    strict_live_ts: bool | None = Field(None, description="If true, silent sources are left sooner and avoided longer.")
    use_sticky_session: bool | None = None
    enable_silence_detection: bool | None = None
    silence_threshold_db: float | None = None
    silence_duration: float | None = None
    silence_check_interval: float | None = None
    silence_monitoring_grace_period: float | None = None
    silence_failover_threshold: int | None = None
    content_checks: bool = Field(True, description="If false, the content of the sources is not checked.")
    verify_tls: bool | None = Field(
        None,
        description="If false, any certificate of the source's host is accepted; default: that of its provider table, "
        "then `VERIFY_TLS`.",
    )
    provider: str | None = Field(None, description="Provider account for which the connections count.")
    max_connections: int | None = Field(
        None, ge=0, description="Connections that the account allows at once; the lower of this and the setting counts."
    )

    @field_validator("metadata")
    @classmethod
    def _stringify(cls, metadata: dict[str, Any] | None) -> dict[str, str] | None:
        """Convert values to strings as Python writes them, because clients compare with ``"True"``."""
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
            check_header_name(name)
        return headers

    def spec(self, default_user_agent: str, sticky: bool = False) -> StreamSpec:
        """Return the registration. Headers without a value are left out.

        :param sticky: default of ``use_sticky_session``.
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


class TestConnection(RequestBody):
    """The body of ``POST /test-connection``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "http://editor.example:36400/up"}]})
    __test__ = False  # pytest would collect the class by its name

    url: str = Field(description="URL to fetch.")


class RequestQuery(BaseModel):
    """The parameters of a URL. Unknown parameters are ignored, among them the token."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class FailOver(RequestQuery):
    """The query of ``POST /streams/{stream_id}/failover``."""

    index: int | None = Field(
        None, ge=0, description="Index of the source, 0 for the primary; default: the next source."
    )


class FieldValue(RequestQuery):
    """A field of the metadata and its value."""

    field: str = Field(description="Name of a metadata field.")
    value: str = Field(description="Value of the field, as a string.")


class ByMetadata(FieldValue):
    """The query of ``GET /streams/by-metadata``."""

    active_only: bool = Field(True, description="If true, only streams with a player.")


class CountsByMetadata(RequestQuery):
    """The query of ``GET /streams/counts-by-metadata``."""

    field: str = Field(description="Name of a metadata field.")
    values: str = Field(description="Values, separated by commas.")
    active_only: bool = Field(True, description="If true, only streams with a player.")


class DeleteOldest(FieldValue):
    """The query of ``DELETE /streams/oldest-by-metadata``."""

    exclude_channel_id: str | None = Field(None, description="Do not delete streams with this metadata `id`.")


class DeleteByMetadata(DeleteOldest):
    """The query of ``DELETE /streams/by-metadata``."""

    force: bool = Field(True, description="If true, also delete streams with players.")
    client_id: str | None = Field(
        None, max_length=128, description="With `force=false`: disconnect this player first, then check for players."
    )


Model = TypeVar("Model", bound=BaseModel)

_MISSING = {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}


def parse_json(content: bytes) -> object:
    """Parse the body of a request as JSON, whatever its ``Content-Type``.

    :raises HTTPError: 422 if the body is empty or not JSON.
    """
    if not content:
        raise HTTPError(422, [_MISSING])
    try:
        return from_json(content, allow_inf_nan=False)
    except ValueError as error:
        entry = {"type": "json_invalid", "loc": ["body"], "msg": "JSON decode error", "input": {}}
        raise HTTPError(422, [{**entry, "ctx": {"error": str(error)}}]) from None


def validate(model: type[Model], value: object, part: str) -> Model:
    """Validate a part of a request and return it as a model.

    :param part: ``body`` or ``query``.
    :raises HTTPError: 422 with all errors.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise HTTPError(422, [_located(item, part) for item in error.errors(include_url=False)]) from None


def _located(error: Any, part: str) -> dict[str, object]:
    """Return an error in the form that clients know.

    For a missing field pydantic's input is the whole query. It may contain the token and is removed.
    """
    located = {**error, "loc": [part, *error["loc"]]}
    return {**located, "input": None} if part == "query" and error["type"] == "missing" else located
