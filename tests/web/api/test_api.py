"""The management API: statuses, keys, repeated registrations."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3uproxy import __version__
from m3uproxy.web.api.response_types import SourceObject

STREAM_KEYS = set(
    "stream_id original_url current_url user_agent client_count total_bytes_served total_segments_served "
    "error_count is_active has_failover failover_urls failover_resolver_url current_failover_index "
    "failover_attempts last_failover_time stream_type created_at last_access metadata headers health sources".split()
)
CLIENT_KEYS = set(
    "client_id stream_id user_agent ip_address username bytes_served segments_served created_at last_access "
    "is_connected".split()
)
STATS_KEYS = set(
    "total_streams active_streams total_clients active_clients total_bytes_served total_segments_served "
    "uptime_seconds".split()
)
URL = "http://provider.example/live/1.ts"


def play(web, stream_id, query=""):
    wire = web.connect()
    wire.send(f"GET /stream/{stream_id}{query} HTTP/1.1\r\nHost: a\r\nUser-Agent: TV/1\r\n\r\n".encode())
    return wire


def test_create_returns_id_and_paths(web):
    answer = web.call("POST", "/streams", json={"url": URL, "user_agent": "TV/1.0", "metadata": {"id": 5}})
    assert answer.status == 200
    name = answer.json["stream_id"]
    assert len(name) == 32
    assert int(name, 16)
    message = answer.json["message"]
    assert isinstance(message, str)
    assert answer.json == {
        "stream_id": name,
        "primary_url": URL,
        "failover_urls": [],
        "user_agent": "TV/1.0",
        "stream_type": "direct",
        "stream_endpoint": f"/stream/{name}",
        "playlist_url": f"/stream/{name}",
        "direct_url": f"/stream/{name}",
        "message": message,
        "metadata": {"id": "5"},
    }


def test_create_does_not_call_the_provider(web):
    web.register()
    assert web.provider.dialled == []


def test_create_without_metadata_has_no_metadata(web):
    assert "metadata" not in web.call("POST", "/streams", json={"url": URL, "metadata": {}}).json


def test_create_takes_any_content_type_and_the_prefix(web):
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}):
        assert web.call("POST", "/m3u-proxy/streams", json={"url": URL}, headers=headers).status == 200


def test_create_drops_blanks_and_line_ends_around_a_url(web):
    plain = web.call("POST", "/streams", json={"url": URL, "failover_urls": [URL + "2"]}).json
    padded = {"url": f" {URL}\t\r\n", "failover_urls": [f"{URL}2\r"]}
    assert web.call("POST", "/streams", json=padded).json == plain


def test_create_accepts_headers_behind_a_url(web):
    url = f"{URL}|User-Agent=VLC%2F3&Referer=http%3A%2F%2Fx%2F"
    answer = web.call("POST", "/streams", json={"url": url, "failover_urls": [f"{URL}|X-Key=1"]})
    assert answer.json["primary_url"] == url
    wire = play(web, answer.json["stream_id"])
    assert web.provider.dialled == [URL]
    stream = web.call("GET", f"/streams/{answer.json['stream_id']}").json["stream"]
    assert stream["current_url"] == URL
    wire.lose()


@pytest.mark.parametrize("behind", ["Host=x", "X=a%0D%0Ab", "X Y=1", "Content-Length=1", "X=1&rest"])
def test_create_refuses_unusable_headers_behind_a_url(web, behind):
    for body in ({"url": f"{URL}|{behind}"}, {"url": URL, "failover_urls": [f"{URL}|{behind}"]}):
        answer = web.call("POST", "/streams", json=body)
        assert answer.status == 422
        assert "header" in answer.json["detail"][0]["msg"]


def test_create_uses_the_default_user_agent(build):
    web = build(default_user_agent="Default/1")
    for agent in (None, ""):
        answer = web.call("POST", "/streams", json={"url": URL, "user_agent": agent})
        assert answer.json["user_agent"] == "Default/1"


@pytest.mark.parametrize(
    "url",
    [
        "http://a/film.mp4",
        "http://a/film.mkv?x=1",
        "http://a/film.webm",
        "http://a/film.avi",
        "http://a/movie/u/p/1",
        "http://a/series/u/p/1.ts",
        "http://a/timeshift/u/p/60/2026-01-01/1.ts",
    ],
)
def test_file_urls_are_vod_streams(web, url):
    name = web.register(url)
    assert web.call("GET", f"/streams/{name}").json["stream"]["stream_type"] == "VOD"
    assert web.provider.dialled == []


@pytest.mark.parametrize("url", ["http://a/live/1.m3u8", "http://a/x.M3U8?token=1"])
def test_create_returns_a_playlist_path_for_hls(web, url):
    answer = web.call("POST", "/streams", json={"url": url, "failover_urls": ["http://b/1.m3u8"]}).json
    path = f"/hls/{answer['stream_id']}/playlist.m3u8"
    assert answer["stream_type"] == "hls"
    assert [answer[key] for key in ("stream_endpoint", "playlist_url", "direct_url")] == [path] * 3
    [listed] = web.call("GET", "/streams").json["streams"]
    assert (listed["stream_type"], listed["client_count"], listed["total_segments_served"]) == ("HLS", 0, 0)
    assert listed["health"] is None
    assert [source["in_use"] for source in listed["sources"]] == [False, False]
    assert web.call("POST", f"/streams/{answer['stream_id']}/failover").json["failover_index"] == 1


def test_hls_player_is_listed(web):
    stream = web.register("http://a/live/1.m3u8", metadata={"id": "7"})
    wire = web.connect()
    wire.send(f"GET /hls/{stream}/playlist.m3u8?client_id=tv&username=joe HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    [client] = web.call("GET", "/clients").json["clients"]
    assert (client["client_id"], client["username"], client["segments_served"]) == ("tv", "joe", 0)
    counts = web.call("GET", "/streams/counts-by-metadata?field=id&values=7").json["counts"]
    assert counts == {"7": 1}
    assert web.call("DELETE", f"/hls/{stream}/clients/tv").json["message"] == "Disconnected 1 player."
    assert web.call("GET", "/clients").json["total_clients"] == 0
    wire.lose()


PAGES = ["playlist.m3u8", "segment.ts?url=x&client_id=y", "segment?url=x&client_id=y"]


@pytest.mark.parametrize("path", PAGES[1:])
def test_segments_of_a_film_are_not_available(web, path):
    assert web.call("GET", f"/hls/{web.register('http://a/movie/1.mp4')}/{path}").status == 501


def test_live_stream_is_available_as_hls(web):
    stream = web.register()
    assert [web.call("GET", f"/hls/{stream}/{path}").status for path in PAGES[1:]] == [404, 404]
    assert web.call("GET", f"/hls/{stream}/segment.ts").status == 422
    assert web.call("GET", "/clients").json["total_clients"] == 0
    wire = web.connect()
    wire.send(f"GET /hls/{stream}/playlist.m3u8?client_id=tv HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    [client] = web.call("GET", "/clients").json["clients"]
    assert (client["client_id"], client["stream_id"], client["segments_served"]) == ("tv", stream, 0)
    assert web.call("DELETE", f"/hls/{stream}/clients/tv").json["message"] == "Disconnected 1 player."
    assert wire.answer().status == 502
    assert web.call("GET", "/clients").json["total_clients"] == 0
    wire.lose()


@pytest.mark.parametrize(("sticky", "kept"), [(None, True), (False, False), (True, True)])
def test_setting_is_the_default_of_sticky_sessions(build, sticky, kept):
    web = build(use_sticky_session=True)
    web.register("http://a/live/1.m3u8", use_sticky_session=sticky)
    assert web.registry.streams()[0].spec.use_sticky_session is kept


@pytest.mark.parametrize("url", ["http://a/u/p/7", "http://a/x.ts", "http://a/x?u=y.m3u8", "HTTPS://a/live/1"])
def test_other_urls_are_live(web, url):
    assert web.call("POST", "/streams", json={"url": url}).json["stream_type"] == "direct"


def test_keys_of_the_contract_and_unknown_keys_are_accepted(web):
    body = {
        "url": URL,
        "failover_urls": ["http://b/1.ts"],
        "failover_resolver_url": "http://editor/resolve",
        "user_agent": "TV/1.0",
        "metadata": {"s": "x", "t": True, "f": False, "n": 1.0, "i": 5},
        "headers": {"Referer": "http://r/", "X-Null": None},
        "strict_live_ts": True,
        "use_sticky_session": None,
        "enable_silence_detection": False,
        "silence_threshold_db": -50,
        "silence_duration": 3.0,
        "silence_check_interval": None,
        "silence_monitoring_grace_period": 15,
        "silence_failover_threshold": 3,
        "verify_tls": False,
        "something_newer": {"a": [1]},
    }
    assert web.call("POST", "/streams", json=body).status == 200
    [stream] = web.registry.streams()
    assert stream.spec.headers == (("Referer", "http://r/"),)
    assert stream.spec.metadata == {"s": "x", "t": "True", "f": "False", "n": "1.0", "i": "5"}
    assert (stream.spec.strict_live_ts, stream.spec.use_sticky_session, stream.spec.verify_tls) == (True, False, False)
    assert stream.spec.sources == (URL, "http://b/1.ts")


@pytest.mark.parametrize(
    ("body", "kind", "loc"),
    [
        (b"", "missing", ["body"]),
        (b"{", "json_invalid", ["body"]),
        (b'{"url": NaN}', "json_invalid", ["body"]),
        (b"[" * 100_000, "json_invalid", ["body"]),
        (b'"text"', "model_attributes_type", ["body"]),
        (b"[]", "model_attributes_type", ["body"]),
        (b"null", "model_attributes_type", ["body"]),
        (b"{}", "missing", ["body", "url"]),
        (b'{"url": 5}', "string_type", ["body", "url"]),
        (b'{"url": "http://a/", "failover_urls": "x"}', "list_type", ["body", "failover_urls"]),
        (b'{"url": "http://a/", "failover_urls": ["ftp://b"]}', "value_error", ["body", "failover_urls", 0]),
        (b'{"url": "http://a/", "failover_resolver_url": "x"}', "value_error", ["body", "failover_resolver_url"]),
        (b'{"url": "http://a/", "metadata": []}', "dict_type", ["body", "metadata"]),
        (b'{"url": "http://a/", "metadata": {"a": null}}', "value_error", ["body", "metadata"]),
        (b'{"url": "http://a/", "metadata": {"a": [1]}}', "value_error", ["body", "metadata"]),
        (b'{"url": "http://a/", "metadata": {"a": {}}}', "value_error", ["body", "metadata"]),
        (b'{"url": "http://a/", "headers": {"a": 1}}', "string_type", ["body", "headers", "a"]),
        (b'{"url": "http://a/", "headers": {"a b": "1"}}', "value_error", ["body", "headers"]),
        (b'{"url": "http://a/", "headers": {"": "1"}}', "value_error", ["body", "headers"]),
        (b'{"url": "http://a/", "headers": {"a\\r\\n": "1"}}', "value_error", ["body", "headers"]),
        (b'{"url": "http://a/", "headers": {"a": "1\\r\\nb: c"}}', "value_error", ["body", "headers", "a"]),
        (b'{"url": "http://a/", "headers": {"hOst": "b"}}', "value_error", ["body", "headers"]),
        (b'{"url": "http://a/", "headers": {"Connection": "close"}}', "value_error", ["body", "headers"]),
        (b'{"url": "http://a/", "headers": {"Content-Length": "1"}}', "value_error", ["body", "headers"]),
        (b'{"url": "http://a/", "headers": {"Transfer-Encoding": "x"}}', "value_error", ["body", "headers"]),
        (b'{"url": "http://a/", "user_agent": "x\\ny"}', "value_error", ["body", "user_agent"]),
        (b'{"url": "http://a/", "strict_live_ts": "perhaps"}', "bool_parsing", ["body", "strict_live_ts"]),
        (b'{"url": "http://a/", "silence_duration": "x"}', "float_parsing", ["body", "silence_duration"]),
    ],
)  # fmt: skip
def test_invalid_body_is_refused(web, body, kind, loc):
    answer = web.call("POST", "/streams", body=body)
    assert answer.status == 422
    [error] = answer.detail
    assert (error["type"], error["loc"]) == (kind, loc)
    assert isinstance(error["msg"], str)
    assert "input" in error
    if kind == "value_error":
        assert error["msg"].startswith("Value error, ")
        assert error["ctx"] == {"error": {}}
    assert web.registry.streams() == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "provider.example/1.ts",
        "ftp://a/1.ts",
        "rtmp://a/1",
        "http://",
        "http:///1.ts",
        "http://:80/1.ts",
        "http://[::1/1.ts",
        "http://a:70000/",
        "http://a:x/",
        "http://a/<SCRIPT>",
        "http://a/?u=javascript:x",
        "http://a/?u=data:x",
        "http://a/?u=vbscript:x",
        "http://a/\r\nX: y",
        "http://a/\x00",
    ],
)
def test_invalid_url_is_refused(web, url):
    [error] = web.call("POST", "/streams", json={"url": url}).detail
    assert (error["type"], error["loc"], error["input"]) == ("value_error", ["body", "url"], url)


@pytest.mark.parametrize(
    "url",
    ["HTTP://Host/x", "http://u:p@[::1]:8080/live/1.ts", "http://a/My Channel.ts", "http://a/x?sig=a%2Bb+c%3D", "http://ä/ö"],
)  # fmt: skip
def test_urls_are_kept_byte_for_byte(web, url):
    assert web.call("POST", "/streams", json={"url": url}).json["primary_url"] == url
    assert web.registry.streams()[0].spec.url == url


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from("url failover_urls metadata headers user_agent silence_duration verify_tls".split())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(KEYS | st.text(), JSON | st.just(URL)))
def test_any_json_is_answered(web, body):
    answer = web.call("POST", "/streams", json=body)
    assert answer.status in (200, 422, 501)
    assert isinstance(answer.json, dict)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary())
def test_any_bytes_are_answered(web, body):
    assert web.call("POST", "/streams", body=body).status == 422


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 5000, "0." + "1" * 5000])
def test_odd_numbers_are_answered(web, number):
    body = b'{"url": "http://a/x.ts", "metadata": {"a": %s}, "silence_duration": %s}' % ((number.encode(),) * 2)
    assert web.call("POST", "/streams", body=body).status in (200, 422)


def test_repeated_registration_returns_the_same_stream(web):
    name = web.register(metadata={"a": "1"})
    created = web.registry.get(name).created_at
    assert web.register(metadata={"a": "2"}) == name
    assert web.register(user_agent="Other/1") != name
    assert web.register(headers={"Cookie": "x"}) != name
    assert web.registry.get(name).spec.metadata == {"a": "2"}
    assert web.registry.get(name).created_at == created


def test_listed_stream_has_all_keys(web):
    assert web.call("GET", "/streams").json == {"streams": [], "total": 0}
    name = web.register(
        headers={"Authorization": "Basic abc", "X-Api-Key": "k", "Cookie": "c", "Referer": "http://r/"},
        failover_urls=["http://b/1.ts"],
        metadata={"id": "7"},
    )
    listed = web.call("GET", "/streams").json
    assert listed["total"] == 1
    [stream] = listed["streams"]
    assert set(stream) == STREAM_KEYS
    assert stream["stream_id"] == name
    assert stream["original_url"] == stream["current_url"] == URL
    assert stream["headers"] == {"Authorization": "***", "X-Api-Key": "***", "Cookie": "***", "Referer": "http://r/"}
    assert stream["metadata"] == {"id": "7"}
    assert stream["health"] is None
    assert [(source["index"], source["in_use"], source["failures"]) for source in stream["sources"]] == [
        (0, False, 0),
        (1, False, 0),
    ]
    assert set(stream["sources"][0]) == set(SourceObject.__annotations__)
    assert stream["stream_type"] == "Live Continuous"
    assert (stream["has_failover"], stream["failover_urls"]) == (True, ["http://b/1.ts"])
    assert (stream["current_failover_index"], stream["failover_attempts"], stream["last_failover_time"]) == (0, 0, None)
    for key in ("created_at", "last_access"):
        assert datetime.strptime(stream[key], "%Y-%m-%dT%H:%M:%S.%f%z")
        assert stream[key].endswith("+00:00")
    shown = web.call("GET", f"/streams/{name}").json
    assert shown == {"stream": stream, "clients": [], "client_count": 0}


def test_clients_are_listed_while_they_are_connected(web):
    name = web.register()
    assert web.call("GET", "/clients").json == {"total_clients": 0, "clients": []}
    player = play(web, name, "?username=anna")
    for path in ("/clients", "/stats/clients"):
        listed = web.call("GET", path).json
        assert listed["total_clients"] == 1
    [client] = listed["clients"]
    assert set(client) == CLIENT_KEYS
    assert (client["stream_id"], client["username"], client["user_agent"]) == (name, "anna", "TV/1")
    assert (client["ip_address"], client["is_connected"], client["bytes_served"]) == ("192.168.1.10", True, 0)
    shown = web.call("GET", f"/streams/{name}").json
    assert shown["client_count"] == shown["stream"]["client_count"] == 1
    assert [item["client_id"] for item in shown["clients"]] == [client["client_id"]]
    stats = web.call("GET", "/health").json["stats"]
    assert (stats["active_streams"], stats["total_clients"], stats["active_clients"]) == (1, 1, 1)
    player.lose()
    assert web.call("GET", "/clients").json["clients"] == []


def test_health_has_version_and_totals(web):
    web.register()
    web.clock.advance(61.5)
    answer = web.call("GET", "/health").json
    stats = answer.pop("stats")
    assert answer == {
        "status": "healthy",
        "root_path": "/m3u-proxy",
        "version": __version__,
        "uptime_seconds": 61,
        "active_streams": 0,
        "active_clients": 0,
        "total_bytes_served": 0,
    }
    assert set(stats) == STATS_KEYS
    assert (stats["total_streams"], stats["uptime_seconds"]) == (1, 61)


def test_delete_disconnects_players(web):
    name = web.register()
    player = play(web, name)
    answer = web.call("DELETE", f"/streams/{name}")
    assert answer.status == 200
    assert isinstance(answer.json["message"], str)
    assert web.call("GET", "/clients").json["total_clients"] == 0
    player.lose()
    assert web.call("DELETE", f"/streams/{name}").status == 404
    assert web.call("GET", f"/streams/{name}").status == 404


def test_fail_over_moves_one_step_and_wraps_round(web):
    name = web.register(failover_urls=["http://b/1.ts", "http://c/1.ts"])
    moves = [web.call("POST", f"/streams/{name}/failover").json for _ in range(3)]
    assert [move["new_url"] for move in moves] == ["http://b/1.ts", "http://c/1.ts", URL]
    assert [move["failover_index"] for move in moves] == [1, 2, 0]
    assert [move["failover_attempts"] for move in moves] == [1, 2, 3]
    assert set(moves[0]) == {
        "message",
        "new_url",
        "failover_index",
        "failover_attempts",
        "active_clients",
        "stream_type",
    }
    assert (moves[0]["active_clients"], moves[0]["stream_type"]) == (0, "Live Continuous")


def test_fail_over_without_a_backup_is_refused(web):
    answer = web.call("POST", f"/streams/{web.register()}/failover")
    assert answer.status == 400
    assert isinstance(answer.detail, str)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/streams/{}"), ("DELETE", "/streams/{}"), ("POST", "/streams/{}/failover"), ("GET", "/stream/{}")],
)
@pytest.mark.parametrize("name", ["0" * 32, "x", "%F0%9F%93%BA", ".."])
def test_unknown_stream_is_404(web, method, path, name):
    answer = web.call(method, path.format(name))
    assert answer.status == 404
    assert isinstance(answer.detail, str)


@pytest.mark.parametrize("path", ["/nothing", "/streams/a/b", "/stream", "/m3u-proxy/m3u-proxy/streams", "//"])
def test_unknown_path_is_404(web, path):
    answer = web.call("GET", path)
    assert (answer.status, answer.json) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/streams", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/streams", "GET, HEAD, OPTIONS, POST"),
        ("PATCH", "/streams/x", "DELETE, GET, HEAD, OPTIONS"),
        ("GET", "/streams/x/failover", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("GET", "/streams/oldest-by-metadata", "DELETE, OPTIONS"),
        ("BREW", "/clients", "GET, HEAD, OPTIONS"),
    ],
)
def test_wrong_method_is_405(web, method, path, allowed):
    answer = web.call(method, path)
    assert (answer.status, answer.json) == (405, {"detail": "Method Not Allowed"})
    assert answer.headers["Allow"] == allowed


def test_head_is_get_without_a_body(web):
    get, head = web.call("GET", "/streams"), web.call("HEAD", "/streams")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


@pytest.mark.parametrize(
    "host", ["[::1]:8085", "a.example:80", "x" * 300, "a..b", "ä", "\xff\xfe", "a b", "", ":", "."]
)
def test_any_host_header_is_answered(web, host, flush_errors):
    wire = web.connect()
    wire.send(b"GET /health HTTP/1.1\r\nHost: " + host.encode("latin-1") + b"\r\n\r\n")
    assert wire.answer().status in (200, 400, 403)
    wire.lose()


def test_http_1_0_request_without_host_is_answered(web):
    wire = web.connect()
    wire.send(b"GET /health HTTP/1.0\r\n\r\n")
    assert wire.answer().json["status"] == "healthy"
    assert wire.closing
    wire.lose()


THREE = ["http://a/1.ts", "http://b/1.ts", "http://c/1.ts"]


def test_fail_over_to_an_index(web):
    stream = web.register(THREE[0], failover_urls=THREE[1:])
    moved = web.call("POST", f"/streams/{stream}/failover?index=2")
    assert (moved.status, moved.json["new_url"], moved.json["failover_index"]) == (200, THREE[2], 2)
    assert web.call("POST", f"/streams/{stream}/failover?index=3").status == 404
    assert web.call("POST", f"/streams/{stream}/failover?index=-1").status == 422
    assert web.call("POST", f"/streams/{stream}/failover").json["failover_index"] == 0, "wraps round"


def test_timeline_lists_the_decisions(web):
    stream = web.register("http://user:geheim@a/live/user/geheim/1.ts", failover_urls=THREE[1:])
    assert web.call("GET", f"/streams/{stream}/timeline").json == {"stream_id": stream, "timeline": []}
    player = play(web, stream)
    web.call("POST", f"/streams/{stream}/failover")
    (entry,) = web.call("GET", f"/streams/{stream}/timeline").json["timeline"]
    assert (entry["number"], entry["to"], entry["cause"]) == (1, THREE[1], "asked for by the API")
    assert "geheim" not in str(entry)
    player.lose()
