"""The management API. The only module that imports Klein, because importing Klein installs a reactor.

A route is a function from its parameters to a JSON object; :func:`_route` does the rest: body, token, errors.
The token is asked for before the fields of a body are looked at, but after its JSON: so the contract has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from klein import Klein
from pydantic import BaseModel
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException

from .. import __version__
from ..core.kind import Kind, kind_of
from ..fanout.registry import Registry
from ..fanout.stream import Stream
from ..settings import Settings
from .answer import HTTPError, Json, write_error, write_json
from .gate import Gate
from .listing import all_clients, client_object, stream_object, totals
from .models import RegisterStream, parse_json, validate

View = Callable[..., Json]


def _route(app: Klein, method: str, *paths: str, body: type[BaseModel] | None = None) -> Callable[[View], View]:
    """Make a method of :class:`Api` answer ``method`` on ``paths``.

    :param body: what the request's body must be; passed on as the first argument.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(self: Api, request: Request, **parameters: str) -> bytes:
            try:
                value = parse_json(_content(request)) if body else None
                self.gate.check_token(request)
                arguments = (validate(body, value),) if body else ()
                return write_json(request, view(self, *arguments, **parameters))
            except HTTPError as error:
                return write_error(request, error)

        for path in paths:
            app.route(path, methods=[method], endpoint=f"{method} {path}")(answer)
        return view

    return decorate


def _content(request: Request) -> bytes:
    content: Any = request.content
    data: bytes = content.read()
    return data


class Api:
    """What the routes share."""

    app = Klein()

    def __init__(self, registry: Registry, settings: Settings, clock: IReactorTime, gate: Gate) -> None:
        """
        Make an API over a registry.

        :param clock: the one that the registry goes by.
        """
        self.registry = registry
        self.settings = settings
        self.clock = clock
        self.gate = gate

    def resource(self) -> IResource:
        """A leaf that answers all routes."""
        resource: IResource = self.app.resource()
        return resource

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]  # klein's types know no methods with a self
    def _no_such_route(self, request: Request, failure: Failure) -> bytes:
        """Unknown path, or a method that the path does not have."""
        wrong: Any = failure.value
        methods = getattr(wrong, "valid_methods", None)
        headers = {"Allow": ", ".join(sorted(methods))} if methods else {}
        return write_error(request, HTTPError(wrong.code, wrong.name, headers))

    @_route(app, "POST", "/streams", body=RegisterStream)
    def create_stream(self, wanted: RegisterStream) -> Json:
        """Register a stream; the provider is not asked before somebody plays it."""
        kind = kind_of(wanted.url)
        if kind is not Kind.LIVE:
            raise HTTPError(501, f"{kind.value} streams are not supported yet.")
        spec = wanted.spec(self.settings.default_user_agent)
        stream = self.registry.register(spec)
        path = f"/stream/{stream.id}"
        answer: dict[str, object] = {
            "stream_id": stream.id,
            "primary_url": spec.url,
            "failover_urls": list(spec.failover_urls),
            "user_agent": spec.user_agent,
            "stream_type": "direct",
            "stream_endpoint": path,
            "playlist_url": path,
            "direct_url": path,
            "message": "Stream registered.",
        }
        return {**answer, "metadata": dict(spec.metadata)} if spec.metadata else answer

    @_route(app, "GET", "/streams")
    def list_streams(self) -> Json:
        """All streams."""
        streams = [stream_object(stream) for stream in self.registry.streams()]
        return {"streams": streams, "total": len(streams)}

    @_route(app, "GET", "/streams/<stream_id>")
    def show_stream(self, stream_id: str) -> Json:
        """One stream and its clients."""
        stream = self._stream(stream_id)
        clients = [client_object(client, stream) for client in stream.clients()]
        return {"stream": stream_object(stream), "clients": clients, "client_count": len(clients)}

    @_route(app, "DELETE", "/streams/<stream_id>")
    def delete_stream(self, stream_id: str) -> Json:
        """Forget a stream and disconnect its players."""
        self._stream(stream_id)
        self.registry.delete(stream_id)
        return {"message": "Stream deleted."}

    @_route(app, "POST", "/streams/<stream_id>/failover")
    def fail_over(self, stream_id: str) -> Json:
        """Move a stream to its next source."""
        stream = self._stream(stream_id)
        if len(stream.spec.sources) < 2:
            raise HTTPError(400, "This stream has no failover URLs.")
        stream.fail_over()
        return {
            "message": "Moved to the next source.",
            "new_url": stream.current_url,
            "failover_index": stream.source_index,
            "failover_attempts": stream.failover_attempts,
            "active_clients": len(stream.clients()),
            "stream_type": kind_of(stream.spec.url).value,
        }

    @_route(app, "GET", "/clients", "/stats/clients")
    def list_clients(self) -> Json:
        """All clients."""
        clients = all_clients(self.registry)
        return {"total_clients": len(clients), "clients": clients}

    @_route(app, "GET", "/health")
    def health(self) -> Json:
        """That the daemon answers, and some numbers."""
        stats = totals(self.registry, self.clock.seconds())
        return {
            "status": "healthy",
            "root_path": self.settings.root_path,
            "version": __version__,
            "uptime_seconds": stats["uptime_seconds"],
            "active_streams": stats["active_streams"],
            "active_clients": stats["active_clients"],
            "total_bytes_served": stats["total_bytes_served"],
            "stats": stats,
        }

    def _stream(self, stream_id: str) -> Stream:
        stream = self.registry.get(stream_id)
        if stream is None:
            raise HTTPError(404, "Stream not found.")
        return stream
