"""Streams by metadata: find, count, delete."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def url(number: int) -> str:
    return f"http://provider.example/live/{number}.ts"


def play(web, stream_id: str, client: str = ""):
    wire = web.connect()
    query = f"?client_id={client}" if client else ""
    wire.send(f"GET /stream/{stream_id}{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return wire


def find(web, **query):
    return web.call("GET", "/streams/by-metadata?" + urlencode(query)).json


def delete(web, **query):
    return web.call("DELETE", "/streams/by-metadata?" + urlencode(query)).json


def oldest(web, **query):
    return web.call("DELETE", "/streams/oldest-by-metadata?" + urlencode(query)).json


@pytest.fixture
def three(web):
    """Return channels 1 and 2 of a playlist, and channel 3 of another playlist."""
    return [web.register(url(n), metadata={"id": n, "playlist": "a" if n < 3 else "b"}) for n in (1, 2, 3)]


def test_find_returns_active_streams(web, three):
    player = play(web, three[1])
    found = find(web, field="playlist", value="a", active_only=1)
    [match] = found.pop("matching_streams")
    assert found == {
        "filter": {"field": "playlist", "value": "a"},
        "active_only": True,
        "total_matching": 1,
        "total_clients": 1,
    }
    last_access = match.pop("last_access")
    assert last_access.endswith("+00:00")
    assert match == {
        "stream_id": three[1],
        "client_count": 1,
        "metadata": {"id": "2", "playlist": "a"},
        "is_active": True,
        "url": url(2),
        "stream_type": "Live Continuous",
    }
    player.lose()
    assert find(web, field="playlist", value="a")["total_matching"] == 0


def test_find_returns_all_streams_on_request(web, three):
    found = find(web, field="playlist", value="a", active_only="no")
    assert [match["stream_id"] for match in found["matching_streams"]] == three[:2]
    assert (found["total_matching"], found["total_clients"], found["active_only"]) == (2, 0, False)


def test_stream_without_the_field_matches_the_empty_value_only(web, three):
    bare = web.register(url(9))
    assert [
        item["stream_id"] for item in find(web, field="playlist", value="", active_only="f")["matching_streams"]
    ] == [bare]
    assert delete(web, field="playlist", value="")["deleted_count"] == 0
    assert len(web.registry.streams()) == 4


@pytest.mark.parametrize("word", "1 true yes on t y TRUE Yes oN T Y True".split())
def test_words_for_true(web, three, word):
    assert find(web, field="playlist", value="a", active_only=word)["active_only"] is True


@pytest.mark.parametrize("word", "0 false no off f n FALSE No oFf F N".split())
def test_words_for_false(web, three, word):
    assert find(web, field="playlist", value="a", active_only=word)["active_only"] is False


@pytest.mark.parametrize("word", ["", "2", "perhaps", "nope", "%F0%9F%93%BA"])
def test_other_words_are_refused(web, word):
    answer = web.call("GET", f"/streams/by-metadata?field=a&value=b&active_only={word}")
    assert answer.status == 422
    [error] = answer.detail
    assert (error["type"], error["loc"]) == ("bool_parsing", ["query", "active_only"])


def test_last_of_repeated_parameters_counts(web, three):
    found = web.call("GET", "/streams/by-metadata?field=x&value=a&field=playlist&active_only=1&active_only=0").json
    assert (found["filter"], found["total_matching"]) == ({"field": "playlist", "value": "a"}, 2)


def test_form_in_the_body_is_ignored(web, three):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = web.call("DELETE", "/streams/by-metadata", body=b"field=playlist&value=a", headers=headers)
    assert answer.status == 422


def test_streams_are_counted_for_each_value(web, three):
    players = [play(web, three[0]), play(web, three[0])]
    path = "/streams/counts-by-metadata?field=playlist&values=" + quote(" a, b ,,a,c,")
    assert web.call("GET", path).json == {"field": "playlist", "counts": {"a": 1, "b": 0, "c": 0}}
    assert web.call("GET", path + "&active_only=0").json["counts"] == {"a": 2, "b": 1, "c": 0}
    assert web.call("GET", "/streams/counts-by-metadata?field=nothing&values=").json["counts"] == {}
    for player in players:
        player.lose()


def test_delete_removes_all_matches(web, three):
    player = play(web, three[0])
    answer = delete(web, field="playlist", value="a")
    assert isinstance(answer.pop("message"), str)
    assert answer == {"deleted_streams": three[:2], "skipped_streams": [], "deleted_count": 2}
    assert player.answer().status == 404
    player.lose()
    assert [stream.id for stream in web.registry.streams()] == three[2:]
    assert delete(web, field="playlist", value="a")["deleted_count"] == 0


def test_delete_skips_the_excluded_channel(web, three):
    answer = delete(web, field="playlist", value="a", exclude_channel_id=2)
    assert answer["deleted_streams"] == three[:1]
    assert answer["skipped_streams"] == [{"stream_id": three[1], "reason": "excluded_by_channel_id"}]


def test_delete_without_force_skips_streams_with_players(web, three):
    player = play(web, three[0], "tab1")
    answer = delete(web, field="playlist", value="a", force="false")
    assert answer["deleted_streams"] == [three[1]]
    assert answer["skipped_streams"] == [{"stream_id": three[0], "reason": "has_active_clients", "active_clients": 1}]
    player.lose()


def test_delete_without_force_disconnects_the_given_client(web, three):
    gone, other = play(web, three[0], "tab1"), play(web, three[0], "tab2")
    answer = delete(web, field="id", value=1, force="false", client_id="tab1")
    assert answer["skipped_streams"] == [{"stream_id": three[0], "reason": "has_active_clients", "active_clients": 1}]
    assert gone.aborted
    assert not other.aborted
    answer = delete(web, field="id", value=1, force="false", client_id="tab2")
    assert answer["deleted_streams"] == [three[0]]
    assert other.aborted
    for player in (gone, other):
        player.lose()


def test_delete_keeps_the_players_of_an_excluded_channel(web, three):
    player = play(web, three[0], "tab1")
    delete(web, field="id", value=1, force="false", client_id="tab1", exclude_channel_id=1)
    assert not player.aborted
    player.lose()


def test_client_id_has_at_most_128_characters(web, three):
    assert delete(web, field="id", value="none", client_id="x" * 128)["deleted_count"] == 0
    answer = web.call("DELETE", "/streams/by-metadata?field=id&value=1&client_id=" + "x" * 129)
    [error] = answer.detail
    assert (error["type"], error["loc"]) == ("string_too_long", ["query", "client_id"])
    assert error["ctx"] == {"max_length": 128}


def test_oldest_stream_is_deleted(web, build):
    names = []
    for number in (1, 2, 3):
        names.append(web.register(url(number), metadata={"id": number, "p": "a"}))
        web.clock.advance(10)
    player = play(web, names[0])
    answer = oldest(web, field="p", value="a", exclude_channel_id=1)
    assert isinstance(answer.pop("message"), str)
    assert answer == {"deleted_stream": names[1], "stream_age_seconds": 20.0, "deleted_count": 1}
    answer = oldest(web, field="p", value="a")
    assert (answer["deleted_stream"], answer["stream_age_seconds"]) == (names[0], 30.0)
    assert player.answer().status == 404
    player.lose()
    oldest(web, field="p", value="a")
    answer = oldest(web, field="p", value="a")
    assert isinstance(answer.pop("message"), str)
    assert answer == {"deleted_stream": None, "deleted_count": 0}


def test_metadata_marks_streams_as_transcoded(web):
    name = web.register(url(1), metadata={"transcoding": True}, failover_urls=[url(2)])
    plain = web.register(url(3), metadata={"transcoding": False})
    assert web.call("GET", f"/streams/{name}").json["stream"]["stream_type"] == "Transcoding"
    assert web.call("POST", f"/streams/{name}/failover").json["stream_type"] == "Transcoded"
    assert web.call("GET", f"/streams/{plain}").json["stream"]["stream_type"] == "Live Continuous"


WORDS = st.text(alphabet=st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "DELETE"]),
    path=st.sampled_from(["by-metadata", "counts-by-metadata", "oldest-by-metadata"]),
    query=st.dictionaries(
        st.sampled_from("field value values active_only force client_id exclude_channel_id".split()) | WORDS, WORDS
    ),
    raw=st.binary(max_size=20),
)
def test_any_query_is_answered(web, method, path, query, raw):
    bare = "".join(f"%{byte:02x}" for byte in raw)
    answer = web.call(method, f"/streams/{path}?{urlencode(query)}&{bare}&{bare}={bare}")
    assert answer.status in (200, 405, 422)
    assert isinstance(answer.json, dict)
