"""Limits of streams and players."""

from __future__ import annotations

import json

import pytest
from gate_rig import guarded

from m3uproxy.errors import LimitReached
from m3uproxy.streams.spec import StreamSpec


def is_waiting(wire) -> bool:
    """Return whether a player was accepted: it receives nothing before the provider answers."""
    return wire.take() == b""


def refusal(wire) -> str:
    """Return the detail of a 503."""
    answer = wire.answer()
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    return json.loads(answer.body)["detail"]


def lose(*wires) -> None:
    for wire in wires:
        wire.lose()


# streams


def test_max_streams():
    web = guarded(max_streams=2)
    names = [web.register(1), web.register(2)]
    with pytest.raises(LimitReached, match="MAX_STREAMS"):
        web.register(3)
    assert [stream.id for stream in web.registry.streams()] == names
    # One that is there already may be registered again, and there is room when one is gone.
    assert web.register(2) == names[1]
    web.registry.register(StreamSpec("http://provider.example/live/1.ts", "agent", metadata={"a": "b"}))
    web.registry.delete(names[0])
    web.register(3)


def test_max_streams_zero_means_no_limit():
    web = guarded(max_streams=0)
    for number in range(50):
        web.register(number)


# players of a stream


def test_max_viewers_per_stream():
    web = guarded(max_viewers_per_stream=2)
    name, other = web.register(1), web.register(2)
    wires = [web.play(name), web.play(name), web.play(other)]
    assert all(map(is_waiting, wires))
    late = web.play(name)
    assert "MAX_VIEWERS_PER_STREAM" in refusal(late)
    assert len(web.registry.get(name).clients()) == 2
    assert len(web.dialler.dials) == 2
    wires[0].lose()
    again = web.play(name)
    assert is_waiting(again)
    lose(*wires[1:], late, again)
    assert web.clock.getDelayedCalls() == []


def test_a_refused_player_can_retry_on_its_connection():
    web = guarded(max_viewers_per_stream=1)
    name = web.register()
    first, second = web.play(name), web.play(name)
    assert "1" in refusal(second)
    first.lose()
    second.send(f"GET /stream/{name} HTTP/1.1\r\nHost: tv\r\n\r\n".encode())
    assert is_waiting(second)
    assert len(web.registry.get(name).clients()) == 1
    second.lose()


def test_head_counts_as_no_player():
    web = guarded(max_viewers_per_stream=1)
    name = web.register()
    first = web.play(name)
    assert web.ask("HEAD", f"/stream/{name}").status == 200
    first.lose()


# players from one address


def test_max_viewers_per_address_counts_all_streams():
    web = guarded(max_viewers_per_address=2)
    names = [web.register(number) for number in range(3)]
    wires = [web.play(name, "9.9.9.9") for name in names[:2]]
    late = web.play(names[2], "9.9.9.9")
    assert "MAX_VIEWERS_PER_ADDRESS" in refusal(late)
    assert len(web.dialler.dials) == 2, "nothing was dialled"
    assert web.registry.get(names[2]).clients() == []
    others = [web.play(names[2], "9.9.9.8"), web.play(names[0], "2001:db8::1")]
    assert all(map(is_waiting, others))
    wires[1].lose()
    again = web.play(names[2], "::ffff:9.9.9.9")
    assert is_waiting(again)
    lose(wires[0], late, again, *others)


def test_max_viewers_per_address_uses_the_address_behind_the_proxy():
    web = guarded(max_viewers_per_address=1)
    name = web.register()
    one = web.play(name, "127.0.0.1", "", "X-Forwarded-For: 9.9.9.9")
    two = web.play(name, "127.0.0.1", "", "X-Forwarded-For: 9.9.9.8")
    again = web.play(name, "127.0.0.1", "", "X-Forwarded-For: 1.1.1.1, 9.9.9.9")
    assert is_waiting(one)
    assert is_waiting(two)
    assert refusal(again)
    # This machine is an address like others.
    own = [web.play(name, "127.0.0.1"), web.play(name, "127.0.0.1")]
    assert is_waiting(own[0])
    assert refusal(own[1])
    lose(one, two, again, *own)


def test_default_has_no_limit_of_players():
    web = guarded()
    name = web.register()
    wires = [web.play(name) for _ in range(60)]
    assert all(map(is_waiting, wires))
    lose(*wires)
    assert web.clock.getDelayedCalls() == []
