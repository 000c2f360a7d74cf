"""``POST /streams/{id}/failover`` of a stream with a resolver is answered after the resolver."""

from __future__ import annotations

import pytest

URL = "http://provider.example/live/1.ts"
RESOLVER = "http://editor.example/api/m3u-proxy/failover-resolver"
NAMED = "http://named.example/1.ts"


def ask(web, name: str):
    """Send a failover request and return its connection, without waiting for the answer."""
    wire = web.connect()
    wire.send(f"POST /streams/{name}/failover HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    return wire


def test_answer_has_the_url_from_the_resolver(web):
    name = web.register(URL, failover_resolver_url=RESOLVER, metadata={"id": 7})
    wire = ask(web, name)
    assert wire.take() == b""
    (asked,) = web.resolver.asked
    assert (asked.url, asked.question.reason, asked.question.index) == (RESOLVER, "manual", 0)
    assert asked.question.metadata == {"id": "7"}
    assert web.call("GET", f"/streams/{name}").json["stream"]["current_url"] == URL, "the API answers meanwhile"
    asked.names(NAMED)
    answer = wire.answer()
    wire.lose()
    assert answer.status == 200
    assert (answer.json["new_url"], answer.json["failover_index"], answer.json["failover_attempts"]) == (NAMED, 1, 1)
    stream = web.call("GET", f"/streams/{name}").json["stream"]
    assert (stream["original_url"], stream["current_url"], stream["current_failover_index"]) == (URL, NAMED, 1)
    assert (stream["has_failover"], stream["failover_resolver_url"]) == (True, RESOLVER)


@pytest.mark.parametrize("answer", ["names_none", "breaks"])
def test_without_another_source_the_status_is_500(web, answer):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    wire = ask(web, name)
    getattr(web.resolver.last, answer)()
    answer = wire.answer()
    wire.lose()
    assert answer.status == 500
    assert answer.detail == "There is no other source for this stream."
    assert web.call("GET", f"/streams/{name}").json["stream"]["failover_attempts"] == 0


def test_list_is_used_if_the_resolver_fails(web):
    name = web.register(URL, failover_urls=["http://b/1.ts"], failover_resolver_url=RESOLVER)
    wire = ask(web, name)
    web.resolver.last.breaks()
    assert wire.answer().json["new_url"] == "http://b/1.ts"
    wire.lose()


def test_stream_deleted_during_the_question_is_404(web):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    wire = ask(web, name)
    assert web.call("DELETE", f"/streams/{name}").status == 200
    assert web.resolver.last.cancelled
    assert wire.answer().status == 404
    wire.lose()


def test_failover_goes_on_if_the_client_disconnects(web):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    ask(web, name).lose()
    web.resolver.last.names(NAMED)
    assert web.call("GET", f"/streams/{name}").json["stream"]["current_url"] == NAMED


def test_index_is_used_without_the_resolver(web):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    assert web.call("POST", f"/streams/{name}/failover?index=1").status == 404
    assert web.call("POST", f"/streams/{name}/failover?index=0").json["new_url"] == URL
    assert web.resolver.asked == []
