"""The token: which routes ask for it, where it may stand, and in which order things are looked at."""

from __future__ import annotations

import pytest

TOKEN = "s3crét&token"
QUERY = "api_token=s3cr%C3%A9t%26token"
RIGHT = {"X-API-Token": TOKEN}
WRONG = {"X-API-Token": "wrong"}

PROTECTED = [
    ("GET", "/streams"),
    ("POST", "/streams"),
    ("GET", "/streams/x"),
    ("DELETE", "/streams/x"),
    ("POST", "/streams/x/failover"),
    ("GET", "/clients"),
    ("GET", "/stats/clients"),
    ("GET", "/health"),
    ("HEAD", "/health"),
]


@pytest.fixture
def guarded(build):
    return build(api_token=TOKEN)


def ask(web, method, path, **more):
    json = {"url": "nonsense"} if (method, path.partition("?")[0]) == ("POST", "/streams") else None
    return web.call(method, path, json=json, **more)


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("api_token=", {}, 401),
        ("", {"X-API-Token": ""}, 401),
        ("", {"Authorization": "Bearer s3cr"}, 401),
        ("", WRONG, 403),
        ("api_token=wrong", {}, 403),
        (QUERY, WRONG, 403),
        (f"{QUERY}&api_token=wrong", {}, 403),
        ("", RIGHT, None),
        (QUERY, {}, None),
        ("api_token=wrong", RIGHT, None),
        (f"api_token=wrong&{QUERY}", {}, None),
    ],
)
def test_table(guarded, method, path, query, headers, status):
    answer = ask(guarded, method, f"{path}?{query}" if query else path, headers=headers)
    if status is None:
        assert answer.status in (200, 404, 422)
        assert "WWW-Authenticate" not in answer.headers
        return
    assert answer.status == status
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    if method != "HEAD":
        assert isinstance(answer.detail, str)
        assert TOKEN not in answer.detail


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_without_a_token_set_all_is_open(web, method, path):
    assert ask(web, method, path).status in (200, 404, 422)
    assert ask(web, method, path, headers=WRONG).status in (200, 404, 422)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_media_are_open(guarded, method):
    assert guarded.call(method, "/stream/" + "0" * 32).status == 404
    name = guarded.call("POST", "/streams", json={"url": "http://a/1.ts"}, headers=RIGHT).json["stream_id"]
    assert guarded.call("HEAD", f"/stream/{name}").status == 200


def test_malformed_json_comes_before_the_token(guarded):
    assert guarded.call("POST", "/streams", body=b"{").status == 422


def test_the_token_comes_before_the_fields(guarded):
    assert guarded.call("POST", "/streams", json={}).status == 401
    assert guarded.call("POST", "/streams", json={}, headers=WRONG).status == 403
    assert guarded.call("POST", "/streams", json={}, headers=RIGHT).status == 422


def test_unknown_paths_do_not_ask(guarded):
    assert guarded.call("GET", "/nothing").status == 404
