"""URI rewriting in the JSON resources that playlists name: steering manifests, asset lists and schedules.

A steering manifest (RFC 8216bis section 7, EXT-X-CONTENT-STEERING) orders the pathways of the multivariant playlist.
The order stays valid behind the proxy: pathway names are kept, and each variant is fetched from its own pathway.
``PATHWAY-CLONES`` is removed. A player builds a clone by replacing host and parameters in the URIs it knows. The
proxy's URIs do not show the provider's host, so the cloned URI would combine the provider's host with the proxy's path.
In ``PATHWAY-PRIORITY`` a clone is replaced by its base pathway.

An asset list (appendix D, ``X-ASSET-LIST`` of EXT-X-DATERANGE) names the playlists or files of interstitials. A
schedule (appendix H, ``X-URI`` of EXT-X-DATERANGE) lists date ranges with their attributes.

All other fields are kept. Vendor fields matter only to players that know them, and may hold URIs that must stay as they
are (advertising beacons, as in EXT-X-DATERANGE).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from .uri_rewriter import ResourceKind, ResourceRole, RewriteUri, absolute_url, date_range_kinds

#: Largest manifest in bytes. A list of 100 advertisements has 30,000.
MAX_BYTES = 262_144
#: Largest number of assets, pathways, clones or date ranges in a manifest.
MAX_ENTRIES = 500

#: Maps the kind of resource and the JSON value of its URI, of any type, to the new value.
_ReplaceUri = Callable[[ResourceKind, Any], Any]
_Manifest = dict[str, Any]


class BadManifest(ValueError):
    """An unusable manifest. The text describes the received body, for operators."""


def rewrite_manifest(body: bytes, kind: ResourceKind, url: str, rewrite_uri: RewriteUri) -> bytes:
    """
    Replace the URIs of a manifest.

    :param kind: a key of :data:`REWRITERS`.
    :param url: URL of the manifest after redirects, the base of relative URIs.
    :return: JSON in ASCII.
    :raises BadManifest: if the body is not a JSON object, or a list has more than :data:`MAX_ENTRIES` entries.
    """
    try:
        manifest = json.loads(body, parse_constant=_reject_constant)
        if not isinstance(manifest, dict):
            raise BadManifest("data that is not a JSON object")
        REWRITERS[kind](manifest, lambda kind, reference: _rewrite_reference(kind, reference, url, rewrite_uri))
        return json.dumps(manifest, separators=(",", ":"), allow_nan=False).encode("ascii")
    except BadManifest:
        raise
    except (ValueError, RecursionError):
        raise BadManifest("data that is not JSON") from None


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _rewrite_reference(kind: ResourceKind, reference: Any, url: str, rewrite_uri: RewriteUri) -> Any:
    """
    Return the rewritten URI, or the value itself if it cannot be requested.

    JSON strings may hold half a surrogate pair. Such a string cannot be a URL.
    """
    if not isinstance(reference, str) or any("\ud800" <= letter <= "\udfff" for letter in reference):
        return reference
    absolute = absolute_url(url, reference)
    return reference if absolute is None else rewrite_uri(kind, absolute, ResourceRole.SIDE)


def _entries(manifest: _Manifest, name: str) -> list[Any]:
    found = manifest.get(name)
    if not isinstance(found, list):
        return []
    if len(found) > MAX_ENTRIES:
        raise BadManifest(f"{name} of more than {MAX_ENTRIES} entries")
    return found


def _rewrite_steering_manifest(manifest: _Manifest, replace_uri: _ReplaceUri) -> None:
    if "RELOAD-URI" in manifest:
        manifest["RELOAD-URI"] = replace_uri(ResourceKind.STEERING, manifest["RELOAD-URI"])
    clones = [each for each in _entries(manifest, "PATHWAY-CLONES") if isinstance(each, dict)]
    manifest.pop("PATHWAY-CLONES", None)
    pairs = [(clone.get("ID"), clone.get("BASE-ID")) for clone in clones]
    bases = {name: base for name, base in pairs if isinstance(name, str) and isinstance(base, str)}
    preferred = _entries(manifest, "PATHWAY-PRIORITY")
    if bases and preferred:
        names = [_base_pathway(name, bases) for name in preferred if isinstance(name, str)]
        manifest["PATHWAY-PRIORITY"] = list(dict.fromkeys(names))


def _base_pathway(name: str, bases: dict[str, str]) -> str:
    """Return the base pathway of a clone. A clone may be based on another clone."""
    seen: set[str] = set()
    while name in bases and name not in seen:
        seen.add(name)
        name = bases[name]
    return name


def _rewrite_asset_list(manifest: _Manifest, replace_uri: _ReplaceUri) -> None:
    for asset in _entries(manifest, "ASSETS"):
        if isinstance(asset, dict) and "URI" in asset:
            asset["URI"] = replace_uri(ResourceKind.ASSET, asset["URI"])


def _rewrite_schedule(manifest: _Manifest, replace_uri: _ReplaceUri) -> None:
    for date_range in _entries(manifest, "DATERANGES"):
        if isinstance(date_range, dict):
            for name, kind in date_range_kinds(date_range).items():
                if name in date_range:
                    date_range[name] = replace_uri(kind, date_range[name])


#: Kinds of manifests and their rewriters.
REWRITERS: dict[ResourceKind, Callable[[_Manifest, _ReplaceUri], None]] = {
    ResourceKind.STEERING: _rewrite_steering_manifest,
    ResourceKind.ASSETS: _rewrite_asset_list,
    ResourceKind.SCHEDULE: _rewrite_schedule,
}
