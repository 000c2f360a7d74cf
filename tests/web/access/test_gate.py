"""Access to the management API: addresses, names, rebinding, pages of other origins, documentation."""

from __future__ import annotations

import pytest
from gate_rig import ABROAD, HOME, TOKEN, guarded

EVERY = [("GET", "/streams"), ("POST", "/streams"), ("DELETE", "/streams/x"), ("GET", "/nothing"), ("OPTIONS", "/")]
ROUTES = pytest.mark.parametrize(("method", "path"), EVERY)


def refused(web, status=403, **request):
    """Return the detail of a refusal. The request did not reach the API, and no page may read the response."""
    before = list(web.api.asked)
    answer = web.ask(**request)
    assert answer.status == status, answer.body
    assert web.api.asked == before
    assert "Access-Control-Allow-Origin" not in answer.headers
    return answer.detail if request.get("method") != "HEAD" else ""


def allowed(web, **request):
    before = len(web.api.asked)
    answer = web.ask(**request)
    assert answer.status == 200, answer.body
    assert len(web.api.asked) == before + 1
    return answer


# addresses


@ROUTES
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "172.31.255.255", "192.168.0.9", "169.254.3.4", "100.64.0.1",
     "fd00::1", "fe80::1", "fe80::1%eth0", "::ffff:192.168.1.1", "unix"],
)  # fmt: skip
def test_private_addresses_are_allowed_without_a_token(method, path, address):
    allowed(guarded(), method=method, path=path, frm=address)


@ROUTES
@pytest.mark.parametrize(
    "address",
    [ABROAD, "8.8.8.8", "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.128.0.1", "100.63.0.1", "192.0.2.1", "0.0.0.0",
     "2001:db8::1", "2600::1", "::ffff:8.8.8.8", "::", "64:ff9b::a00:1"],
)  # fmt: skip
def test_other_addresses_are_refused_without_a_token(method, path, address):
    assert "API_TOKEN" in refused(guarded(), method=method, path=path, frm=address)


def test_the_right_token_is_accepted_from_any_address():
    web = guarded(api_token=TOKEN)
    allowed(web, frm=ABROAD, X_API_Token=TOKEN)
    refused(web, 401, frm=ABROAD)
    refused(web, 401, frm=HOME)


def test_the_address_behind_a_trusted_proxy_counts():
    web = guarded()
    refused(web, frm="127.0.0.1", X_Forwarded_For=ABROAD)
    refused(web, frm="127.0.0.1", X_Forwarded_For=f"127.0.0.1, {ABROAD}")
    refused(web, frm="127.0.0.1", X_Real_IP=ABROAD)
    allowed(web, frm="127.0.0.1", X_Forwarded_For=f"{ABROAD}, {HOME}")
    # A client that is no trusted proxy cannot state another address.
    refused(web, frm=ABROAD, X_Forwarded_For=HOME)
    refused(web, frm=ABROAD, X_Real_IP="127.0.0.1")


def test_unknown_addresses_behind_a_proxy_are_refused():
    for who in ("unknown", "garbage, _hidden", "1.2.3", f"{HOME}, unknown"):
        refused(guarded(), frm="127.0.0.1", X_Forwarded_For=who)


def test_media_are_served_to_all_addresses():
    web = guarded()
    name = web.register()
    answer = web.ask("HEAD", f"/stream/{name}", host="evil.example", frm=ABROAD, Origin="http://evil.example")
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert web.ask("GET", "/m3u-proxy/stream/x", frm=ABROAD, Sec_Fetch_Site="cross-site").status == 404


# names: DNS rebinding


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8085", "LOCALHOST", "localhost.", "app.localhost:1", "127.0.0.1", "192.168.1.2:8085",
     "8.8.8.8", "[::1]:8085", "[fd00::1]", "[::ffff:1.2.3.4]", "m3u-proxy:8085", "nas", "NAS.", None],
)  # fmt: skip
def test_names_safe_from_rebinding(host):
    allowed(guarded(), host=host)


@ROUTES
@pytest.mark.parametrize("more", [{}, {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "same-origin"}])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8085", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example.",
     "1.2.3", "notlocalhost.example"],
)  # fmt: skip
def test_rebinding_is_refused(method, path, host, more):
    assert "ALLOWED_HOSTS" in refused(guarded(), method=method, path=path, host=host, **more)


def test_rebinding_with_a_token_in_the_query_or_a_wrong_one_is_refused():
    web = guarded(api_token="right")
    refused(web, host="evil.example", path="/streams?api_token=right")
    refused(web, host="evil.example", X_API_Token="wrong")
    refused(web, host="evil.example")


def test_the_right_token_in_the_header_allows_any_name():
    web = guarded(api_token=TOKEN)
    allowed(web, host="tv.example", frm=ABROAD, X_API_Token=TOKEN)
    # But not any page.
    refused(web, host="tv.example", X_API_Token=TOKEN, Origin="http://evil.example")


def test_allowed_hosts():
    web = guarded(allowed_hosts="Tv.example, nas.lan")
    for host in ("tv.example", "TV.Example:8085", "tv.example.", "nas.lan"):
        allowed(web, host=host)
    refused(web, host="other.example")
    refused(web, host="sub.tv.example")
    allowed(guarded(allowed_hosts="*"), host="any.example")
    allowed(guarded(public_url="https://tv.example:8443/x"), host="tv.example")


def test_x_forwarded_host_of_a_trusted_proxy_is_checked_too():
    web = guarded(allowed_hosts="tv.example")
    allowed(web, frm="127.0.0.1", host="127.0.0.1:8085", X_Forwarded_Host="tv.example")
    refused(web, frm="127.0.0.1", host="127.0.0.1:8085", X_Forwarded_Host="evil.example")
    refused(web, frm="127.0.0.1", host="127.0.0.1:8085", X_Forwarded_Host="tv.example, evil.example")
    refused(web, frm="127.0.0.1", host="127.0.0.1:8085", X_Forwarded_Host=["tv.example", "evil.example"])
    refused(web, frm="127.0.0.1", host="evil.example", X_Forwarded_Host="tv.example")
    # From anybody else it neither helps nor hurts.
    refused(web, frm=HOME, host="evil.example", X_Forwarded_Host="tv.example")
    allowed(web, frm=HOME, X_Forwarded_Host="evil.example")


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "http://a", "[::1", "a:b", "a:123456", "a,b", "\u00e4", ""])
def test_an_invalid_host_header_is_refused(host):
    refused(guarded(), 400, host=host)
    refused(guarded(api_token=TOKEN), 400, host=host, X_API_Token=TOKEN)


def test_two_host_headers_are_refused():
    refused(guarded(), 400, host=["localhost", "localhost"])


def test_the_host_of_an_absolute_target_counts():
    web = guarded()
    allowed(web, path="http://localhost:8085/streams", host="evil.example")
    refused(web, path="http://evil.example/streams", host="localhost")
    refused(web, path="http://localhost@evil.example/streams")
    refused(web, 400, path="http:///streams")


# pages of other origins


@ROUTES
@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://evil.example", "null", "", "http://localhost", "http://localhost:8086",
     "https://localhost:8086", "http://127.0.0.1:8085", "file://", "chrome-extension://localhost:8085",
     "localhost:8085",
     "http://localhost:8085.evil.example", "http://evil.example/http://localhost:8085", "http://localhost:8085 x",
     "http://localhost:8085@evil.example", "\u00e4"],
)  # fmt: skip
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_origin_is_refused(method, path, origin, token):
    web = guarded(api_token=token)
    assert "CORS_ORIGINS" in refused(web, method=method, path=path, Origin=origin, X_API_Token=token)


def test_every_origin_line_is_checked():
    refused(guarded(), Origin=["http://localhost:8085", "http://evil.example"])


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:8085", "http://localhost:8085"), ("nas", "http://nas"), ("nas", "https://nas"), ("nas:80", "http://nas"),
     ("nas", "https://nas:443"), ("[::1]:8085", "http://[::1]:8085"), ("NAS:1", "http://nas:1")],
)  # fmt: skip
def test_the_own_page_is_allowed(host, origin):
    answer = allowed(guarded(), host=host, Origin=origin)
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_own_page_behind_a_proxy_is_allowed():
    web = guarded(public_url="https://tv.example/m3u-proxy")
    allowed(web, frm="127.0.0.1", host="127.0.0.1:8085", Origin="https://tv.example")
    web = guarded(allowed_hosts="tv.example")
    allowed(web, frm="127.0.0.1", host="backend", X_Forwarded_Host="tv.example", Origin="https://tv.example")
    refused(web, frm=HOME, host="backend", X_Forwarded_Host="tv.example", Origin="https://tv.example")


@ROUTES
def test_cross_site_requests_without_origin_are_refused(method, path):
    web = guarded()
    refused(web, method=method, path=path, Sec_Fetch_Site="cross-site")
    for site in ("same-origin", "same-site", "none"):
        allowed(web, method=method, path=path, Sec_Fetch_Site=site)


# pages that the operator allows


@pytest.mark.parametrize("origin", ["https://editor.example", "HTTPS://Editor.example", "https://editor.example:443"])
def test_a_configured_origin_can_read_responses(origin):
    answer = allowed(guarded(cors_origins="http://a:1, https://editor.example/"), Origin=origin)
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Expose-Headers"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert answer.headers.get_all("Vary") == ["Origin"]


def test_configured_origins_match_by_scheme_host_and_port():
    web = guarded(cors_origins="https://editor.example")
    for origin in ("http://editor.example", "https://editor.example:8443", "https://x.editor.example", "null"):
        refused(web, Origin=origin)


def test_a_configured_origin_can_read_errors():
    answer = guarded(cors_origins="https://e.example", api_token=TOKEN).ask(Origin="https://e.example")
    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "https://e.example"


def test_responses_vary_by_origin_in_any_case():
    assert allowed(guarded()).headers["Vary"] == "Origin"


# preflights


def preflight(web, path="/streams", method="DELETE", origin="https://editor.example", **more):
    return web.ask("OPTIONS", path, Origin=origin, Access_Control_Request_Method=method, **more)


@pytest.mark.parametrize("path", ["/streams", "/m3u-proxy/streams/x", "/nothing", "/docs", "/streams/"])
def test_preflight_of_a_configured_origin(path):
    web = guarded(cors_origins="https://editor.example", api_token=TOKEN)
    answer = preflight(web, path, Access_Control_Request_Headers="x-api-token, content-type")
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://editor.example"
    assert answer.headers["Access-Control-Allow-Methods"] == "DELETE, GET, HEAD, OPTIONS, POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "x-api-token, content-type"
    assert answer.headers["Access-Control-Max-Age"] == "600"
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert web.api.asked == []


@pytest.mark.parametrize("path", ["/streams", "/docs", "/openapi.json", "/nothing"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8085"])
def test_preflight_of_another_origin(path, origin):
    web = guarded(cors_origins="https://editor.example")
    answer = preflight(web, path, origin=origin)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert web.api.asked == []


@pytest.mark.parametrize("names", ["x-a: b", "x(y)", "x" * 2000, "\u00e4"])
def test_preflight_for_invalid_headers(names):
    web = guarded(cors_origins="https://editor.example")
    answer = preflight(web, Access_Control_Request_Headers=names)
    assert answer.status == 200
    assert "Access-Control-Allow-Headers" not in answer.headers


def test_preflight_for_an_unknown_method():
    assert preflight(guarded(cors_origins="https://editor.example"), method="BREW").status == 400


def test_other_options_requests_reach_the_api():
    web = guarded(cors_origins="https://editor.example")
    allowed(web, method="OPTIONS")
    allowed(web, method="OPTIONS", Origin="https://editor.example")
    allowed(web, method="OPTIONS", Access_Control_Request_Method="GET")
    allowed(web, method="GET", Origin="https://editor.example", Access_Control_Request_Method="GET")


# the documentation


DOCUMENTS = ["/docs", "/redoc", "/openapi.json", "/static/logo.svg", "/favicon.ico", "/m3u-proxy/docs"]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_the_documentation_is_public(path):
    web = guarded()
    allowed(web, path=path, frm=ABROAD)
    allowed(web, path=path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert "Access-Control-Allow-Origin" not in allowed(web, path=path, Origin="http://evil.example").headers


@pytest.mark.parametrize("path", DOCUMENTS)
def test_the_documentation_is_served_for_any_valid_name(path):
    """Controlling applications link to it with the name of their own server."""
    allowed(guarded(), path=path, host="tv.example")
    assert guarded().ask(path=path, host="a/b").status == 400


@pytest.mark.parametrize(
    "path", ["/docs/x", "/documents", "/static", "/openapi.json/x", "/stream", "/", "/streams/docs"]
)
def test_similar_paths_are_not_documentation(path):
    refused(guarded(), path=path, frm=ABROAD)


def test_configured_paths_of_the_documentation():
    web = guarded(redoc_url="/api/reference", openapi_url="/api/schema.json")
    allowed(web, path="/api/reference", frm=ABROAD)
    allowed(web, path="/api/schema.json", frm=ABROAD)
    refused(web, path="/redoc", frm=ABROAD)


def test_empty_documentation_paths_open_nothing():
    web = guarded(redoc_url="", openapi_url="")
    refused(web, path="/", frm=ABROAD)


# before the API


@pytest.mark.parametrize("path", ["/streams/", "/m3u-proxy", "/streams/%ff"])
def test_redirects_and_404_come_after_the_gate(path):
    refused(guarded(), path=path, frm=ABROAD)


def test_the_body_is_parsed_after_the_gate():
    assert "API_TOKEN" in refused(guarded(), method="POST", body=b"{", frm=ABROAD)


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT", "BREW"])
def test_all_methods_are_checked(method):
    refused(guarded(), method=method, frm=ABROAD)
