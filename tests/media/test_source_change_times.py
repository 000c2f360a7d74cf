"""The duration of a source change, and the response while it lasts.

The lateness of the reactor is subtracted from all times, so that a busy machine does not fail the tests.
"""

from __future__ import annotations

import json
import time

import pytest
import pytest_twisted
from clip_provider import (
    BACKUP_ORIGIN,
    KEY,
    ReactorLateness,
    assert_seamless_change,
    keys,
    packets_of,
    pid,
    steps,
    url,
    without_torn_tail,
)
from clips import H264, HEVC, MPEG2, SOUND
from decoding import decode
from loopback_rig import Player
from twisted.internet.error import ConnectionLost

from m3uproxy.provider.playout import Playout

pytestmark = pytest.mark.media

#: The flag of a random access point, and the PID of a backup's video, or audio if it has no video.
ACCESS, MAIN = 0x40, 0x300


@pytest.fixture
def lateness():
    lateness = ReactorLateness()
    yield lateness
    lateness.stop()


@pytest.fixture
def sent_and_received(monkeypatch):
    """Record the data sent by providers and received by players: (seconds, bytes) in order."""
    sent, received = [], []
    emit, data_received = Playout._emit, Player.dataReceived

    def record_sent(self, data):
        sent.append((time.monotonic(), data))
        emit(self, data)

    def record_received(self, data):
        received.append((time.monotonic(), data))
        data_received(self, data)

    monkeypatch.setattr(Playout, "_emit", record_sent)
    monkeypatch.setattr(Player, "dataReceived", record_received)
    return sent, received


def arrival_time(sent_and_received: list[tuple[float, bytes]], key: bytes) -> float | None:
    """Return the time of the piece with the last byte of ``key``, which may span two pieces; None without it."""
    tail = b""
    for at, data in sent_and_received:
        if key in tail + data:
            return at
        tail = (tail + data)[-len(key) :]
    return None


def first_access_point(sent: list[tuple[float, bytes]], known: set[bytes]) -> bytes | None:
    """Return the key of the first packet of the first random access point of a new source; None without one."""
    for packet in (packet for _, data in sent for packet in packets_of(data)):
        begins = packet[3] & 0x20 and packet[4] and packet[5] & ACCESS and packet[1] & 0x40
        if begins and pid(packet) == MAIN and packet[-KEY:] in known:
            return packet[-KEY:]
    return None


#: Recipe and start of the backup. (At the speed of playback, an audio unit takes longer than 150 ms to arrive.)
ACCESS_POINTS = [(H264, ""), (HEVC, ""), (MPEG2, ""), (SOUND, "&burst=1.5"), (H264, "&burst=1.5")]


@pytest.mark.parametrize(("recipe", "burst"), ACCESS_POINTS, ids=lambda each: getattr(each, "video", each))
@pytest_twisted.ensureDeferred
async def test_first_access_point_of_a_backup_is_sent_within_150_ms(
    rig, start_provider, sent_and_received, lateness, recipe, burst
):
    sent, received = sent_and_received
    first, second = await start_provider(recipe), await start_provider(recipe.backup(), BACKUP_ORIGIN)
    player = await rig.play(rig.register(url(first), url(second, "rate=1" + burst)))
    await rig.until_bytes(player, 60_000, 20)
    sent.clear()
    first.control("x", "close=0&status=404")
    known = keys(recipe.backup())
    await rig.until(lambda: first_access_point(sent, known), 20)
    key = first_access_point(sent, known)
    await rig.until(lambda: arrival_time(received, key), 20, "the access point")
    started, ended = arrival_time(sent, key), arrival_time(received, key)
    assert ended - started < 0.150 + lateness.between(started, ended)
    await rig.until_bytes(player, len(player.body) + 20_000, 20)
    assert decode(without_torn_tail(player.body)).complaints == []


@pytest_twisted.ensureDeferred
async def test_stalled_source_is_replaced_within_3_5_seconds(rig, start_provider, sent_and_received, lateness):
    """The timeout is the default. The source delivers in real time."""
    sent, _ = sent_and_received
    await rig.start(live_chunk_timeout_seconds=3)
    first, second = await start_provider(H264), await start_provider(H264.backup(), BACKUP_ORIGIN)
    player = await rig.play(rig.register(url(first, "rate=1"), url(second)))
    await rig.until_bytes(player, 100_000, 20)
    first.control("x", "stall=0")
    await rig.sleep(0.1)
    last_byte = sent[-1][0]
    await rig.until(lambda: second.station.requests, 20)
    dialled = time.monotonic()
    assert 2.9 < dialled - last_byte < 3.5 + lateness.between(last_byte, dialled)
    await rig.until_bytes(player, len(player.body) + 130_000, 20)
    assert_seamless_change(player.body, H264, H264.backup(), audio_arrived=False)


DEAD = {"hang=head": 504, "stall=0": 504, "refuse=1": 502, "status=404": 502, "html=video": 502, "status=458": 503}


@pytest.mark.parametrize("fault", DEAD)
@pytest_twisted.ensureDeferred
async def test_all_sources_dead_before_the_first_byte(rig, lateness, fault):
    """The response comes within the limit (20 s by default; 3 s here), and each source is tried at least once."""
    await rig.start(start_timeout=3, stream_retry_attempts=9)
    started = time.monotonic()
    player = await rig.play(rig.register(*(f"/live/{name}.ts?{fault}" for name in "abc")))
    await rig.until(lambda: b"}" in player.body, 20)
    ended = time.monotonic()
    assert player.status == DEAD[fault]
    assert json.loads(player.body)["detail"]
    assert ended - started < 3.2 + lateness.between(started, ended)
    assert all(rig.provider.channel(name).tally.requests for name in "abc")


@pytest_twisted.ensureDeferred
async def test_response_is_aborted_when_the_outage_budget_is_spent(rig, start_provider, lateness):
    await rig.start(stream_total_timeout=1.5, stream_retry_attempts=100)
    first, second = await start_provider(H264), await start_provider(H264.backup(), BACKUP_ORIGIN)
    player = await rig.play(rig.register(url(first), url(second)))
    await rig.until_bytes(player, 130_000, 20)
    second.control("x", "status=500")
    first.control("x", "close=0&status=404")
    started = time.monotonic()
    await rig.until(lambda: player.closed, 20)
    ended = time.monotonic()
    assert isinstance(player.reason, ConnectionLost)
    assert 1.0 < ended - started < 1.8 + lateness.between(started, ended)
    assert decode(player.body).complaints == []


@pytest.mark.parametrize("recovering", ["first", "second"])
@pytest_twisted.ensureDeferred
async def test_source_that_recovers_within_the_budget_continues_the_response(rig, start_provider, recovering):
    await rig.start(stream_total_timeout=30, stream_retry_attempts=100)
    first, second = await start_provider(H264), await start_provider(H264.backup(), BACKUP_ORIGIN)
    player = await rig.play(rig.register(url(first, "rate=4&burst=3"), url(second)))
    await rig.until_bytes(player, 130_000, 20)
    second.control("x", "status=500")
    first.control("x", "close=0&status=500")
    await rig.until(lambda: second.channel("x").tally.requests >= 3, 20)
    size = len(player.body)
    {"first": first, "second": second}[recovering].control("x", "fault=none")
    await rig.until_bytes(player, size + 130_000, 20)
    assert not player.closed
    if recovering == "second":
        assert_seamless_change(player.body, H264, H264.backup(), audio_arrived=False)
    else:
        assert set(steps(sorted(decode(without_torn_tail(player.body)).pictures)[:-4])) == {H264.picture}
