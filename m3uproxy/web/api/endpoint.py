"""A route as data, and the one way in which all routes answer.

A :class:`Route` says everything about itself: what it takes, what it answers, what may go wrong, whether it asks for
the token. From that declaration come both its behaviour (:class:`Endpoint`) and its description in
``/openapi.json``, so the two cannot part. A view is a plain function from parameters to an object; it knows nothing
of requests.

The order of things is the contract's: a body that is no JSON is told first, then a missing token, then what is wrong
with the fields.
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
    """What one method does on one path, as far as clients need to know."""

    method: str
    #: With parameters in braces; ``{name:path}`` takes slashes too and stands at the end.
    path: str
    summary: str
    tag: str
    #: The type of the JSON object that is answered, or the media types of another answer with commas between.
    answer: Any
    description: str = ""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    #: Statuses besides 200 and those that all routes share, each with when.
    errors: Mapping[int, str] = attrs.field(factory=dict)
    #: Needs no token.
    open: bool = False


@attrs.frozen(kw_only=True)
class Route(Operation):
    """An operation that a view carries out.

    The view gets the path's parameters by name, and ``query``, ``body`` and ``base`` if the route declares them.
    """

    view: View
    #: The view wants to know the URL below which its client finds us.
    base: bool = False


def by_path(routes: Iterable[Route]) -> dict[str, dict[str, Route]]:
    """Routes by path and method. Of two that are the same the first counts: settings name paths as well."""
    paths: dict[str, dict[str, Route]] = {}
    for route in routes:
        paths.setdefault(route.path, {}).setdefault(route.method, route)
    return paths


def query_of(request: Request) -> dict[str, str]:
    """The parameters of the URL; of a repeated one the last. A form in the body is no part of them."""
    _, _, query = request.uri.partition(b"?")
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace"))


class Endpoint:
    """Answers every method on one path."""

    def __init__(self, routes: Mapping[str, Route], settings: Settings, gate: Gate) -> None:
        """
        Make an endpoint.

        :param routes: by method.
        """
        self._routes = routes
        self._settings = settings
        self._gate = gate
        methods = {*routes, "OPTIONS"} | ({"HEAD"} if "GET" in routes else set())
        self._allow = {"Allow": ", ".join(sorted(methods))}

    def answer(self, request: Request, **parameters: str) -> Deferred[bytes]:
        """Answer.

        :return: a Deferred of the body; cancelling it cancels what the view waits for.
        """
        return Deferred.fromCoroutine(self._write(request, parameters))

    async def _write(self, request: Request, parameters: Mapping[str, str]) -> bytes:
        # Who is watching changes from moment to moment; what stays says so itself.
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
            # Werkzeug passes over them.
            raise HTTPError(404, "Not Found")
        route = self._routes.get("GET" if request.method == b"HEAD" else request.method.decode("latin-1"))
        if route is None:
            return self._without_route(request)
        value = parse_json(_content(request)) if route.body else None
        if not route.open:
            self._gate.check_token(request)
        arguments: dict[str, object] = dict(parameters)
        if route.query:
            arguments["query"] = validate(route.query, query_of(request), "query")
        if route.body:
            arguments["body"] = validate(route.body, value, "body")
        if route.base:
            arguments["base"] = base_url(request, self._settings)
        result = route.view(**arguments)
        return await result if isawaitable(result) else result

    def _without_route(self, request: Request) -> RawAnswer:
        """``OPTIONS`` that is no browser's preflight, and methods that the path does not have."""
        if request.method != b"OPTIONS":
            raise HTTPError(405, "Method Not Allowed", self._allow)
        return RawAnswer(b"", "", self._allow, 204)


def _content(request: Request) -> bytes:
    content: Any = request.content
    data: bytes = content.read()
    return data
