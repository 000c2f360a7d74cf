"""The routes that count, find and delete streams by the metadata that the controlling application set."""

from __future__ import annotations

from ...registry import Registry
from ...streams.metadata_filter import Excluded, Watched, active, counted, excluded, having, matching, oldest, spared
from .endpoint import Route
from .request_models import ByMetadata, CountsByMetadata, DeleteByMetadata, DeleteOldest
from .response_types import Counts, Deleted, DeletedOldest, Matches, Skipped
from .serialize import match_object


class MetadataApi:
    """Routes for streams with given metadata."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                method="GET",
                path="/streams/by-metadata",
                view=self.find,
                summary="Find streams by metadata",
                description="A stream without the field matches an empty value.",
                tag="metadata",
                query=ByMetadata,
                answer=Matches,
            ),
            Route(
                method="GET",
                path="/streams/counts-by-metadata",
                view=self.count,
                summary="Count streams by metadata",
                description="Number of streams, not of players, for each value.",
                tag="metadata",
                query=CountsByMetadata,
                answer=Counts,
            ),
            Route(
                method="DELETE",
                path="/streams/by-metadata",
                view=self.delete,
                summary="Delete streams by metadata",
                description="Streams without the field never match. If no stream matches, the status is 200.",
                tag="metadata",
                query=DeleteByMetadata,
                answer=Deleted,
            ),
            Route(
                method="DELETE",
                path="/streams/oldest-by-metadata",
                view=self.delete_oldest,
                summary="Delete the oldest stream that matches",
                description="The stream with the oldest registration, with or without players.",
                tag="metadata",
                query=DeleteOldest,
                answer=DeletedOldest,
            ),
        ]

    def find(self, query: ByMetadata) -> Matches:
        """Return the streams that match."""
        streams = matching(self._registry.streams(), query.field, query.value)
        found = [match_object(stream) for stream in (active(streams) if query.active_only else streams)]
        return {
            "filter": {"field": query.field, "value": query.value},
            "active_only": query.active_only,
            "matching_streams": found,
            "total_matching": len(found),
            "total_clients": sum(item["client_count"] for item in found),
        }

    def count(self, query: CountsByMetadata) -> Counts:
        """Count the streams for each value."""
        streams = self._registry.streams()
        counts = counted(active(streams) if query.active_only else streams, query.field, query.values)
        return {"field": query.field, "counts": counts}

    def delete(self, query: DeleteByMetadata) -> Deleted:
        """Delete the streams that match, except those that the query excludes."""
        deleted: list[str] = []
        skipped: list[Skipped] = []
        for stream in having(self._registry.streams(), query.field, query.value):
            if query.client_id and not query.force and not excluded(stream, query.exclude_channel_id):
                stream.abort_client(query.client_id)
            why = spared(stream, query.exclude_channel_id, query.force)
            if why is None:
                self._registry.delete(stream.id)
                deleted.append(stream.id)
            else:
                skipped.append(_skipped(why))
        return {
            "message": f"Streams deleted: {len(deleted)}, skipped: {len(skipped)}.",
            "deleted_streams": deleted,
            "skipped_streams": skipped,
            "deleted_count": len(deleted),
        }

    def delete_oldest(self, query: DeleteOldest) -> DeletedOldest:
        """Delete the oldest stream that matches."""
        stream = oldest(having(self._registry.streams(), query.field, query.value), query.exclude_channel_id)
        if stream is None:
            return {"message": "No stream matches.", "deleted_stream": None, "deleted_count": 0}
        self._registry.delete(stream.id)
        return {
            "message": "Stream deleted.",
            "deleted_stream": stream.id,
            "stream_age_seconds": stream.age,
            "deleted_count": 1,
        }


def _skipped(why: Excluded | Watched) -> Skipped:
    if isinstance(why, Excluded):
        return {"stream_id": why.stream.id, "reason": "excluded_by_channel_id"}
    return {"stream_id": why.stream.id, "reason": "has_active_clients", "active_clients": why.clients}
