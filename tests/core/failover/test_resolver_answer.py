"""The question to a resolver, its answer, and the indices of named sources."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.failover.resolver import ResolverAnswer, ResolverQuestion, read_answer
from m3uproxy.core.failover.source_list import MAX_NAMED_PER_LAP, NamedSources
from m3uproxy.core.http.redirects import first_hop


def test_the_question_has_the_keys_that_resolvers_know() -> None:
    question = ResolverQuestion("http://o.example/7.ts?ü", {"id": "7", "name": "Çn"}, 0, 404, "bad status: HTTP 404")
    assert json.loads(question.as_json()) == {
        "current_url": "http://o.example/7.ts?ü",
        "metadata": {"id": "7", "name": "Çn"},
        "current_failover_index": 0,
        "status_code": 404,
        "reason": "bad status: HTTP 404",
    }
    assert json.loads(ResolverQuestion("http://o/", {}, 2, None, "manual").as_json())["status_code"] is None


def test_neither_question_nor_answer_shows_a_url() -> None:
    assert "geheim" not in repr(ResolverQuestion("http://geheim/", {"a": "geheim"}, 0, None, "manual"))
    for referral in (ResolverAnswer("http://geheim/"), read_answer(200, b'{"next_url": "http://a b/geheim\\ud800"}')):
        assert "geheim" not in repr(referral) + str(referral)


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_a_url_is_kept_to_the_letter(status: int) -> None:
    url = "HTTP://user:pass@b.example:8080//a?x=%2B+&y"
    assert read_answer(status, json.dumps({"next_url": url, "more": 1}).encode()) == ResolverAnswer(url)


@pytest.mark.parametrize("body", [b'{"next_url": null}', b'{"next_url": ""}', b'{"next_url": null, "error": "full"}'])
def test_none_is_an_answer(body: bytes) -> None:
    assert read_answer(200, body) == ResolverAnswer()
    assert str(read_answer(200, body)) == "the resolver named no source"


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (100, b"", "HTTP 100"),
        (302, b'{"next_url": "http://b/"}', "HTTP 302"),
        (400, b'{"next_url": null}', "HTTP 400"),
        (500, b"", "HTTP 500"),
        (204, b"", "the answer is not JSON"),
        (200, b"<html>", "the answer is not JSON"),
        (200, b"\xff\xfe\xff", "the answer is not JSON"),
        (200, b"[" * 60_000, "the answer is not JSON"),
        (200, b"null", "the answer has no next_url"),
        (200, b'["next_url"]', "the answer has no next_url"),
        (200, b'"next_url"', "the answer has no next_url"),
        (200, b"{}", "the answer has no next_url"),
        (200, b'{"error": "x"}', "the answer has no next_url"),
    ],
)
def test_unusable_answer_is_a_problem(status: int, body: bytes, problem: str) -> None:
    assert read_answer(status, body) == ResolverAnswer(problem=problem)
    assert problem in str(ResolverAnswer(problem=problem))


@pytest.mark.parametrize(
    "url",
    [
        0,
        False,
        [],
        {"url": "http://b/"},
        " ",
        "b.example/7.ts",
        "/7.ts",
        "ftp://b/7.ts",
        "file:///etc/passwd",
        "http://",
        "http://b:99999/",
        "http://\ud800/",
        "http://b/\ud800",
        "http://169.254.169.254/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://2852039166/",
        "http://b/" + "x" * 9000,
    ],
)
def test_forbidden_url_is_a_problem(url: object) -> None:
    body = json.dumps({"next_url": url}).encode()
    assert read_answer(200, body) == ResolverAnswer(problem="next_url is not an allowed http or https URL")


@given(st.integers(100, 599), st.binary(max_size=200))
def test_any_response_is_accepted(status: int, body: bytes) -> None:
    read_answer(status, body)


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.one_of(_json, st.text().map("http://".__add__)))
def test_accepted_url_can_be_dialled(value: object) -> None:
    referral = read_answer(200, json.dumps({"next_url": value}).encode())
    assert [referral.url, referral.problem].count(None) >= 1
    if referral.url is not None:
        first_hop(referral.url, "agent", ())


def test_a_named_url_may_have_headers() -> None:
    for behind, is_usable in (("User-Agent=VLC", True), ("Host=x", False), ("X=%0A", False)):
        answer = read_answer(200, json.dumps({"next_url": f"http://a/1.ts|{behind}"}).encode())
        assert (answer.url is not None) is is_usable
        assert (answer.problem is None) is is_usable


def test_named_sources_alternate_between_two_indices() -> None:
    named = NamedSources()
    indices = [named.add(f"http://{n}/", n + 1) for n in range(4)]
    assert indices == [-1, -2, -1, -2]
    assert [named.state_of(index).key for index in (-1, -2)] == ["http://2/", "http://3/"]
    assert [named.position(index) for index in (-1, -2)] == [3, 4]


def test_naming_a_url_twice_or_twenty_urls_ends_the_lap() -> None:
    named = NamedSources()
    for number in range(MAX_NAMED_PER_LAP):
        assert not named.is_over(f"http://{number}/")
        named.record(f"http://{number}/")
        assert named.is_over(f"http://{number}/")
    assert named.is_over("http://another/")
    named.new_lap()
    assert not named.is_over("http://0/")
