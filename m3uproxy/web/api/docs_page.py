"""``/docs``: the API's description as a page, without scripts and with nothing from elsewhere.

The page is a template that escapes all it is given. Its style stands in the page and is allowed by its hash, so that
the page needs no other file and works behind any prefix.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ..responses import RawAnswer

_STYLE = (files(__package__) / "templates" / "docs.css").read_text()
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What a browser is allowed to do with the page: apply its style, and fetch the icon.
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_TEMPLATES = Environment(
    loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def _with_code(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces)
    )


_TEMPLATES.filters["code"] = _with_code


@attrs.frozen
class DocField:
    """A parameter, or a key of an object."""

    name: str
    kind: str
    required: bool
    description: str
    default: str


@attrs.frozen
class DocEntry:
    """One operation as the page shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    token: bool
    parameters: list[DocField]
    body: list[DocField]
    answer: list[DocField]
    media_type: str
    errors: list[tuple[str, str]]
    command: str


def page(described: dict[str, Any], base: str, up: str, openapi_url: str) -> RawAnswer:
    """The page.

    :param described: the OpenAPI document.
    :param base: the URL below which the reader reaches us.
    :param up: the way from the page to ``base`` in a relative URL.
    :param openapi_url: path of the document, empty if it is not served.
    """
    entries: dict[str, list[DocEntry]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            entry = _entry(described, base, path, method, operation)
            entries.setdefault(operation["tags"][0], []).append(entry)
    text = _TEMPLATES.get_template("docs.html").render(
        info=described["info"],
        about=described["info"]["description"].strip().split("\n\n"),
        style=_STYLE,
        base=base,
        up=up,
        openapi_url=openapi_url.lstrip("/"),
        tags=entries,
    )
    return RawAnswer(text.encode(), "text/html; charset=utf-8", HEADERS)


def _entry(described: dict[str, Any], base: str, path: str, method: str, operation: dict[str, Any]) -> DocEntry:
    good = operation["responses"]["200"]
    contents: dict[str, Any] = good.get("content", {})
    media_type = next(iter(contents), "")
    answer = contents.get(media_type, {}).get("schema")
    body = operation["requestBody"]["content"]["application/json"]["schema"] if "requestBody" in operation else None
    token = operation.get("security", described["security"]) != []
    return DocEntry(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        token=token,
        parameters=[_parameter(parameter) for parameter in operation["parameters"]],
        body=_fields(described, body) if body else [],
        answer=_fields(described, answer) if answer else [],
        media_type=", ".join(contents),
        errors=[(status, one["description"]) for status, one in operation["responses"].items() if status != "200"],
        command=_command(described, base, path, method, operation, token),
    )


def _parameter(parameter: dict[str, Any]) -> DocField:
    schema = parameter["schema"]
    return _field(parameter["name"], schema, parameter["required"], parameter.get("description", ""))


def _field(name: str, schema: dict[str, Any], required: bool, description: str) -> DocField:
    default = "" if schema.get("default") is None else json.dumps(schema["default"])
    return DocField(name, _kind(schema), required, description, default)


def _fields(described: dict[str, Any], schema: dict[str, Any]) -> list[DocField]:
    schema = _resolve(described, schema)
    required = schema.get("required", ())
    return [
        _field(name, one, name in required, one.get("description", "")) for name, one in schema["properties"].items()
    ]


def _resolve(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = described["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _kind(schema: dict[str, Any]) -> str:
    """A type in words: ``list of string``, ``integer or null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _command(
    described: dict[str, Any], base: str, path: str, method: str, operation: dict[str, Any], token: bool
) -> str:
    """A line for a shell that does it."""
    words = ["curl"]
    words += {"get": [], "head": ["--head"]}.get(method, ["-X", method.upper()])
    words += ["-H", "X-API-Token: …"] if token else []
    body = operation.get("requestBody")
    if body:
        schema = _resolve(described, body["content"]["application/json"]["schema"])
        words += ["-d", json.dumps(schema["examples"][0])]
    required = [one["name"] for one in operation["parameters"] if one["in"] == "query" and one["required"]]
    query = "&".join(f"{quote(name)}=…" for name in required)
    return shlex.join([*words, f"{base}{path}" + ("?" + query if query else "")])
