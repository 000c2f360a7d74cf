"""The management API, assembled. The only module that imports Klein, because importing Klein installs a reactor.

Klein finds the path's endpoint; method, token, validation and answer are the endpoint's business
(:mod:`m3uproxy.web.api.endpoint`), what is answered is the views'.
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
from .endpoint import Endpoint, Operation, Route, by_path
from .media_operations import MEDIA
from .metadata_routes import MetadataApi
from .server_routes import ServerApi
from .stream_routes import Signer, StreamsApi
from .url_check_route import ConnectionTestApi


class AnyText(PathConverter):
    """The rest of a path to the letter: players choose their ids, with slashes and line breaks if they like."""

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
        probe: IUrlChecker | None = None,
        signer: Signer | None = None,
    ) -> None:
        """
        Make an API over a registry.

        :param clock: the one that the registry goes by.
        :param probe: fetches what ``/test-connection`` is asked about; without one that route is not there.
        :param signer: makes the player paths that ``POST /streams`` answers; None leaves them unsigned.
        """
        routes = [
            *ServerApi(registry, settings, clock).routes(),
            *(ConnectionTestApi(probe).routes() if probe is not None else ()),
            *MetadataApi(registry).routes(),
            *StreamsApi(registry, settings, signer).routes(),
        ]
        self.routes: list[Route] = [*routes, *DocsApi(settings, [*routes, *MEDIA]).routes()]
        self.operations: list[Operation] = [*self.routes, *MEDIA]
        self._app = Klein()
        self._app.url_map.merge_slashes = False
        self._app.url_map.converters["path"] = AnyText
        for path, methods in by_path(self.routes).items():
            self._app.route(_rule(path), endpoint=path)(Endpoint(methods, settings, gate).answer)
        self._app.handle_errors(HTTPException)(_no_such_path)  # type: ignore[arg-type]  # it takes functions, too

    def resource(self) -> IResource:
        """A leaf that answers all routes."""
        resource: IResource = self._app.resource()
        return resource


def _rule(path: str) -> str:
    """A route's path in Werkzeug's notation; what is literal wins there over what is a parameter."""
    return re.sub(r"\{(\w+)\}", r"<\1>", re.sub(r"\{(\w+):path\}", r"<path:\1>", path))


def _no_such_path(request: Request, failure: Failure) -> bytes:
    return write_error(request, HTTPError(404, "Not Found"))
