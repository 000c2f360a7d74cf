"""Every request to the API is answered, whatever its view, or the writing of its result, raises."""

from __future__ import annotations

import re

import attrs
import pytest
from twisted.internet.defer import Deferred
from wire import Wire

from m3uproxy.web.api import app, endpoint
from m3uproxy.web.responses import RawAnswer

LOOP: dict = {}
LOOP["self"] = LOOP


class OurOwnFault(Exception):
    """The exception that is injected."""


async def fail_later(waiting: Deferred) -> None:
    await waiting
    raise OurOwnFault


FAULTS = {
    "the view": lambda waiting: 1 / 0,
    "a coroutine": fail_later,
    "a Deferred": lambda waiting: waiting.addCallback(lambda _: 1 / 0),
    "no JSON": lambda waiting: LOOP,
    "no answer": lambda waiting: RawAnswer(None, "text/plain"),
    "no bytes": lambda waiting: RawAnswer("text", "text/plain"),
    "no type": lambda waiting: RawAnswer(b"x" * 5000, "text/\u00e9"),
}


@pytest.fixture
def broken(build, monkeypatch):
    """Return a function that makes an API whose views all have one fault."""

    def make(fault):
        waiting: list[Deferred] = []

        def view(**_):
            waiting.append(Deferred())
            return FAULTS[fault](waiting[-1])

        by_path = endpoint.routes_by_path
        monkeypatch.setattr(
            app, "routes_by_path", lambda routes: by_path([attrs.evolve(each, view=view) for each in routes])
        )
        monkeypatch.setattr(endpoint, "validate", lambda *_: None)
        monkeypatch.setattr(endpoint, "parse_json", lambda _: None)
        return build(), waiting

    return make


@pytest.mark.parametrize("fault", FAULTS)
def test_every_route_answers_500(broken, fault, flush_errors):
    web, waiting = broken(fault)
    for route in web.api.routes:
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in [route.method, *(["HEAD"] if route.method == "GET" else [])]:
            wire = web.connect()
            wire.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
            for each in waiting:
                if not each.called:
                    each.callback(None)
            body_is_written = method != "HEAD" or fault != "no bytes"
            assert wire.aborted or wire.answer(method).status == (500 if body_is_written else 200), f"{method} {path}"
            wire.lose()
    assert flush_errors(Exception)


def test_an_error_answer_describes_itself_only(build, monkeypatch, flush_errors):
    """The answer that failed was compressed and had a length and a tag."""

    def write(request, body):
        for name in (b"Content-Encoding", b"ETag", b"Content-Length", b"Content-Range", b"Retry-After"):
            request.setHeader(name, b"5")
        raise OurOwnFault

    web = build()
    monkeypatch.setattr(endpoint, "write_json", write)
    answer = web.call("GET", "/streams")
    assert (answer.status, answer.detail) == (500, "Internal Server Error")
    assert not {"Content-Encoding", "ETag", "Content-Range", "Retry-After"} & set(answer.headers)
    assert flush_errors(OurOwnFault)


@pytest.mark.parametrize("status", [200, 299, 454, 526, 599, 884, 999])
def test_a_status_needs_no_registration(build, monkeypatch, status):
    web = build()
    raw = RawAnswer(b"{}", "application/json", status=status)
    monkeypatch.setattr(endpoint, "write_json", lambda request, _: endpoint.write_content(request, raw))
    assert web.call("GET", "/streams").status == status


def test_a_request_that_cannot_be_routed_is_answered(build, monkeypatch, flush_errors):
    web = build()
    monkeypatch.setattr("m3uproxy.web.site.parse_qs", lambda *_, **__: 1 / 0)
    assert web.call("GET", "/streams?a=b").status == 500
    assert flush_errors(ZeroDivisionError)


def test_a_client_that_leaves_while_a_view_waits(broken):
    web, waiting = broken("a coroutine")
    wire: Wire = web.connect()
    wire.send(b"GET /streams HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wire.lose()
    assert waiting[0].called
