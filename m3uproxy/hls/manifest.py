"""Steering manifests and asset lists on their way to a player: see :mod:`m3uproxy.core.hls.json_manifests`."""

from __future__ import annotations

from ..core.hls.json_manifests import MAX_BYTES, BadManifest, rewrite_manifest
from ..core.hls.uri_rewriter import ResourceKind, RewriteUri
from ..errors import Reason, SourceError
from .fetched_resource import FetchedResource


async def read_manifest(resource: FetchedResource, kind: ResourceKind, rename: RewriteUri) -> bytes:
    """
    All of one, as a player gets it.

    :raises SourceError: if it does not come, or is something else.
    """
    url = resource.final_url
    body = await resource.read_all(MAX_BYTES)
    try:
        return rewrite_manifest(body, kind, url, rename)
    except BadManifest as why:
        raise SourceError(Reason.NOT_VIDEO, f"the provider sent {why} as {kind.value}") from None
