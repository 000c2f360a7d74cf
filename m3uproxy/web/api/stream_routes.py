"""The routes that register, list, switch and delete single streams."""

from __future__ import annotations

from typing import Protocol, cast

from ...core.stream_kind import StreamKind, kind_of
from ...registry import Registry
from ...settings import Settings
from ...streams.base import Stream
from ..responses import HTTPError
from .endpoint import Route
from .request_models import FailOver, RegisterStream
from .response_types import Created, Done, FailedOver, StreamDetail, StreamList, StreamTimeline, TimelineEntry
from .serialize import all_streams, client_object, stream_object, stream_type

_UNKNOWN = {404: "The stream is unknown."}


class Signer(Protocol):
    """Signs the paths of players."""

    def sign(self, path: str) -> str:
        """Return the path with an expiry and a signature."""


class StreamsApi:
    """Routes for streams by id."""

    def __init__(self, registry: Registry, settings: Settings, signer: Signer | None) -> None:
        self._registry = registry
        self._settings = settings
        self._signer = signer

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                method="POST",
                path="/streams",
                view=self.create,
                summary="Register a stream",
                description="The first request to the provider is sent when a player starts. The same URL, user agent "
                "and headers are the same stream. If it has players, it keeps its metadata and takes the new backups "
                "and flags.",
                tag="streams",
                body=RegisterStream,
                answer=Created,
                errors={503: "The limit of streams is reached (`MAX_STREAMS`)."},
            ),
            Route(
                method="GET",
                path="/streams",
                view=self.list,
                summary="List all streams",
                tag="streams",
                answer=StreamList,
            ),
            Route(
                method="GET",
                path="/streams/{stream_id}",
                view=self.show,
                summary="Show a stream and its players",
                tag="streams",
                answer=StreamDetail,
                errors=_UNKNOWN,
            ),
            Route(
                method="DELETE",
                path="/streams/{stream_id}",
                view=self.delete,
                summary="Delete a stream and disconnect its players",
                tag="streams",
                answer=Done,
                errors=_UNKNOWN,
            ),
            Route(
                method="POST",
                path="/streams/{stream_id}/failover",
                view=self.fail_over,
                summary="Move a stream to its next source",
                description="The stream moves to the source that its resolver names, or to the next source of the "
                "list; the first follows the last. Players stay connected.",
                tag="streams",
                query=FailOver,
                answer=FailedOver,
                errors={
                    404: "The stream is unknown, or has no source with that index.",
                    400: "The stream has no other source and no resolver.",
                    500: "The resolver names no other source.",
                },
            ),
            Route(
                method="GET",
                path="/streams/{stream_id}/timeline",
                view=self.timeline,
                summary="List the changes of a stream's source",
                description="The last 200 decisions, each with its cause and the gap for players.",
                tag="streams",
                answer=StreamTimeline,
                errors=_UNKNOWN,
            ),
            Route(
                method="DELETE",
                path="/hls/{stream_id}/clients/{client_id:path}",
                view=self.disconnect,
                summary="Disconnect a player",
                description="The player is disconnected from all streams, whatever the path says. If there is no such "
                "player, the status is 200.",
                tag="players",
                answer=Done,
            ),
        ]

    def create(self, body: RegisterStream) -> Created:
        """Register a stream."""
        kind = kind_of(body.url)
        spec = body.spec(self._settings.default_user_agent, self._settings.use_sticky_session)
        stream = self._registry.register(spec)
        path = f"/hls/{stream.id}/playlist.m3u8" if kind is StreamKind.HLS else f"/stream/{stream.id}"
        if self._signer is not None:
            path = self._signer.sign(path)
        answer: Created = {
            "stream_id": stream.id,
            "primary_url": spec.url,
            "failover_urls": list(spec.failover_urls),
            "user_agent": spec.user_agent,
            "stream_type": "hls" if kind is StreamKind.HLS else "direct",
            "stream_endpoint": path,
            "playlist_url": path,
            "direct_url": path,
            "message": "Stream registered.",
        }
        if spec.metadata:
            answer["metadata"] = dict(spec.metadata)
        return answer

    def list(self) -> StreamList:
        """Return all streams."""
        streams = all_streams(self._registry)
        return {"streams": streams, "total": len(streams)}

    def show(self, stream_id: str) -> StreamDetail:
        """Return a stream and its clients."""
        stream = self._stream(stream_id)
        clients = [client_object(client, stream) for client in stream.clients()]
        return {"stream": stream_object(stream), "clients": clients, "client_count": len(clients)}

    def delete(self, stream_id: str) -> Done:
        """Delete a stream and disconnect its players."""
        self._stream(stream_id)
        self._registry.delete(stream_id)
        return {"message": "Stream deleted."}

    async def fail_over(self, query: FailOver, stream_id: str) -> FailedOver:
        """Move a stream to its next source, or to the source with the given index."""
        stream = self._stream(stream_id)
        count = len(stream.spec.sources)
        if not stream.may_fail_over:
            raise HTTPError(400, "This stream has no failover URLs and no resolver.")
        if query.index is not None and query.index >= count:
            raise HTTPError(404, f"This stream has the sources 0 to {count - 1}.")
        if not await stream.fail_over(query.index):
            self._stream(stream_id)
            raise HTTPError(500, "There is no other source for this stream.")
        return {
            "message": f"Moved to source {stream.source_index}.",
            "new_url": stream.current_url,
            "failover_index": stream.source_index,
            "failover_attempts": stream.history.failover_attempts,
            "active_clients": len(stream.clients()),
            "stream_type": stream_type(stream, "Transcoded"),
        }

    def timeline(self, stream_id: str) -> StreamTimeline:
        """Return the last decisions about a stream's sources."""
        entries = cast("list[TimelineEntry]", self._stream(stream_id).history.entries())
        return {"stream_id": stream_id, "timeline": entries}

    def disconnect(self, stream_id: str, client_id: str) -> Done:
        """Disconnect a player from all streams."""
        count = sum(stream.abort_client(client_id) for stream in self._registry.streams())
        return {"message": f"Disconnected {count} {'player' if count == 1 else 'players'}."}

    def _stream(self, stream_id: str) -> Stream:
        stream = self._registry.get(stream_id)
        if stream is None:
            raise HTTPError(404, "Stream not found.")
        return stream
