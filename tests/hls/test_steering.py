"""Steering manifests and asset lists, as players get them."""

from __future__ import annotations

import json
import re

import pytest
from hls_rig import HlsRig, media, uris

from m3uproxy.errors import Reason, SourceError

MASTER_URL = "http://a.example/live/master.m3u8"
STEERING_URL = "https://steer.example/manifest?x=%2B"
LIST_URL = "http://ads.example/list.json"
SCHEDULE_URL = "https://ads.example/day.json"
MASTER = f"""#EXTM3U
#EXT-X-CONTENT-STEERING:SERVER-URI="{STEERING_URL}",PATHWAY-ID="one"
#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID="one"
low.m3u8
"""
DATERANGE = f'#EXT-X-DATERANGE:ID="ad",CLASS="com.apple.hls.interstitial",X-ASSET-LIST="{LIST_URL}"'


def named(playlist: bytes, attribute: str) -> str:
    return re.search(rf'{attribute}="([^"]*)"', playlist.decode())[1]


def steering(rig: HlsRig, body: object, **more) -> str:
    """Return the path of the manifest, with the parameters that players add (RFC 8216bis section 7.1)."""
    rig.origin.put(MASTER_URL, MASTER)
    rig.origin.put(STEERING_URL, body if isinstance(body, (str, bytes)) else json.dumps(body), **more)
    url = named(rig.play(rig.stream(MASTER_URL)).body, "SERVER-URI")
    return url + '&_HLS_pathway="one"&_HLS_throughput=5140000'


def test_steering_manifest_leads_to_the_proxy(make_rig) -> None:
    rig = make_rig()
    next_url = "https://steer.example/next?state=a%3D"
    manifest = {"VERSION": 1, "TTL": 10, "RELOAD-URI": "next?state=a%3D", "PATHWAY-PRIORITY": ["two", "one"]}
    clones = [{"BASE-ID": "one", "ID": "three", "URI-REPLACEMENT": {"HOST": "c.example"}}]
    url = steering(rig, {**manifest, "PATHWAY-CLONES": clones}, final_url="https://steer.example/moved")
    answer = rig.get(url)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "example" not in answer.body.decode()
    assert {**answer.json, "RELOAD-URI": manifest["RELOAD-URI"]} == manifest
    # The parameters of players are not passed on: the manifest is fetched once, and their bandwidth is private.
    assert rig.origin.asked[-1] == STEERING_URL
    rig.origin.put(next_url, json.dumps({"VERSION": 1, "PATHWAY-PRIORITY": ["one"]}))
    assert answer.json["RELOAD-URI"].endswith("&client_id=me")
    assert rig.get(answer.json["RELOAD-URI"]).json == {"VERSION": 1, "PATHWAY-PRIORITY": ["one"]}
    assert rig.origin.asked[-1] == next_url


def test_each_client_gets_its_name_in_manifests(make_rig) -> None:
    rig = make_rig()
    url = steering(rig, {"RELOAD-URI": "next"})
    for name in ("me", "a%26b"):
        assert f"&client_id={name}" in rig.get(url.replace("client_id=me", f"client_id={name}")).json["RELOAD-URI"]
    assert rig.origin.count(STEERING_URL) == 1


@pytest.mark.parametrize(("status", "later"), [(410, None), (429, "120"), (404, None)])
def test_steering_server_statuses_are_passed_on(make_rig, status, later) -> None:
    rig = make_rig()
    url = steering(rig, b"", status=status, headers={} if later is None else {"Retry-After": later})
    answer = rig.get(url)
    assert (answer.status, answer.headers["Retry-After"]) == (status, later)


@pytest.mark.parametrize(
    ("page", "word"),
    [
        ({"body": "<html>"}, "HTML"),
        ({"body": "no JSON at all, but some text"}, "data that is not JSON as steering"),
        ({"body": b" " * 300_000}, "more than"),
        ({"error": SourceError(Reason.REFUSED)}, "refused"),
    ],
    ids=["html", "text", "large", "refused"],
)
def test_invalid_manifest_is_an_error_without_failover(make_rig, page, word) -> None:
    rig = make_rig()
    url = steering(rig, **{"body": "", **page})
    answer = rig.get(url)
    assert answer.status == 502
    assert word in answer.detail
    assert rig.play(rig.stream(MASTER_URL)).status == 200


def test_asset_list_is_rewritten(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(MASTER_URL, media("a.ts", more=DATERANGE))
    asset = "https://ads.example/1.m3u8?k=%2B"
    rig.origin.put(LIST_URL, json.dumps({"ASSETS": [{"URI": asset, "DURATION": 15}, {"URI": "2.m3u8"}]}))
    rig.origin.put(asset, media("ad.ts"))
    rig.origin.put("https://ads.example/ad.ts", b"G" * 188)
    stream = rig.stream(MASTER_URL)
    found = rig.get(named(rig.play(stream).body, "X-ASSET-LIST") + "&_HLS_primary_id=x").json
    assert found["ASSETS"][0]["DURATION"] == 15
    assert rig.origin.asked[-1] == LIST_URL
    playlist = rig.get(found["ASSETS"][0]["URI"])
    assert playlist.status == 200
    assert rig.get(uris(playlist.body)[0]).body == b"G" * 188
    assert len(stream.clients()) == 1


def test_schedule_is_rewritten_and_its_preload_names_the_same_resource(make_rig) -> None:
    """A player that has loaded a resource early must find it under the URI of the date range that needs it."""
    rig = make_rig()
    preload = '#EXT-X-DATERANGE:ID="p",CLASS="com.apple.hls.preload",X-TARGET-CLASS="{}",X-URI="{}"\n'
    lines = preload.format("com.apple.hls.daterange-schedule", SCHEDULE_URL)
    lines += f'#EXT-X-DATERANGE:ID="s",CLASS="com.apple.hls.daterange-schedule",X-URI="{SCHEDULE_URL}"\n'
    lines += preload.format("com.apple.hls.interstitial", LIST_URL) + DATERANGE
    rig.origin.put(MASTER_URL, media("a.ts", more=lines))
    rig.origin.put(SCHEDULE_URL, json.dumps({"DATERANGES": [{"ID": "a", "X-ASSET-URI": "ad.m3u8"}]}))
    rig.origin.put("https://ads.example/ad.m3u8", media("ad.ts"))
    body = rig.play(rig.stream(MASTER_URL)).body
    early, schedule, early_list = re.findall(rb'X-URI="([^"]*)"', body)
    assert early == schedule
    assert early_list.decode() == named(body, "X-ASSET-LIST")
    (entry,) = rig.get(schedule.decode()).json["DATERANGES"]
    assert entry["ID"] == "a"
    assert rig.get(entry["X-ASSET-URI"]).status == 200
    assert rig.origin.asked[-1] == "https://ads.example/ad.m3u8"


def test_public_asset_list_must_not_lead_to_private_addresses(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(MASTER_URL, media("a.ts", more=DATERANGE))
    rig.origin.put(LIST_URL, json.dumps({"ASSETS": [{"URI": "http://192.168.0.1/x"}]}), public=True)
    found = rig.get(named(rig.play(rig.stream(MASTER_URL)).body, "X-ASSET-LIST")).json
    rig.get(found["ASSETS"][0]["URI"])
    asked = rig.origin.requests[-1]
    assert (asked.url, asked.led_by_public) == ("http://192.168.0.1/x", True)


def test_head_request_equals_get(make_rig) -> None:
    rig = make_rig()
    url = steering(rig, {"RELOAD-URI": "next"})
    whole, head = rig.get(url), rig.get(url, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))


def test_range_of_a_manifest_is_ignored(make_rig) -> None:
    rig = make_rig()
    answer = rig.get(steering(rig, {"TTL": 1}), headers={"Range": "bytes=0-3"})
    assert (answer.status, answer.json) == (200, {"TTL": 1})
