"""Steering manifests, asset lists and schedules: rewritten URIs, removed clones, refused bodies."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.hls.json_manifests import MAX_ENTRIES, BadManifest, rewrite_manifest
from m3uproxy.core.hls.uri_rewriter import ResourceKind, ResourceRole

URL = "https://steer.example/a/b.json?session=1%2B2"


def rewrite_uri(kind: ResourceKind, url: str, role: ResourceRole = ResourceRole.MAIN) -> str:
    return f"/{kind.value}/{url.encode('utf-8', 'surrogateescape').hex()}"


def rewritten(manifest: object, kind: ResourceKind) -> Any:
    return json.loads(rewrite_manifest(json.dumps(manifest).encode(), kind, URL, rewrite_uri))


@pytest.mark.parametrize(
    ("reference", "absolute"),
    [
        ("https://other.example/x?_=%2B", "https://other.example/x?_=%2B"),
        ("next.json", "https://steer.example/a/next.json"),
        ("../next.json", "https://steer.example/next.json"),
        ("?state=%3D", "https://steer.example/a/b.json?state=%3D"),
        ("//other.example/x", "https://other.example/x"),
    ],
)
def test_reload_uri_is_rewritten(reference: str, absolute: str) -> None:
    manifest = {"VERSION": 1, "TTL": 300, "RELOAD-URI": reference, "PATHWAY-PRIORITY": ["b", "a"]}
    assert rewritten(manifest, ResourceKind.STEERING) == {
        **manifest,
        "RELOAD-URI": rewrite_uri(ResourceKind.STEERING, absolute),
    }


def test_manifest_without_reload_uri_stays_the_same() -> None:
    manifest = {"VERSION": 1, "TTL": 300.5, "PATHWAY-PRIORITY": ["b", "a"], "X-MORE": {"RELOAD-URI": "x"}}
    assert rewritten(manifest, ResourceKind.STEERING) == manifest


def test_clones_are_replaced_by_their_base_pathways() -> None:
    replacement = {"HOST": "backup.example", "PARAMS": {"k": "v"}, "PER-VARIANT-URIS": {"x": "https://o.example/x"}}
    clones = [
        {"BASE-ID": "a", "ID": "a2", "URI-REPLACEMENT": replacement},
        {"BASE-ID": "a2", "ID": "a3", "URI-REPLACEMENT": replacement},
        {"BASE-ID": "loop", "ID": "loop"},
        {"ID": 5},
        "no clone",
    ]
    manifest = {"VERSION": 1, "PATHWAY-PRIORITY": ["a3", "b", "a2", "a", "loop", "unknown"], "PATHWAY-CLONES": clones}
    new = rewritten(manifest, ResourceKind.STEERING)
    assert new == {"VERSION": 1, "PATHWAY-PRIORITY": ["a", "b", "loop", "unknown"]}
    assert "example" not in json.dumps(new)


def test_uris_of_scheduled_date_ranges_are_rewritten() -> None:
    advertisement = {"ID": "a", "CLASS": "com.apple.hls.interstitial", "X-SCHEDULE-OFFSET": 30.5}
    vendor = {"ID": "v", "CLASS": "com.vendor", "X-URI": "x", "X-ASSET": "y"}
    inner = {"ID": "s", "CLASS": "com.apple.hls.daterange-schedule", "START-DATE": "2026-11-30T05:00:00Z"}
    manifest = {
        "DATERANGES": [
            {**advertisement, "X-ASSET-URI": "ad.m3u8"},
            {**advertisement, "X-ASSET-LIST": "/ads?break=1"},
            {**inner, "X-URI": "inner.json"},
            {"CLASS": "com.apple.hls.preload", "X-URI": "ad.m3u8"},
            vendor,
            {"CLASS": ["com.apple.hls.preload"], "X-URI": 1, "X-ASSET-URI": None},
            "none",
        ],
        "X-MORE": "ad.m3u8",
    }
    folder = "https://steer.example/a"
    assert rewritten(manifest, ResourceKind.SCHEDULE) == {
        "DATERANGES": [
            {**advertisement, "X-ASSET-URI": rewrite_uri(ResourceKind.ASSET, f"{folder}/ad.m3u8")},
            {**advertisement, "X-ASSET-LIST": rewrite_uri(ResourceKind.ASSETS, "https://steer.example/ads?break=1")},
            {**inner, "X-URI": rewrite_uri(ResourceKind.SCHEDULE, f"{folder}/inner.json")},
            {"CLASS": "com.apple.hls.preload", "X-URI": rewrite_uri(ResourceKind.ASSET, f"{folder}/ad.m3u8")},
            vendor,
            {"CLASS": ["com.apple.hls.preload"], "X-URI": 1, "X-ASSET-URI": None},
            "none",
        ],
        "X-MORE": "ad.m3u8",
    }


def test_asset_uris_are_rewritten() -> None:
    manifest = {
        "ASSETS": [
            {"URI": "https://ads.example/1/master.m3u8?a=%2B", "DURATION": 15.5, "X-BEACON": "https://b.example/"},
            {"URI": "2.m3u8", "DURATION": 5},
            {"URI": "skd://x"},
            {"URI": None},
            {"DURATION": 1},
            5,
        ],
        "SKIP-CONTROL": {"OFFSET": 5},
    }
    new = rewritten(manifest, ResourceKind.ASSETS)
    first, second = "https://ads.example/1/master.m3u8?a=%2B", "https://steer.example/a/2.m3u8"
    assert new["ASSETS"][0] == {**manifest["ASSETS"][0], "URI": rewrite_uri(ResourceKind.ASSET, first)}
    assert new["ASSETS"][1] == {"URI": rewrite_uri(ResourceKind.ASSET, second), "DURATION": 5}
    assert new["ASSETS"][2:] == manifest["ASSETS"][2:]
    assert new["SKIP-CONTROL"] == {"OFFSET": 5}


@pytest.mark.parametrize("name", ["RELOAD-URI", "PATHWAY-CLONES", "PATHWAY-PRIORITY", "ASSETS"])
@pytest.mark.parametrize("value", [None, 5, "", {}, [], [None], "\ud800", "mailto:x"])
@pytest.mark.parametrize("kind", [ResourceKind.STEERING, ResourceKind.ASSETS])
def test_unusable_values_are_kept_or_removed(kind: ResourceKind, name: str, value: object) -> None:
    new = rewritten({name: value}, kind)
    assert new in ({name: value}, {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"5",
        b'{"a":',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"\xff\xff",
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadManifest, match=r"not (a )?JSON"):
        rewrite_manifest(body, ResourceKind.STEERING, URL, rewrite_uri)


@pytest.mark.parametrize(
    ("kind", "name", "entry"),
    [
        (ResourceKind.ASSETS, "ASSETS", {"URI": "a.m3u8"}),
        (ResourceKind.STEERING, "PATHWAY-PRIORITY", "a"),
        (ResourceKind.STEERING, "PATHWAY-CLONES", {"ID": "b", "BASE-ID": "a"}),
    ],
)
def test_too_many_entries_are_refused(kind: ResourceKind, name: str, entry: object) -> None:
    rewritten({name: [entry] * MAX_ENTRIES}, kind)
    with pytest.raises(BadManifest, match=f"{name} of more than {MAX_ENTRIES}"):
        rewritten({name: [entry] * (MAX_ENTRIES + 1)}, kind)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
_KEYS = st.sampled_from(["RELOAD-URI", "PATHWAY-PRIORITY", "PATHWAY-CLONES", "ASSETS", "URI", "X"])


@given(st.dictionaries(_KEYS, _JSON), st.sampled_from([ResourceKind.STEERING, ResourceKind.ASSETS]))
def test_other_fields_of_any_object_stay(manifest: dict[str, Any], kind: ResourceKind) -> None:
    new = rewritten(manifest, kind)
    owned = {"RELOAD-URI", "PATHWAY-PRIORITY", "PATHWAY-CLONES"} if kind is ResourceKind.STEERING else {"ASSETS"}
    assert {name: value for name, value in new.items() if name not in owned} == {
        name: value for name, value in manifest.items() if name not in owned
    }
