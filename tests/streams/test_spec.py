"""The registration and the id of a stream."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.streams.spec import StreamSpec, stream_id

SPEC = StreamSpec("http://p/1.ts", "agent", (("X-A", "1"), ("Cookie", "c")), ("http://q/1.ts",))


def test_sources_begin_with_the_primary() -> None:
    assert SPEC.sources == ("http://p/1.ts", "http://q/1.ts")


def test_id_is_stable_and_needs_the_key() -> None:
    assert stream_id(SPEC, b"k") == stream_id(SPEC, b"k")
    assert stream_id(SPEC, b"k") != stream_id(SPEC, b"other")
    assert len(stream_id(SPEC, b"k")) == 32
    int(stream_id(SPEC, b"k"), 16)


def test_identity_contains_url_agent_and_headers() -> None:
    name = stream_id(SPEC, b"k")
    for change in (
        {"url": "http://p/2.ts"},
        {"user_agent": "other"},
        {"headers": (("X-A", "2"), ("Cookie", "c"))},
        {"headers": ()},
    ):
        assert stream_id(attrs.evolve(SPEC, **change), b"k") != name
    for change in (
        {"failover_urls": ()},
        {"metadata": {"a": "b"}},
        {"strict_live_ts": True},
        {"headers": (("cookie", "c"), ("x-a", "1"))},
    ):
        assert stream_id(attrs.evolve(SPEC, **change), b"k") == name


text = st.text(max_size=8)


@given(text, text, text, text)
def test_no_two_identities_run_together(url: str, agent: str, name: str, value: str) -> None:
    one = StreamSpec(url, agent, ((name, value),))
    assert stream_id(one, b"k") != stream_id(StreamSpec(url + agent, "", ((name, value),)), b"k") or not agent
    assert stream_id(one, b"k") != stream_id(StreamSpec(url, agent, ((name + value, ""),)), b"k") or not value
