"""Routes as data, and the endpoint that answers all methods of one path.

A :class:`Route` declares its parameters, its answer, its errors and whether it needs the token. Both its behaviour
(:class:`Endpoint`) and its description in ``/openapi.json`` are made from this declaration, so they cannot differ.
A view is a function from parameters to an object, without access to the request.

Clients know this order of checks: first a body that is not JSON, then a missing token, then invalid fields.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any
from urllib.parse import parse_qsl

import attrs
from pydantic import BaseModel
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from ...errors import LimitReached
from ...settings import Settings
from ..access.gate import Gate
from ..access.own_url import base_url
from ..responses import HTTPError, Json, RawAnswer, service_unavailable, write_content, write_error, write_json
from .request_models import parse_json, validate

Result = Json | RawAnswer
View = Callable[..., Result | Awaitable[Result]]


@attrs.frozen(kw_only=True)
class Operation:
    """A method on a path, as far as clients need to know it."""

    method: str
    #: The path with parameters in braces. ``{name:path}`` includes slashes and must be the last part.
    path: str
    summary: str
    tag: str
    #: The type of the JSON object in the answer, or the media types of another answer, separated by commas.
    answer: Any
    description: str = ""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    #: Statuses and their causes, besides 200 and the statuses that all routes share.
    errors: Mapping[int, str] = attrs.field(factory=dict)
    #: The operation needs no token.
    open: bool = False


@attrs.frozen(kw_only=True)
class Route(Operation):
    """An operation with the view that carries it out.

    The view gets the parameters of the path by name, and ``query``, ``body`` and ``base`` if the route declares them.
    """

    view: View
    #: The view gets the URL of the proxy for its client.
    base: bool = False


def routes_by_path(routes: Iterable[Route]) -> dict[str, dict[str, Route]]:
    """Group routes by path and method. The first of two equal routes counts: paths from settings may repeat a path."""
    paths: dict[str, dict[str, Route]] = {}
    for route in routes:
        paths.setdefault(route.path, {}).setdefault(route.method, route)
    return paths


def query_parameters(request: Request) -> dict[str, str]:
    """Return the parameters of the URL. The last of repeated parameters counts. A form in the body is ignored."""
    _, _, query = request.uri.partition(b"?")
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace"))


class Endpoint:
    """Answers all methods of one path."""

    def __init__(self, routes: Mapping[str, Route], settings: Settings, gate: Gate) -> None:
        """
        Make the endpoint of a path.

        :param routes: the routes by method.
        """
        self._routes = routes
        self._settings = settings
        self._gate = gate
        methods = {*routes, "OPTIONS"} | ({"HEAD"} if "GET" in routes else set())
        self._allow = {"Allow": ", ".join(sorted(methods))}

    def answer(self, request: Request, **parameters: str) -> Deferred[None]:
        """Answer a request.

        :return: a Deferred; cancelling it cancels the Deferred that the view waits for. If it fails, Klein has the
            request end with an error.
        """
        return Deferred.fromCoroutine(self._answer(request, parameters))

    async def _answer(self, request: Request, parameters: Mapping[str, str]) -> None:
        """Write the body here: Klein only logs an exception that writing raises."""
        body = await self._write(request, parameters)
        if request.channel is not None:  # else the client has disconnected
            request.write(body)
            request.finish()

    async def _write(self, request: Request, parameters: Mapping[str, str]) -> bytes:
        # Listings change all the time. An answer that may be cached has its own header.
        request.setHeader(b"Cache-Control", b"no-store")
        try:
            result = await self._result(request, parameters)
        except HTTPError as error:
            return write_error(request, error)
        except LimitReached as error:
            return write_error(request, service_unavailable(error))
        return write_content(request, result) if isinstance(result, RawAnswer) else write_json(request, result)

    async def _result(self, request: Request, parameters: Mapping[str, str]) -> Result:
        if b"//" in request.path:
            # Werkzeug ignores empty segments.
            raise HTTPError(404, "Not Found")
        route = self._routes.get("GET" if request.method == b"HEAD" else request.method.decode("latin-1"))
        if route is None:
            return self._answer_other_method(request)
        value = parse_json(_content(request)) if route.body else None
        if not route.open:
            self._gate.check_token(request)
        arguments: dict[str, object] = dict(parameters)
        if route.query:
            arguments["query"] = validate(route.query, query_parameters(request), "query")
        if route.body:
            arguments["body"] = validate(route.body, value, "body")
        if route.base:
            arguments["base"] = base_url(request, self._settings)
        result = route.view(**arguments)
        return await result if isawaitable(result) else result

    def _answer_other_method(self, request: Request) -> RawAnswer:
        """Answer ``OPTIONS`` that is not a preflight of CORS, and refuse methods that the path does not have."""
        if request.method != b"OPTIONS":
            raise HTTPError(405, "Method Not Allowed", self._allow)
        return RawAnswer(b"", "", self._allow, 204)


def _content(request: Request) -> bytes:
    content: Any = request.content
    data: bytes = content.read()
    return data
