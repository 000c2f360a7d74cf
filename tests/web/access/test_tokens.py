"""The token: routes that require it, its place in a request, the order of checks, the limit of wrong ones."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from gate_rig import HOME, guarded
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from twisted.internet.task import Clock
from twisted.logger import formatEvent

from m3uproxy.web.access.tokens import MAX_REMEMBERED, FailedTokens, is_right

TOKEN = "s3cret&+token"
QUERY = "api_token=s3cret%26%2Btoken"
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
def closed(build):
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
def test_token_in_header_and_query(closed, method, path, query, headers, status):
    answer = ask(closed, method, f"{path}?{query}" if query else path, headers=headers)
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
def test_without_a_configured_token_all_routes_are_open(web, method, path):
    assert ask(web, method, path).status in (200, 404, 422)
    assert ask(web, method, path, headers=WRONG).status in (200, 404, 422)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_media_need_no_token(closed, method):
    assert closed.call(method, "/stream/" + "0" * 32).status == 404
    name = closed.call("POST", "/streams", json={"url": "http://a/1.ts"}, headers=RIGHT).json["stream_id"]
    assert closed.call("HEAD", f"/stream/{name}").status == 200


def test_malformed_json_is_reported_before_the_token(closed):
    assert closed.call("POST", "/streams", body=b"{").status == 422


def test_the_token_is_checked_before_the_fields(closed):
    assert closed.call("POST", "/streams", json={}).status == 401
    assert closed.call("POST", "/streams", json={}, headers=WRONG).status == 403
    assert closed.call("POST", "/streams", json={}, headers=RIGHT).status == 422


def test_unknown_paths_need_no_token(closed):
    assert closed.call("GET", "/nothing").status == 404


# too many wrong ones


def wrong(web, frm=HOME, token="wrong"):
    return web.ask(frm=frm, X_API_Token=token).status


def test_wrong_tokens_over_the_limit_are_429():
    web = guarded(api_token=TOKEN, max_failed_tokens=3)
    assert [wrong(web) for _ in range(5)] == [403, 403, 403, 429, 429]
    answer = web.ask(X_API_Token="wrong")
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert isinstance(answer.detail, str)
    # In the query they count, too.
    assert web.ask(path="/streams?api_token=wrong").status == 429
    assert web.api.asked == []


def test_the_limit_affects_wrong_tokens_only():
    web = guarded(api_token=TOKEN, max_failed_tokens=1)
    for _ in range(5):
        wrong(web)
    assert web.ask(X_API_Token=TOKEN).status == 200
    assert web.ask().status == 401
    assert wrong(web) == 429


def test_the_limit_is_per_second():
    web = guarded(api_token=TOKEN, max_failed_tokens=4)
    assert [wrong(web) for _ in range(5)][-1] == 429
    web.clock.advance(0.25)
    assert [wrong(web) for _ in range(2)] == [403, 429]
    web.clock.advance(60)
    assert [wrong(web) for _ in range(5)] == [403, 403, 403, 403, 429]


def test_the_limit_is_by_address_of_the_client():
    web = guarded(api_token=TOKEN, max_failed_tokens=1)
    assert [wrong(web, "192.168.1.1"), wrong(web, "192.168.1.1"), wrong(web, "192.168.1.2")] == [403, 429, 403]
    assert web.ask(frm="127.0.0.1", X_Forwarded_For="9.9.9.9", X_API_Token="x").status == 403
    assert web.ask(frm="127.0.0.1", X_Forwarded_For="1.1.1.1, 9.9.9.9", X_API_Token="x").status == 429


def test_ipv6_addresses_of_one_customer_are_one():
    web = guarded(api_token=TOKEN, max_failed_tokens=1)
    assert [wrong(web, "2001:db8:0:1::1"), wrong(web, "2001:db8:0:1:ffff::2"), wrong(web, "2001:db8:0:2::1")] == [
        403,
        429,
        403,
    ]


def test_the_limit_also_applies_to_foreign_names():
    web = guarded(api_token=TOKEN, max_failed_tokens=2)
    answers = [web.ask(host="tv.example", X_API_Token=guess) for guess in ("a", "b", "c")]
    assert [answer.status for answer in answers] == [403, 403, 429]
    assert wrong(web) == 429


def test_missing_tokens_do_not_count():
    web = guarded(api_token=TOKEN, max_failed_tokens=1)
    assert [web.ask().status for _ in range(5)] == [401] * 5
    assert wrong(web) == 403


def test_the_number_of_counters_is_limited():
    clock = Clock()
    failed = FailedTokens(clock)
    for number in range(MAX_REMEMBERED + 100):
        assert failed.count(ip_address(number), 1)
    assert len(failed) == MAX_REMEMBERED
    # Those that failed last are the ones that are remembered.
    assert not failed.count(ip_address(MAX_REMEMBERED + 99), 1)
    assert failed.count(ip_address(0), 1)
    assert failed.count(None, 1)
    assert not failed.count(None, 1)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60), st.integers(1, 20))
def test_no_second_allows_more_than_twice_the_rate(events, rate):
    clock, passed = Clock(), []
    failed = FailedTokens(clock)
    for pause, follows_at_once in events:
        clock.advance(0 if follows_at_once else pause)
        for _ in range(3):
            if failed.count(ip_address("1.2.3.4"), rate):
                passed.append(clock.seconds())
    for moment in passed:
        assert len([other for other in passed if moment <= other < moment + 1]) <= 2 * rate


def test_wrong_tokens_are_logged_with_the_address_and_without_the_token(logged):
    web = guarded(api_token=TOKEN, max_failed_tokens=2)
    for _ in range(5):
        wrong(web, "9.9.9.9", "nearly-right")
    lines = [formatEvent(event) for event in logged]
    assert [line for line in lines if "wrong token" in line] == ["wrong token from 9.9.9.9"] * 2
    assert not [line for line in lines if "nearly-right" in line or TOKEN in line]


@pytest.mark.parametrize("token", ["", "s", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\u00e9", "x" * 5000])
def test_similar_tokens_are_wrong(token):
    assert is_right(TOKEN.encode(), SecretStr(TOKEN))
    assert not is_right(token.encode(), SecretStr(TOKEN))


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_a_token_in_a_form_is_ignored(content_type):
    web = guarded(api_token=TOKEN)
    body = QUERY.encode()
    if "multipart" in content_type:
        body = b'--b\r\nContent-Disposition: form-data; name="api_token"\r\n\r\n%s\r\n--b--\r\n' % TOKEN.encode()
    assert web.ask("POST", body=body, Content_Type=content_type).status == 401
