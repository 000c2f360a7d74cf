"""JSON that playlists name: steering manifests and asset lists, with every URI in them replaced.

Steering manifests (RFC 8216bis section 7, EXT-X-CONTENT-STEERING) tell a player from which of the pathways that the
multivariant playlist lists it should play. That holds with us in between: the names of pathways are not changed, each
variant comes through us from where it is. ``PATHWAY-CLONES`` is dropped. A clone is made by the player, which puts
another host or other parameters into the URIs that it knows; in the URIs that we give it the provider's host is not
to be seen, so what it would make leads to the provider's host with our path: nowhere. A clone that is preferred gives
its place to the pathway that it is a clone of.

Asset lists (appendix D, ``X-ASSET-LIST`` of EXT-X-DATERANGE) name the playlists of interstitials.

What else is in there goes as it came: vendors' fields are of no use to a player that does not know them, and one that
does may go by URIs that are none of our business (beacons of advertisers, as in an EXT-X-DATERANGE).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from .uri_rewriter import ResourceKind, RewriteUri, absolute_url

#: Bytes of the largest one that is read. A list of a hundred advertisements has 30,000.
MAX_BYTES = 262_144
#: Assets, pathways or clones in one.
MAX_ENTRIES = 500

#: From what a URI leads to and the value in its place, of whatever type, to the value that replaces it.
_ReplaceUri = Callable[[ResourceKind, Any], Any]
_Manifest = dict[str, Any]


class BadManifest(ValueError):
    """A body is something else. The text says what, for people."""


def rewrite_manifest(body: bytes, kind: ResourceKind, url: str, rewrite_uri: RewriteUri) -> bytes:
    """
    Replace the URIs.

    :param kind: a key of :data:`REWRITERS`.
    :param url: of the manifest, after redirects: what its relative URIs go by.
    :return: JSON in ASCII.
    :raises BadManifest: for what is no JSON object, or has more than anybody needs.
    """
    try:
        manifest = json.loads(body, parse_constant=_reject_constant)
        if not isinstance(manifest, dict):
            raise BadManifest("something that is no JSON object")
        REWRITERS[kind](manifest, lambda kind, reference: _rewrite_reference(kind, reference, url, rewrite_uri))
        return json.dumps(manifest, separators=(",", ":"), allow_nan=False).encode("ascii")
    except BadManifest:
        raise
    except (ValueError, RecursionError):
        raise BadManifest("something that is no JSON") from None


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _rewrite_reference(kind: ResourceKind, reference: Any, url: str, rewrite_uri: RewriteUri) -> Any:
    """What is no text (JSON may have half a surrogate pair) leads nowhere, and stays."""
    if not isinstance(reference, str) or any("\ud800" <= letter <= "\udfff" for letter in reference):
        return reference
    absolute = absolute_url(url, reference)
    return reference if absolute is None else rewrite_uri(kind, absolute)


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
    """The pathway that a clone, or a clone of a clone, is one of."""
    seen: set[str] = set()
    while name in bases and name not in seen:
        seen.add(name)
        name = bases[name]
    return name


def _rewrite_asset_list(manifest: _Manifest, replace_uri: _ReplaceUri) -> None:
    for asset in _entries(manifest, "ASSETS"):
        if isinstance(asset, dict) and "URI" in asset:
            asset["URI"] = replace_uri(ResourceKind.PLAYLIST, asset["URI"])


#: What is rewritten, and how.
REWRITERS: dict[ResourceKind, Callable[[_Manifest, _ReplaceUri], None]] = {
    ResourceKind.STEERING: _rewrite_steering_manifest,
    ResourceKind.ASSETS: _rewrite_asset_list,
}
