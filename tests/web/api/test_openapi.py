"""The description of the API: the OpenAPI document, the page, the icons."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema_rs
import pytest

from m3uproxy import __version__

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


@pytest.fixture
def described(web):
    return web.call("GET", "/openapi.json").json


def operations(document):
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_is_described_once(web, described):
    expected = {(one.method, re.sub(":path", "", one.path)) for one in web.api.operations}
    assert set(operations(described)) == expected
    names = [one["operationId"] for one in operations(described).values()]
    assert len(set(names)) == len(names) == len(expected)
    assert all(one["summary"] for one in operations(described).values())


def test_document_has_version_and_server(described):
    assert described["openapi"] == "3.1.0"
    assert (described["info"]["title"], described["info"]["version"]) == ("m3u proxy", __version__)
    assert described["servers"] == [{"url": "/m3u-proxy"}]


def test_server_without_a_prefix(build):
    assert build(root_path="").call("GET", "/openapi.json").json["servers"] == [{"url": "/"}]


PAGES = ("playlist.m3u8", "segment.ts", "segment")


def test_open_operations_need_no_token(build, described):
    assert described["security"] == []
    document = build(api_token="t").call("GET", "/openapi.json").json
    assert document["security"] == [{"header": []}, {"query": []}]
    open_ones = {key for key, one in operations(document).items() if one.get("security") == []}
    assert open_ones == {
        ("GET", "/stream/{stream_id}"),
        ("HEAD", "/stream/{stream_id}"),
        *((method, f"/hls/{{stream_id}}/{page}") for method in ("GET", "HEAD") for page in PAGES),
        ("GET", "/docs"),
        ("GET", "/redoc"),
        ("GET", "/openapi.json"),
        ("GET", "/favicon.ico"),
        ("GET", "/static/{name}"),
    }
    for key, one in operations(document).items():
        assert ("401" in one["responses"]) == (key not in open_ones)


def test_parameters_are_described(described):
    delete = operations(described)["DELETE", "/streams/by-metadata"]
    found = {one["name"]: (one["in"], one["required"], one["schema"]) for one in delete["parameters"]}
    assert found == {
        "field": ("query", True, {"type": "string"}),
        "value": ("query", True, {"type": "string"}),
        "exclude_channel_id": ("query", False, {"type": "string"}),
        "force": ("query", False, {"type": "boolean", "default": True}),
        "client_id": ("query", False, {"type": "string", "maxLength": 128}),
    }
    show = operations(described)["GET", "/streams/{stream_id}"]
    assert [(one["name"], one["in"]) for one in show["parameters"]] == [("stream_id", "path")]


def test_all_references_are_defined(described):
    found = set(re.findall(r"#/components/schemas/(\w+)", str(described)))
    assert found == set(described["components"]["schemas"])


def closed(schema):
    """Return the schema without additional properties."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if "properties" in schema and "additionalProperties" not in schema else {}
    return {key: closed(value) for key, value in schema.items()} | more


def validator(described, name):
    components = {"schemas": closed(described["components"]["schemas"])}
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", "components": components})


def test_answers_match_their_schemas(web, described):
    """Answers have exactly the described keys."""
    name = web.register(failover_urls=["http://b/1.ts"], metadata={"id": 7}, headers={"Cookie": "c", "A": "b"})
    player = web.connect()
    player.send(f"GET /stream/{name}?username=u HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    web.call("POST", f"/streams/{name}/failover")
    requests = {
        ("GET", "/streams/{stream_id}"): f"/streams/{name}",
        ("POST", "/streams/{stream_id}/failover"): f"/streams/{name}/failover",
        ("GET", "/streams/by-metadata"): "/streams/by-metadata?field=id&value=7",
        ("GET", "/streams/counts-by-metadata"): "/streams/counts-by-metadata?field=id&values=7",
        ("DELETE", "/streams/by-metadata"): "/streams/by-metadata?field=id&value=7&force=0",
        ("DELETE", "/hls/{stream_id}/clients/{client_id}"): "/hls/x/clients/y",
    }
    plain = {key: key[1] for key in operations(described) if "{" not in key[1] and "metadata" not in key[1]}
    last = {
        ("DELETE", "/streams/oldest-by-metadata"): "/streams/oldest-by-metadata?field=id&value=7",
        ("DELETE", "/streams/{stream_id}"): "/streams/%s",
    }
    checked = set()
    for key, path in {**requests, **plain, **last}.items():
        operation = operations(described)[key]
        content = operation["responses"]["200"]["content"].get("application/json", {}).get("schema")
        if content is None or key == ("POST", "/test-connection"):
            continue
        if key == ("DELETE", "/streams/{stream_id}"):
            path = path % web.register("http://c/1.ts")
        body = {"url": "http://c/1.ts", "metadata": {"a": 1}} if "requestBody" in operation else None
        answer = web.call(key[0], path, json=body)
        assert answer.status == 200, key
        validator(described, content["$ref"].rpartition("/")[2]).validate(answer.json)
        checked.add(key)
    assert len(checked) == 21
    player.lose()


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (("GET", "/streams/x"), "Error"),
        (("PUT", "/streams"), "Error"),
        (("GET", "/streams/by-metadata"), "ValidationErrors"),
        (("POST", "/streams"), "ValidationErrors"),
    ],
)
def test_errors_match_their_schemas(web, described, call, shape):
    validator(described, shape).validate(web.call(*call).json)


def test_docs_table_lists_all_routes(web):
    """The table in docs/api.md lists each route, and nothing else."""
    written = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` (?:\*\*fixed\*\*|\*ours\*) \|", DOCS.read_text(), re.MULTILINE))
    assert written == {f"{one.method} {one.path.replace(':path', '')}" for one in web.api.operations}


# the page


class Page(HTMLParser):
    """A parsed page: the URLs that a browser would load, its tags and its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.style = ""
        self._in_style = False
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._in_style = tag == "style"
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("src", "href"):
                self.loads.append(value)

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        if self._in_style:
            self.style += data
        self.text += data


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/m3u-proxy/docs"])
def test_page_needs_no_scripts_and_no_other_host(build, path):
    answer = build(api_token="t").call("GET", path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.body.decode())
    assert set(page.loads) == {"static/favicon.svg", "static/logo.svg", "openapi.json"}
    assert not page.tags & {"script", "iframe", "form", "object", "base"}
    assert not [name for name in page.attributes if name.startswith("on") or name == "style"]
    for word in ("/streams/counts-by-metadata", "exclude_channel_id", "curl -X POST", "X-API-Token", "deleted_count"):
        assert word in page.text
    policy = answer.headers["Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_page_shows_the_url_of_the_proxy(build):
    web = build(public_url="https://tv.example/m3u-proxy")
    answer = web.call("GET", "/docs").body.decode()
    assert "https://tv.example/m3u-proxy/streams" in answer
    assert "localhost" not in answer
    assert "http://localhost/m3u-proxy/streams" in build().call("GET", "/docs").body.decode()


def test_page_in_a_deeper_path_has_relative_links(build):
    web = build(redoc_url="/a/b/c", openapi_url="/d/e.json")
    page = Page(web.call("GET", "/a/b/c").body.decode())
    assert set(page.loads) == {"../../static/favicon.svg", "../../static/logo.svg", "../../d/e.json"}
    assert web.call("GET", "/d/e.json").json["openapi"] == "3.1.0"
    assert web.call("GET", "/openapi.json").status == 404
    assert web.call("GET", "/redoc").status == 404


def test_pages_can_be_switched_off(build):
    web = build(redoc_url="", openapi_url="")
    assert web.call("GET", "/openapi.json").status == 404
    assert web.call("GET", "/redoc").status == 404
    page = Page(web.call("GET", "/docs").body.decode())
    assert set(page.loads) == {"static/favicon.svg", "static/logo.svg"}
    assert web.call("GET", "/").status == 200


# the files


@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        ("/favicon.ico", "image/x-icon", b"\x00\x00\x01\x00"),
        ("/static/favicon.ico", "image/x-icon", b"\x00\x00\x01\x00"),
        ("/static/favicon.png", "image/png", b"\x89PNG\r\n"),
        ("/static/logo.png", "image/png", b"\x89PNG\r\n"),
        ("/static/favicon.svg", "image/svg+xml", b"<svg "),
        ("/static/logo.svg", "image/svg+xml", b"<svg "),
    ],
)
def test_icons_are_served(build, path, kind, start):
    answer = build(api_token="t").call("GET", path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert answer.body.startswith(start)
    assert answer.headers["Cache-Control"] == "public, max-age=86400"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "name",
    "logo logo.svg.bak docs.css ..%2fapi.py %2e%2e/api.py ../api.py %2fetc%2fpasswd logo.svg%00 LOGO.SVG ./logo.svg "
    "..%5capi.py logo.svg%0A".split(),
)
def test_other_files_are_not_served(web, name):
    answer = web.call("GET", f"/static/{name}")
    assert answer.status in (307, 404)
    assert b"import" not in answer.body
