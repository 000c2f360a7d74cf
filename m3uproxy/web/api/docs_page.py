"""``/docs``: the description of the API as a page without scripts and without external files.

The template escapes all values. The style sheet is inline and allowed by its hash, so that the page works behind any
prefix.
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

#: Headers of the page. A browser may apply the style and fetch the icon, nothing else.
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
    """Return the text as HTML, with ``<code>`` for text between backticks."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if index % 2 else escape(piece) for index, piece in enumerate(pieces)
    )


_TEMPLATES.filters["code"] = _with_code


@attrs.frozen
class DocField:
    """A parameter of an operation, or a key of a JSON object."""

    name: str
    kind: str
    required: bool
    description: str
    default: str


@attrs.frozen
class DocEntry:
    """An operation as the page shows it."""

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


def render_page(described: dict[str, Any], base: str, up: str, openapi_url: str) -> RawAnswer:
    """Render the page.

    :param described: the OpenAPI document.
    :param base: the URL of the proxy for the reader.
    :param up: the relative URL from the page to ``base``.
    :param openapi_url: path of the OpenAPI document; empty if it is not served.
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
    success = operation["responses"]["200"]
    contents: dict[str, Any] = success.get("content", {})
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
        errors=[
            (status, response["description"]) for status, response in operation["responses"].items() if status != "200"
        ],
        command=_command(described, base, path, method, operation, token),
    )


def _parameter(parameter: dict[str, Any]) -> DocField:
    schema = parameter["schema"]
    return _field(parameter["name"], schema, parameter["required"], parameter.get("description", ""))


def _field(name: str, schema: dict[str, Any], required: bool, description: str) -> DocField:
    default = "" if schema.get("default") is None else json.dumps(schema["default"])
    return DocField(name, _type_name(schema), required, description, default)


def _fields(described: dict[str, Any], schema: dict[str, Any]) -> list[DocField]:
    schema = _resolve(described, schema)
    required = schema.get("required", ())
    return [
        _field(name, value, name in required, value.get("description", ""))
        for name, value in schema["properties"].items()
    ]


def _resolve(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = described["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _type_name(schema: dict[str, Any]) -> str:
    """Return a type in words: ``list of string``, ``integer or null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(_type_name, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type_name(schema['items'])}"
    name = schema.get("type", "anything")
    return " or ".join(name) if isinstance(name, list) else str(name)


def _command(
    described: dict[str, Any], base: str, path: str, method: str, operation: dict[str, Any], token: bool
) -> str:
    """Return a ``curl`` command line for an operation."""
    words = ["curl"]
    words += {"get": [], "head": ["--head"]}.get(method, ["-X", method.upper()])
    words += ["-H", "X-API-Token: …"] if token else []
    body = operation.get("requestBody")
    if body:
        schema = _resolve(described, body["content"]["application/json"]["schema"])
        words += ["-d", json.dumps(schema["examples"][0])]
    required = [item["name"] for item in operation["parameters"] if item["in"] == "query" and item["required"]]
    query = "&".join(f"{quote(name)}=…" for name in required)
    return shlex.join([*words, f"{base}{path}" + ("?" + query if query else "")])
