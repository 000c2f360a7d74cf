"""The routes about the proxy as a whole: statistics, players, URL checks, limits."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3uproxy import __version__
from m3uproxy.errors import LimitReached, Reason, SourceError

SEVEN = (
    "total_streams active_streams total_clients active_clients total_bytes_served total_segments_served uptime_seconds"
).split()


def play(web, stream_id, query=""):
    wire = web.connect()
    wire.send(f"GET /stream/{stream_id}{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return wire


# info, health, stats


def test_root_has_version_and_totals(web):
    web.clock.advance(61.9)
    answer = web.call("GET", "/").json
    assert (answer["status"], answer["version"], answer["uptime"]) == ("running", __version__, 61)
    assert list(answer["stats"]) == SEVEN
    assert isinstance(answer["message"], str)


def test_info_has_the_keys_for_the_editor(build):
    answer = build(default_user_agent="TV/1", stream_timeout=90, viewer_stall_timeout=45, stream_retry_attempts=4)
    info = answer.call("GET", "/info").json
    assert set(info) == set(
        "version ffmpeg_version streamlink_version ytdlp_version hardware_acceleration redis transcoding configuration "
        "worker".split()
    )
    assert info["version"] == __version__
    assert (info["ffmpeg_version"], info["streamlink_version"], info["ytdlp_version"]) == (None, None, None)
    assert info["hardware_acceleration"] == {"enabled": False, "type": "cpu", "device": None, "ffmpeg_args": []}
    assert set(info["redis"]) == set(
        "enabled pooling_enabled host port password db max_clients_per_stream stream_timeout sharing_strategy".split()
    )
    assert (info["redis"]["enabled"], info["redis"]["pooling_enabled"], info["redis"]["password"]) == (
        False,
        False,
        None,
    )
    assert info["transcoding"] == {"enabled": False, "profiles": {}}
    assert info["configuration"] == {
        "default_user_agent": "TV/1",
        "client_timeout": 45,
        "stream_timeout": 90,
        "cleanup_interval": 1,
        "max_retries": 4,
    }
    assert info["worker"] == {"worker_id": "single", "heartbeat_interval": 30, "multi_worker_mode": False}


def test_info_holds_no_secret(build):
    assert "geheim" not in build(api_token="geheim").call("GET", "/info?api_token=geheim").body.decode()


def test_webhooks_and_broadcasts_are_empty_lists(web):
    assert web.call("GET", "/webhooks").json == {"webhooks": []}
    assert web.call("GET", "/broadcast").json == {"broadcasts": [], "count": 0}


def test_stats_are_flat_and_nested(web):
    name = web.register(failover_urls=["http://b/1.ts"])
    web.call("POST", f"/streams/{name}/failover")
    player = play(web, name)
    web.clock.advance(1)
    stats = web.call("GET", "/stats").json
    assert {key: stats[key] for key in SEVEN} == stats["proxy_stats"]
    assert stats["proxy_stats"] == {
        "total_streams": 1,
        "active_streams": 1,
        "total_clients": 1,
        "active_clients": 1,
        "total_bytes_served": 0,
        "total_segments_served": 0,
        "uptime_seconds": 1,
    }
    [stream], [client] = stats["streams"], stats["clients"]
    assert stream == web.call("GET", f"/streams/{name}").json["stream"]
    assert (stream["client_count"], client["stream_id"]) == (1, name)
    assert web.call("GET", "/stats/streams").json == {"total_streams": 1, "streams": [stream]}
    detailed = web.call("GET", "/stats/detailed").json
    assert detailed["proxy_stats"] == stats["proxy_stats"]
    assert detailed["failover_stats"] == {"failover_attempts": 1, "streams_on_failover": 1}
    assert detailed["error_stats"] == {"error_count": 0}
    assert (detailed["stream_count"], detailed["client_count"]) == (1, 1)
    performance = web.call("GET", "/stats/performance").json
    assert performance.pop("timestamp").endswith("+00:00")
    assert set(performance) == {"connection_pool", "performance_metrics", "failover_stats", "error_stats"}
    player.lose()


def test_uptime_never_wraps(build):
    web = build()
    web.clock.advance(1_000_000.9)
    for path, key in (("/", "uptime"), ("/health", "uptime_seconds"), ("/stats", "uptime_seconds")):
        assert web.call("GET", path).json[key] == 1_000_000


# players


def test_player_is_disconnected_from_all_streams(web):
    one, two = web.register("http://a/live/1.ts"), web.register("http://a/live/2.ts")
    first, second, third = play(web, one, "?client_id=x"), play(web, two, "?client_id=x"), play(web, two)
    answer = web.call("DELETE", "/hls/whatever/clients/x")
    assert answer.status == 200
    assert "2 players" in answer.json["message"]
    assert web.call("GET", "/clients").json["total_clients"] == 1
    assert web.call("GET", "/health").json["active_streams"] == 1
    assert first.aborted
    assert second.aborted
    assert not third.aborted
    for player in (first, second, third):
        player.lose()
    assert web.call("GET", "/clients").json["total_clients"] == 0


@pytest.mark.parametrize(
    "name", ["nobody", "a%2Fb", "%2Fa", "a%2F%2Fb", "%2F", "%F0%9F%93%BA", "%00", "%0A", "a%0D%0Ab", "x%0A", "x" * 500]
)
def test_unknown_player_is_no_error(web, name):
    answer = web.call("DELETE", f"/hls/x/clients/{name}")
    assert answer.status == 200
    assert "0 players" in answer.json["message"]


def test_client_id_may_hold_any_characters(web):
    name = web.register()
    player = play(web, name, "?client_id=a%2Fb%20%C3%A4")
    assert "1 player." in web.call("DELETE", "/hls/x/clients/a%2Fb%20%C3%A4").json["message"]
    assert player.aborted
    player.lose()


@pytest.mark.exhaustive
def test_counts_are_exact_after_random_events(web):
    """After each of a thousand random connects, disconnects and deletes, all counts are exact."""
    rnd = random.Random(7)
    expected: dict[str, list] = {}
    for step in range(1000):
        action = rnd.choice(["connect"] * 4 + ["leave"] * 3 + ["kick", "delete", "oldest"])
        playing = [(name, place) for name, players in expected.items() for place in range(len(players))]
        if action == "connect":
            name = web.register(f"http://a/live/{rnd.randrange(8)}.ts", metadata={"p": "x"})
            expected.setdefault(name, []).append(play(web, name, f"?client_id={step}"))
        elif action == "leave" and playing:
            name, place = rnd.choice(playing)
            expected[name].pop(place).lose()
        elif action == "kick" and playing:
            name, place = rnd.choice(playing)
            player = expected[name].pop(place)
            [client] = [web.registry.get(name).clients()[place]]
            web.call("DELETE", f"/hls/x/clients/{client.client_id}")
            assert player.aborted
            player.lose()
        elif action == "delete" and expected:
            name = rnd.choice(list(expected))
            assert web.call("DELETE", f"/streams/{name}").status == 200
            for player in expected.pop(name):
                assert player.answer().status == 404
                player.lose()
        elif action == "oldest" and expected:
            [*_, name] = [web.call("DELETE", "/streams/oldest-by-metadata?field=p&value=x").json["deleted_stream"]]
            for player in expected.pop(name):
                player.lose()
        check_counts(web, expected)
    for players in expected.values():
        for player in players:
            player.lose()
    check_counts(web, dict.fromkeys(expected, ()))


def check_counts(web, expected) -> None:
    watched = {name: len(players) for name, players in expected.items() if players}
    found = web.call("GET", "/streams/by-metadata?field=p&value=x&active_only=1").json
    assert {item["stream_id"]: item["client_count"] for item in found["matching_streams"]} == watched
    counts = web.call("GET", "/streams/counts-by-metadata?field=p&values=x").json["counts"]
    assert counts == {"x": len(watched)}
    health = web.call("GET", "/health").json["stats"]
    total = sum(watched.values())
    assert (health["total_streams"], health["active_streams"]) == (len(expected), len(watched))
    assert (health["total_clients"], health["active_clients"]) == (total, total)


# test-connection


def ask(web, body: bytes):
    wire = web.connect()
    wire.send(b"POST /test-connection HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return wire


@pytest.mark.parametrize(
    ("result", "success", "status"), [(200, True, 200), (204, False, 204), (302, False, 302), (999, False, 999)]
)
def test_status_of_the_url_is_returned(web, result, success, status):
    wire = ask(web, b'{"url": "http://editor.example:36400/up//"}')
    assert web.probe.asked == [("http://editor.example:36400/up", 5.0)]
    assert wire.take() == b""
    web.probe.answer(result)
    answer = wire.answer()
    assert answer.status == 200
    assert isinstance(answer.json.pop("message"), str)
    assert {**answer.json, "message": ""} == {
        "success": success,
        "status_code": status,
        "url_tested": "http://editor.example:36400/up",
        "message": "",
    }
    wire.lose()


@pytest.mark.parametrize("reason", list(Reason))
def test_error_of_the_url_is_returned(web, reason):
    wire = ask(web, b'{"url": "http://u:p@editor.example"}')
    web.probe.answer(SourceError(reason, "some detail"))
    answer = wire.answer().json
    assert answer["success"] is False
    assert answer["error"] == f"{reason.value}: some detail"
    assert set(answer) == {"success", "message", "error", "url_tested"}
    assert "u:p" not in answer["message"] + answer["error"]
    wire.lose()


@pytest.mark.parametrize("url", ["", "///", "editor.example/up", "ftp://a/", "http://", "http://a:x/", "file:///etc"])
def test_invalid_url_is_refused_without_a_request(web, url):
    answer = web.call("POST", "/test-connection", json={"url": url})
    assert answer.status == 200
    assert answer.json["success"] is False
    assert answer.json["url_tested"] == url.rstrip("/")
    assert web.probe.asked == []


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]"])
def test_metadata_addresses_are_refused(web, host):
    answer = web.call("POST", "/test-connection", json={"url": f"http://{host}/latest/meta-data"}).json
    assert (answer["success"], web.probe.asked) == (False, [])
    [error] = web.call("POST", "/streams", json={"url": f"http://{host}/live/1.ts"}).detail
    assert (error["type"], error["loc"]) == ("value_error", ["body", "url"])
    assert host.strip("[]") in error["msg"]
    for key in ("failover_urls", "failover_resolver_url"):
        url = f"http://{host}/1.ts"
        body = {"url": "http://a/1.ts", key: [url] if key == "failover_urls" else url}
        assert web.call("POST", "/streams", json=body).status == 422


def test_disconnected_client_cancels_the_fetch(web, flush_errors):
    wire = ask(web, b'{"url": "http://a.example"}')
    assert web.probe.cancelled == 0
    wire.lose()
    assert web.probe.cancelled == 1


def test_internal_error_during_the_fetch_is_500(web, flush_errors):
    wire = ask(web, b'{"url": "http://a.example"}')
    web.probe.answer(RuntimeError("ours"))
    answer = wire.answer()
    assert (answer.status, answer.detail) == (500, "Internal Server Error")
    wire.lose()
    assert len(flush_errors(RuntimeError)) == 1


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(url=st.text(max_size=40) | st.from_regex(r"https?://[ -~]{0,30}", fullmatch=True))
def test_any_url_is_answered(web, url):
    wire = ask(web, b'{"url": %s}' % __import__("json").dumps(url).encode())
    if web.probe.asked:
        web.probe.asked.clear()
        web.probe.answer(200)
    assert wire.answer().status in (200, 422)
    wire.lose()


# limits and signed URLs


def test_limit_is_503_with_retry_after(web, monkeypatch):
    def full(spec):
        raise LimitReached("limit reached: 1 streams (MAX_STREAMS)")

    monkeypatch.setattr(web.registry, "register", full)
    answer = web.call("POST", "/streams", json={"url": "http://a/live/1.ts"})
    assert answer.status == 503
    assert answer.detail == "limit reached: 1 streams (MAX_STREAMS)"
    assert int(answer.headers["Retry-After"]) > 0


def test_player_paths_are_signed_if_set(build):
    web = build(player_url_lifetime=60)
    answer = web.call("POST", "/streams", json={"url": "http://a/live/1.ts"}).json
    path = answer["stream_endpoint"]
    assert path == answer["playlist_url"] == answer["direct_url"]
    assert path.startswith(f"/stream/{answer['stream_id']}?expires=")
    assert web.call("HEAD", path).status == 200
    assert web.call("HEAD", f"/stream/{answer['stream_id']}").status == 403


# all calls of a client


def test_life_of_a_stream(web):
    created = web.call("POST", "/streams", json={"url": "http://a/live/1.ts", "failover_urls": ["http://b/1.ts"]}).json
    name = created["stream_id"]
    player = play(web, name, "?client_id=cli")
    assert [item["stream_id"] for item in web.call("GET", "/streams").json["streams"]] == [name]
    info = web.call("GET", f"/streams/{name}").json
    assert info["clients"][0]["client_id"] == "cli"
    stats = web.call("GET", "/stats").json
    assert [stats["proxy_stats"][key] for key in SEVEN[:4]] == [1, 1, 1, 1]
    assert all(stats[key] for key in ("streams", "clients"))
    assert web.call("POST", f"/streams/{name}/failover").json["new_url"] == "http://b/1.ts"
    assert web.call("GET", "/health").json["status"] == "healthy"
    assert web.call("DELETE", f"/streams/{name}").json["message"]
    again = web.call("DELETE", f"/streams/{name}")
    assert (again.status, isinstance(again.detail, str)) == (404, True)
    player.lose()
