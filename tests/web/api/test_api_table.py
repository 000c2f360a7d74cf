"""Rules for all routes, tested on each route of the table, so that new routes are included."""

from __future__ import annotations

import re

import attrs
import pytest
from pydantic import SecretStr

from m3uproxy.settings import Settings
from m3uproxy.web.api.app import Api
from m3uproxy.web.api.endpoint import Route

TOKEN = "s3cret&token"
QUERY = "api_token=s3cret%26token"
UNKNOWN = "0" * 32
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def all_routes() -> list[Route]:
    """Return the routes of an API without its parts."""
    settings = Settings.model_construct(
        **{**Settings(_env_file=None).model_dump(), "api_token": SecretStr(TOKEN)}  # type: ignore[call-arg]
    )
    return Api(None, settings, None, None, object()).routes  # type: ignore[arg-type]


ROUTES = all_routes()
GUARDED = [route for route in ROUTES if not route.open]
NAMES = [f"{route.method} {route.path}" for route in ROUTES]


def each(routes, **more):
    return pytest.mark.parametrize("route", routes, ids=[f"{route.method} {route.path}" for route in routes], **more)


def path_of(route: Route, name: str = UNKNOWN) -> str:
    """Return the path of a route with its parameters and a valid query."""
    path = re.sub(r"\{.*?\}", name, route.path)
    if route.query is None:
        return path
    fields = route.query.model_fields
    return path + "?" + "&".join(f"{name}=x" for name, field in fields.items() if field.is_required())


def with_query(path: str, query: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{query}"


def valid_body(route: Route):
    return {"url": "http://provider.example/live/1.ts"} if route.body else None


@attrs.frozen
class GuardedApi:
    """A web rig with a token; sends a valid body unless the test gives one."""

    web: object

    def ask(self, route: Route, path: str | None = None, **more):
        if "json" not in more and "body" not in more:
            more["json"] = valid_body(route)
        return self.web.call(route.method, path or path_of(route), **more)  # type: ignore[attr-defined]


@pytest.fixture
def guarded(build) -> GuardedApi:
    return GuardedApi(build(api_token=TOKEN))


def reached_view(route: Route, answer) -> bool:
    """Return whether the request reached the view: 404 for an unknown stream, else 200."""
    return answer.status == (404 if "{" in route.path and "clients" not in route.path else 200)


def test_routes_of_the_contract_exist():
    wanted = """
        POST /streams | GET /streams | GET /streams/by-metadata | GET /streams/counts-by-metadata
        | DELETE /streams/by-metadata | DELETE /streams/oldest-by-metadata | GET /streams/{stream_id}
        | DELETE /streams/{stream_id} | POST /streams/{stream_id}/failover
        | DELETE /hls/{stream_id}/clients/{client_id:path} | GET /clients | GET /stats | GET /stats/detailed
        | GET /stats/performance | GET /stats/streams | GET /stats/clients | GET /health | GET /info | GET /
        | GET /webhooks | GET /broadcast
        | POST /test-connection | GET /docs | GET /redoc | GET /openapi.json | GET /static/{name} | GET /favicon.ico
    """
    ours = {"GET /streams/{stream_id}/timeline"}
    assert set(NAMES) == {" ".join(name.split()) for name in wanted.split("|")} | ours


@each(GUARDED)
def test_missing_token_is_401(guarded, route):
    answer = guarded.ask(route)
    assert answer.status == 401
    assert isinstance(answer.detail, str)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@each(GUARDED)
@pytest.mark.parametrize(("query", "headers"), [("", {"X-API-Token": "wrong"}), ("api_token=wrong", {})])
def test_wrong_token_is_403(guarded, route, query, headers):
    path = with_query(path_of(route), query) if query else None
    answer = guarded.ask(route, path, headers=headers)
    assert answer.status == 403
    assert isinstance(answer.detail, str)


@each(GUARDED)
@pytest.mark.parametrize(("query", "headers"), [("", {"X-API-Token": TOKEN}), (QUERY, {})])
def test_right_token_is_accepted(guarded, route, query, headers):
    if route.path == "/test-connection":
        wire = guarded.web.connect()
        body = b'{"url": "http://a.example/"}'
        lines = [f"POST {route.path}{'?' if query else ''}{query} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        wire.send("\r\n".join([*lines, "", ""]).encode() + body)
        guarded.web.probe.answer(200)
        answer = wire.answer()
        wire.lose()
    else:
        answer = guarded.ask(route, with_query(path_of(route), query) if query else None, headers=headers)
    assert reached_view(route, answer), answer.body
    assert "WWW-Authenticate" not in answer.headers


@each([route for route in ROUTES if route.open])
@pytest.mark.parametrize("headers", [{}, {"X-API-Token": "wrong"}])
def test_open_routes_need_no_token(guarded, route, headers):
    answer = guarded.ask(route, path_of(route, "logo.svg"), headers=headers)
    assert answer.status == 200
    assert "WWW-Authenticate" not in answer.headers


@each([route for route in ROUTES if route.body])
@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 3000])
def test_body_that_is_not_json_is_refused_before_the_token_is_checked(guarded, route, token, body):
    answer = guarded.ask(route, body=body, headers={"X-API-Token": TOKEN} if token else {})
    assert answer.status == 422
    assert answer.detail[0]["loc"] == ["body"]


@each([route for route in ROUTES if route.body])
@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'"x"', b'{"url": []}', b'{"url": {"a": null}}'])
def test_invalid_body_is_refused_after_the_token_is_checked(guarded, route, body):
    assert guarded.ask(route, body=body).status == 401
    answer = guarded.ask(route, body=body, headers={"X-API-Token": TOKEN})
    assert answer.status == 422
    assert all(wrong["loc"][0] == "body" for wrong in answer.detail)


@each([r for r in ROUTES if r.query and any(f.is_required() for f in r.query.model_fields.values())])
def test_missing_parameters_are_reported(guarded, route):
    plain = route.path
    assert guarded.ask(route, plain).status == 401
    answer = guarded.ask(route, with_query(plain, QUERY))
    assert answer.status == 422
    missing = {tuple(wrong["loc"]) for wrong in answer.detail}
    assert missing == {("query", name) for name, field in route.query.model_fields.items() if field.is_required()}
    assert {(wrong["type"], wrong["input"]) for wrong in answer.detail} == {("missing", None)}
    assert TOKEN not in answer.body.decode()


@each([route for route in ROUTES if "{" in route.path and "clients" not in route.path])
@pytest.mark.parametrize("name", [UNKNOWN, "x", "%F0%9F%93%BA", "a%2Fb", "%00", "..%2f..%2fsetup.py", "%3Cscript%3E"])
def test_unknown_names_are_404(guarded, route, name):
    answer = guarded.ask(route, path_of(route, name), headers={"X-API-Token": TOKEN})
    assert answer.status == 404
    assert isinstance(answer.detail, str)


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_allow_lists_the_methods(guarded, path):
    routes = [route for route in ROUTES if route.path == path]
    there = {route.method for route in routes} | {"OPTIONS"}
    there |= {"HEAD"} if "GET" in there else set()
    name = path_of(routes[0]).partition("?")[0]
    for method in {*METHODS, "BREW"} - there:
        answer = guarded.web.call(method, name)
        assert answer.status == 405
        if method != "HEAD":
            assert answer.detail == "Method Not Allowed"
        assert set(answer.headers["Allow"].split(", ")) == there
    answer = guarded.web.call("OPTIONS", name)
    assert (answer.status, answer.body) == (204, b"")
    assert set(answer.headers["Allow"].split(", ")) == there
    assert "Content-Length" not in answer.headers


@each([route for route in ROUTES if route.method == "GET"])
def test_head_is_get_without_a_body(guarded, route):
    headers = {"X-API-Token": TOKEN}
    get = guarded.web.call("GET", path_of(route), headers=headers)
    head = guarded.web.call("HEAD", path_of(route), headers=headers)
    assert (head.status, head.body) == (get.status, b"")
    if route.path != "/stats/performance":  # it has the time in it
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@each(ROUTES)
def test_prefix_and_final_slash_are_accepted(guarded, route):
    headers = {"X-API-Token": TOKEN}
    if route.path != "/test-connection":
        bare, prefixed = (guarded.ask(route, p + path_of(route), headers=headers) for p in ("", "/m3u-proxy"))
        assert bare.status == prefixed.status
    if route.path != "/":
        moved = guarded.ask(route, path_of(route).partition("?")[0] + "/", headers=headers)
        assert moved.status in (307, 404)
        assert moved.status == 307 or "{client_id" in route.path


@each([route for route in ROUTES if not route.body])
@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}"])
def test_route_without_a_body_accepts_and_ignores_any(guarded, route, body):
    headers = {"X-API-Token": TOKEN, "Content-Type": "application/json"}
    answer = guarded.ask(route, body=body, headers=headers)
    assert answer.status == guarded.ask(route, headers=headers).status
    assert answer.status not in (400, 411, 422)
