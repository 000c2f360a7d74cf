"""The clients of HLS: names, limits, counts and log lines, the same for proxied and for muxed streams."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from fakes import Relay
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from wire import call

from m3uproxy.core.slots.slot_table import SlotTable
from m3uproxy.errors import LimitReached
from m3uproxy.hls.clients import MAX_NAME_LENGTH, MAX_OPEN_RESPONSES, HlsClients
from m3uproxy.streams.player import PlayerInfo
from m3uproxy.upstream.slots import SlotAllocator
from m3uproxy.web.media.hls_resource import HlsResource
from m3uproxy.web.media.live_resource import StreamResource
from m3uproxy.web.site import Root, Site

JOE = PlayerInfo("10.0.0.1", "tv", "joe", "joe")


class ClientsRig:
    """The clients of one stream, on a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        slots = SlotAllocator(self.clock, SlotTable(5.0, True), lambda stream_id: None)
        self.touches = 0
        now = datetime(2026, 11, 22, tzinfo=timezone.utc)
        self.clients = HlsClients(self.clock, lambda: now, slots, "stream1", self._touched)

    def _touched(self) -> None:
        self.touches += 1


@pytest.fixture
def rig() -> ClientsRig:
    return ClientsRig()


@pytest.mark.parametrize(
    ("name", "is_kept"),
    [
        ("joe", True),
        ("", False),
        ("x" * MAX_NAME_LENGTH, True),
        ("x" * (MAX_NAME_LENGTH + 1), False),
        # Nine characters each in a URL.
        ("€" * 28, True),
        ("€" * 29, False),
    ],
)
def test_name_is_bounded_as_it_stands_in_urls(rig, name, is_kept) -> None:
    player = PlayerInfo("10.0.0.1", "tv", None, name)
    expected = name if is_kept else player.computed_id("stream1")
    assert rig.clients.register(player).client_id == expected


def test_name_in_urls_is_bounded_for_muxed_streams_too() -> None:
    relay = Relay()
    player = PlayerInfo("10.0.0.1", "tv", None, "€" * 29)
    stream = relay.stream()
    client = stream.muxer.hls_clients.register(player)
    assert client.client_id == player.computed_id(stream.id)


def test_open_responses_of_a_client_are_limited(rig) -> None:
    client = rig.clients.register(JOE)
    waiting = [rig.clients.wait_for(client, Deferred()) for _ in range(MAX_OPEN_RESPONSES)]
    with pytest.raises(LimitReached):
        rig.clients.register(JOE)
    waiting[0].callback(None)
    assert rig.clients.register(JOE) is client


def test_open_responses_are_limited_for_muxed_streams_too() -> None:
    relay = Relay()
    stream = relay.stream()
    given = (relay.registry, relay.settings, None)
    site = Site(Root("", StreamResource(*given), None, None, HlsResource(*given)), relay.clock)
    path = f"/hls/{stream.id}/playlist.m3u8?client_id=joe"
    clients = stream.muxer.hls_clients
    client = clients.register(PlayerInfo("10.0.0.1", "tv", None, "joe"))
    for _ in range(MAX_OPEN_RESPONSES):
        clients.wait_for(client, Deferred())
    assert call(site, "GET", path).status == 503
    site.close()


def test_response_counts_until_it_ends_and_silence_begins_then(rig) -> None:
    client = rig.clients.register(JOE)
    response: Deferred[None] = Deferred()
    rig.clients.wait_for(client, response)
    rig.clock.advance(60)
    assert rig.clients.silent(10) == []
    response.callback(None)
    assert rig.clients.silent(10) == []
    rig.clock.advance(10)
    assert rig.clients.silent(10) == [client]


def test_removed_client_has_its_responses_aborted_and_its_bytes_counted(rig) -> None:
    client, aborted = rig.clients.register(JOE), []
    rig.clients.response_started(client, lambda: aborted.append(True))
    rig.clients.segment_started(client)
    rig.clients.bytes_sent(client, 1000)
    rig.clients.remove(client)
    assert aborted == [True]
    assert len(rig.clients) == 0
    assert (rig.clients.bytes_served, rig.clients.segments_served) == (1000, 1)
    assert rig.touches == 2


def test_joining_and_leaving_are_logged_with_stream_and_client(rig) -> None:
    events: list[str] = []

    def observe(event: dict) -> None:
        if event.get("stream") == "stream1":
            events.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    try:
        rig.clients.register(JOE)
        client = rig.clients.register(JOE)
        rig.clients.bytes_sent(client, 7)
        rig.clients.remove(client)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert events == [
        "client 'joe' joined stream stream1 (HLS)",
        "client 'joe' left stream stream1 (HLS) after 7 bytes",
    ]
