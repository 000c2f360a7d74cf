"""The routes that register, list, steer and delete streams, one at a time."""

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

_UNKNOWN = {404: "There is no stream of that id."}


class Signer(Protocol):
    """Makes paths that players may use."""

    def sign(self, path: str) -> str:
        """The path, with whatever makes it valid for a time."""


class StreamsApi:
    """Streams by their id."""

    def __init__(self, registry: Registry, settings: Settings, signer: Signer | None) -> None:
        self._registry = registry
        self._settings = settings
        self._signer = signer

    def routes(self) -> list[Route]:
        """What is answered here."""
        return [
            Route(
                method="POST",
                path="/streams",
                view=self.create,
                summary="Register a stream",
                description="The provider is not asked before somebody plays it. The same URL, user agent and headers "
                "are the same stream: while it is watched it keeps its metadata and takes the new backups and flags.",
                tag="streams",
                body=RegisterStream,
                answer=Created,
                errors={503: "As many streams as are allowed."},
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
                summary="Forget a stream and disconnect its players",
                tag="streams",
                answer=Done,
                errors=_UNKNOWN,
            ),
            Route(
                method="POST",
                path="/streams/{stream_id}/failover",
                view=self.fail_over,
                summary="Move a stream to its next source",
                description="One step: to what the stream's resolver names, which is asked first, or along the list; "
                "behind its last source comes the first. Players stay connected.",
                tag="streams",
                query=FailOver,
                answer=FailedOver,
                errors={
                    404: "There is no stream of that id, or no source of that index.",
                    400: "The stream has no other source and no resolver.",
                    500: "The resolver names no other source.",
                },
            ),
            Route(
                method="GET",
                path="/streams/{stream_id}/timeline",
                view=self.timeline,
                summary="Why a stream changed its source",
                description="The last 200 decisions, each with what it cost.",
                tag="streams",
                answer=StreamTimeline,
                errors=_UNKNOWN,
            ),
            Route(
                method="DELETE",
                path="/hls/{stream_id}/clients/{client_id:path}",
                view=self.disconnect,
                summary="Disconnect a player",
                description="The player is looked for on all streams, whatever the path says. That nobody goes by "
                "the name is no error.",
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
        """All streams."""
        streams = all_streams(self._registry)
        return {"streams": streams, "total": len(streams)}

    def show(self, stream_id: str) -> StreamDetail:
        """One stream and its clients."""
        stream = self._stream(stream_id)
        clients = [client_object(client, stream) for client in stream.clients()]
        return {"stream": stream_object(stream), "clients": clients, "client_count": len(clients)}

    def delete(self, stream_id: str) -> Done:
        """Forget a stream and disconnect its players."""
        self._stream(stream_id)
        self._registry.delete(stream_id)
        return {"message": "Stream deleted."}

    async def fail_over(self, query: FailOver, stream_id: str) -> FailedOver:
        """Move a stream to its next source, or to the one that is asked for."""
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
            "failover_attempts": stream.failover_attempts,
            "active_clients": len(stream.clients()),
            "stream_type": stream_type(stream, "Transcoded"),
        }

    def timeline(self, stream_id: str) -> StreamTimeline:
        """The last decisions about a stream's sources."""
        entries = cast("list[TimelineEntry]", self._stream(stream_id).decisions.entries())
        return {"stream_id": stream_id, "timeline": entries}

    def disconnect(self, stream_id: str, client_id: str) -> Done:
        """Disconnect a player, on whatever stream it is."""
        count = sum(stream.abort_client(client_id) for stream in self._registry.streams())
        return {"message": f"Disconnected {count} {'player' if count == 1 else 'players'}."}

    def _stream(self, stream_id: str) -> Stream:
        stream = self._registry.get(stream_id)
        if stream is None:
            raise HTTPError(404, "Stream not found.")
        return stream
