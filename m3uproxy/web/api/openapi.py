"""The description of the API in OpenAPI 3.1, made from the routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from ... import __version__
from .endpoint import Operation
from .response_types import Error, ValidationErrors

Schema = dict[str, Any]

_ABOUT = """\
Shares IPTV streams: one connection to the provider for any number of players.

Every path also answers behind the prefix in `servers`. `HEAD` works wherever `GET` does. `OPTIONS` returns the
methods of a path; all other methods are answered with 405. Errors are JSON with a `detail`: a text, or for 422 a list
of the invalid fields. Bodies are read as JSON, whatever their `Content-Type`.
"""

_SECURITY: list[dict[str, list[str]]] = [{"header": []}, {"query": []}]
_SCHEMES = {
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Token"},
    "query": {"type": "apiKey", "in": "query", "name": "api_token"},
}

#: Errors of each operation that needs the token.
_GUARDED = {
    400: "The Host header is invalid.",
    401: "The token is missing.",
    403: "The token is wrong; or the address, Origin or Host is not allowed.",
    429: "Too many wrong tokens.",
}
_INVALID = {422: "A parameter or a field of the body is invalid."}
_LARGE = {413: "The body is too large."}

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


def openapi_document(operations: Iterable[Operation], root_path: str) -> Schema:
    """Return the OpenAPI document.

    :param root_path: ``Settings.root_path``.
    """
    operations = list(operations)
    schemas, references = _schemas(operations)
    paths: dict[str, Schema] = {}
    for operation in operations:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "m3u proxy", "version": __version__, "description": _ABOUT},
        "servers": [{"url": root_path or "/"}],
        "security": _SECURITY,
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
    }


def without_security(described: Schema) -> Schema:
    """Return the document for a proxy without a token."""
    return {**described, "security": []}


def prepare_types(operations: Iterable[Operation]) -> None:
    """Do the first half of the work for the document, 25 ms, when no player waits for the reactor yet."""
    for kind in _types(operations):
        _adapter(kind)


def _types(operations: Iterable[Operation]) -> set[Any]:
    """Return the types of all bodies and answers."""
    types: set[Any] = {Error, ValidationErrors}
    for operation in operations:
        types |= {kind for kind in (operation.answer, operation.body) if kind and not isinstance(kind, str)}
    return types


def _schemas(operations: list[Operation]) -> tuple[Schema, dict[Any, Schema]]:
    """Return the schemas of all bodies and answers, and the reference to each."""
    ordered = sorted(_types(operations), key=lambda kind: str(kind.__name__))
    inputs: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = [
        (kind, "validation", _adapter(kind)) for kind in ordered
    ]
    found, rest = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    references = {kind: found[kind, "validation"] for kind in ordered}
    return dict(sorted(_without_titles(rest["$defs"]).items())), references


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type. Making all of them takes most of the time of a document."""
    return TypeAdapter(kind)


def _without_titles(schema: Any) -> Any:
    """Remove the titles, which repeat the field names."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_titles(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)
    }


def _operation(operation: Operation, references: Mapping[Any, Schema]) -> Schema:
    described: Schema = {
        "operationId": operation.method.lower() + re.sub(r"\W+", "_", _PARAMETER.sub(r"\1", operation.path)),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_in_path(operation), *_in_query(operation)],
        "responses": _responses(operation, references),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body:
        described["requestBody"] = {"required": True, "content": _json(references[operation.body])}
    if operation.open:
        described["security"] = []
    return described


def _in_path(operation: Operation) -> list[Schema]:
    names = _PARAMETER.findall(operation.path)
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _in_query(operation: Operation) -> list[Schema]:
    if operation.query is None:
        return []
    model = _without_titles(operation.query.model_json_schema())
    return [_parameter(name, schema, name in model.get("required", ())) for name, schema in model["properties"].items()]


def _parameter(name: str, schema: Schema, required: bool) -> Schema:
    """Return a query parameter. A URL has no null, so null is removed from the types."""
    described: Schema = {"name": name, "in": "query", "required": required}
    if "description" in schema:
        described["description"] = schema["description"]
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    plain = {key: value for key, value in choices[0].items() if key != "description"}
    if schema.get("default") is not None:
        plain["default"] = schema["default"]
    return {**described, "schema": plain}


def _responses(operation: Operation, references: Mapping[Any, Schema]) -> Schema:
    described: Schema = {"200": {"description": operation.summary, "content": _answer(operation, references)}}
    for status, cause in sorted(_errors(operation).items()):
        kind = ValidationErrors if status == HTTPStatus.UNPROCESSABLE_ENTITY else Error
        described[str(status)] = {"description": cause, "content": _json(references[kind])}
    if operation.method == "HEAD":
        return {status: {"description": value["description"]} for status, value in described.items()}
    return described


def _answer(operation: Operation, references: Mapping[Any, Schema]) -> Schema:
    if isinstance(operation.answer, str):
        return {media_type: {} for media_type in operation.answer.split(", ")}
    return _json(references[operation.answer])


def _errors(operation: Operation) -> dict[int, str]:
    """Return the errors of an operation; its own texts override the shared ones."""
    errors = {} if operation.open else dict(_GUARDED)
    if operation.body or (operation.query and not operation.open):
        errors |= _INVALID
    if operation.body:
        errors |= _LARGE
    errors.update(operation.errors)
    return errors


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
