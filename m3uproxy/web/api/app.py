"""The management API as one resource. The only module that imports Klein, because importing Klein installs a reactor.

Klein finds the endpoint of a path. The endpoint (:mod:`m3uproxy.web.api.endpoint`) checks method, token, query and
body and writes the answer. The views compute the answer.
"""

from __future__ import annotations

import re

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import PathConverter

from ...interfaces import IUrlChecker
from ...registry import Registry
from ...settings import Settings
from ..access.gate import Gate
from ..responses import HTTPError, write_error
from .docs_routes import DocsApi
from .endpoint import Endpoint, Operation, Route, routes_by_path
from .media_operations import MEDIA
from .metadata_routes import MetadataApi
from .server_routes import ServerApi
from .stream_routes import Signer, StreamsApi
from .url_check_route import UrlCheckApi


class AnyPath(PathConverter):
    """The rest of a path, with slashes and line breaks, because players choose their ids freely."""

    regex = r"[\s\S]+"
    part_isolating = False


class Api:
    """All management routes behind one resource."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        clock: IReactorTime,
        gate: Gate,
        url_checker: IUrlChecker | None = None,
        signer: Signer | None = None,
    ) -> None:
        """
        Make the API of a registry.

        :param clock: the clock of the registry.
        :param url_checker: fetches URLs for ``/test-connection``; without a checker the route does not exist.
        :param signer: signs the player paths in answers to ``POST /streams``; None leaves them unsigned.
        """
        routes = [
            *ServerApi(registry, settings, clock).routes(),
            *(UrlCheckApi(url_checker).routes() if url_checker is not None else ()),
            *MetadataApi(registry).routes(),
            *StreamsApi(registry, settings, signer).routes(),
        ]
        self.routes: list[Route] = [*routes, *DocsApi(settings, [*routes, *MEDIA]).routes()]
        self.operations: list[Operation] = [*self.routes, *MEDIA]
        self._app = Klein()
        self._app.url_map.merge_slashes = False
        self._app.url_map.converters["path"] = AnyPath
        for path, methods in routes_by_path(self.routes).items():
            self._app.route(_rule(path), endpoint=path)(Endpoint(methods, settings, gate).answer)
        self._app.handle_errors(HTTPException)(_answer_not_found)  # type: ignore[arg-type]  # it takes functions, too

    def resource(self) -> IResource:
        """Return the leaf resource of all routes."""
        resource: IResource = self._app.resource()
        return resource


def _rule(path: str) -> str:
    """Return a route's path as a Werkzeug rule. Werkzeug prefers literal segments to parameters."""
    return re.sub(r"\{(\w+)\}", r"<\1>", re.sub(r"\{(\w+):path\}", r"<path:\1>", path))


def _answer_not_found(request: Request, failure: Failure) -> bytes:
    return write_error(request, HTTPError(404, "Not Found"))
