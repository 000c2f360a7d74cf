"""``POST /streams/{id}/failover`` of a stream with a resolver: answered when the resolver has answered."""

from __future__ import annotations

import pytest

URL = "http://provider.example/live/1.ts"
RESOLVER = "http://editor.example/api/m3u-proxy/failover-resolver"
NAMED = "http://named.example/1.ts"


def ask(web, name: str):
    """A request that is not answered yet."""
    wire = web.connect()
    wire.send(f"POST /streams/{name}/failover HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    return wire


def test_the_answer_names_what_the_resolver_named(web):
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
def test_no_other_source(web, answer):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    wire = ask(web, name)
    getattr(web.resolver.last, answer)()
    answer = wire.answer()
    wire.lose()
    assert answer.status == 500
    assert answer.detail == "There is no other source for this stream."
    assert web.call("GET", f"/streams/{name}").json["stream"]["failover_attempts"] == 0


def test_a_resolver_that_breaks_leaves_the_list(web):
    name = web.register(URL, failover_urls=["http://b/1.ts"], failover_resolver_url=RESOLVER)
    wire = ask(web, name)
    web.resolver.last.breaks()
    assert wire.answer().json["new_url"] == "http://b/1.ts"
    wire.lose()


def test_deleted_while_the_resolver_is_asked(web):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    wire = ask(web, name)
    assert web.call("DELETE", f"/streams/{name}").status == 200
    assert web.resolver.last.cancelled
    assert wire.answer().status == 404
    wire.lose()


def test_who_hangs_up_is_obeyed(web):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    ask(web, name).lose()
    web.resolver.last.names(NAMED)
    assert web.call("GET", f"/streams/{name}").json["stream"]["current_url"] == NAMED


def test_an_index_needs_no_resolver(web):
    name = web.register(URL, failover_resolver_url=RESOLVER)
    assert web.call("POST", f"/streams/{name}/failover?index=1").status == 404
    assert web.call("POST", f"/streams/{name}/failover?index=0").json["new_url"] == URL
    assert web.resolver.asked == []
