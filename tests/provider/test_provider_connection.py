"""A client's connection, from its request to its end, with a fake clock and in-memory transports."""

import json
from itertools import pairwise

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from m3uproxy.provider.clip import PACKET, load_clip
from m3uproxy.provider.connection import Connection
from m3uproxy.provider.control import set_faults
from m3uproxy.provider.station import Station
from m3uproxy.provider.timed_producer import TICK
from m3uproxy.provider.timeline import Timeline

PEER = IPv4Address("TCP", "192.0.2.1", 4711)
SECOND = len(load_clip().data) / 8


class ClientTransport(StringTransport):
    """A transport that closes at once, and pauses its producer above a number of bytes like a real one.

    It is stricter than a real transport: after the end it accepts no bytes.
    """

    closed = aborted = False
    pauses_over = float("inf")

    def loseConnection(self):
        self.closed = True
        super().loseConnection()
        self.protocol.connectionLost()

    def abortConnection(self):
        if not self.closed:
            self.aborted = self.closed = True
            if self.producer is not None:
                self.producer.stopProducing()
            self.protocol.connectionLost()

    def write(self, data):
        assert not self.closed, "write after the end"
        super().write(data)
        if self.producer is not None and len(self.value()) > self.pauses_over:
            self.producer.pauseProducing()


class StationRig:
    """A station with a fake clock, and its clients."""

    def __init__(self, **options):
        self.clock = Clock()
        self.station = Station(self.clock, Timeline(load_clip()), **options)
        self.clock.advance(3.21)
        self.lost = []

    def connect(self):
        transport = ClientTransport()
        transport.protocol = Connection(self.station, PEER, self.lost.append)
        transport.protocol.makeConnection(transport)
        return transport

    def ask(self, target, *headers, method="GET", transport=None):
        transport = transport or self.connect()
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1:8086", *headers, "", ""]
        transport.protocol.dataReceived("\r\n".join(lines).encode())
        return transport

    def run(self, seconds):
        self.clock.pump([TICK / 2] * round(seconds / TICK * 2))

    def control(self, channel, **faults):
        return set_faults(self.station, channel, [(name, str(value)) for name, value in faults.items()])


@pytest.fixture
def rig():
    made = StationRig()
    yield made
    assert made.station.viewers.current <= made.station.sockets.current
    for channel in [made.station.everywhere, *made.station.channels.values()]:
        for body in list(channel.bodies):
            body.abort()
    assert made.clock.getDelayedCalls() == []


def body(transport):
    return transport.value().partition(b"\r\n\r\n")[2]


def status(transport):
    return int(transport.value().split(b" ")[1].split(b"\r\n")[0])


def tally(rig, name="a"):
    return rig.station.channel(name).tally


# The stream


def test_stream_is_paced_aligned_and_equal_for_all_viewers(rig):
    one = rig.ask("/live/a.ts")
    two = rig.ask("/live/u/p/7")
    rig.run(2)
    assert one.value().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Type: video/mp2t\r\n" in one.value()
    assert body(one) == body(two)
    assert set(body(one)[::PACKET]) == {0x47}
    assert len(body(one)) % PACKET == 0
    start = rig.station.timeline.due_at(3.21)
    assert body(one) == rig.station.timeline.span(start, start + len(body(one)))
    assert len(body(one)) == rig.station.timeline.due_at(rig.station.uptime()) - start


def test_paced_stream_is_written_in_small_pieces(rig):
    transport = rig.ask("/live/a.ts")
    sizes = []
    for _ in range(100):
        rig.run(TICK)
        sizes.append(len(body(transport)))
    assert max(later - sooner for sooner, later in pairwise(sizes)) < 8000


def test_burst_and_rate_change_the_bytes_due(rig):
    transport = rig.ask("/live/a.ts?burst=2")
    due = rig.station.timeline.due_at
    assert body(transport) == rig.station.timeline.span(due(1.21), due(3.21))
    fast = rig.ask("/live/b.ts?rate=4")
    rig.run(1)
    assert len(body(fast)) == due(3.21 + 4) - due(3.21)


def test_playout_is_a_push_producer(rig):
    transport = rig.ask("/live/a.ts")
    assert verifyObject(IPushProducer, transport.producer)
    assert transport.streaming is True


def test_paused_viewer_is_not_buffered_and_catches_up():
    rig = StationRig(max_lag=1_000_000)
    transport = rig.ask("/live/a.ts")
    rig.run(1)
    transport.producer.pauseProducing()
    before = len(body(transport))
    rig.run(3)
    assert len(body(transport)) == before
    transport.producer.resumeProducing()
    rig.run(2)
    start = rig.station.timeline.due_at(3.21)
    assert body(transport) == rig.station.timeline.span(start, rig.station.timeline.due_at(rig.station.uptime()))
    transport.abortConnection()
    assert rig.clock.getDelayedCalls() == []


def test_viewer_too_far_behind_is_reset():
    rig = StationRig(max_lag=200_000)
    transport = rig.ask("/live/a.ts")
    transport.producer.pauseProducing()
    rig.run(200_000 / SECOND - 1)
    assert not transport.closed
    rig.run(2)
    assert transport.aborted
    assert rig.clock.getDelayedCalls() == []


def test_unpaced_stream_sends_until_it_is_paused(rig):
    transport = rig.connect()
    transport.pauses_over = 500_000
    rig.ask("/live/a.ts?rate=0", transport=transport)
    rig.clock.advance(0)
    size = len(body(transport))
    assert 500_000 <= size < 600_000
    rig.run(1)
    assert len(body(transport)) == size
    transport.pauses_over = 1_000_000
    transport.producer.resumeProducing()
    rig.clock.advance(0)
    assert len(body(transport)) >= 1_000_000
    start = rig.station.timeline.due_at(3.21)
    assert body(transport) == rig.station.timeline.span(start, start + len(body(transport)))


def test_head_request_gets_a_head_and_is_not_counted_as_viewer(rig):
    transport = rig.ask("/live/a.ts", method="HEAD")
    assert status(transport) == 200
    assert body(transport) == b""
    assert transport.closed
    assert (tally(rig).total, tally(rig).requests) == (0, 1)


# End of the stream


@pytest.mark.parametrize("octets", [0, 1, 1000, 100_000])
@pytest.mark.parametrize(("fault", "aborted"), [("close", False), ("reset", True)])
def test_close_and_reset_after_bytes(rig, fault, aborted, octets):
    transport = rig.ask(f"/live/a.ts?{fault}={octets}")
    rig.run(4)
    assert len(body(transport)) == octets
    assert transport.closed
    assert transport.aborted is aborted
    assert tally(rig).current == 0
    assert tally(rig).octets == octets


@pytest.mark.parametrize(("fault", "aborted"), [("close", False), ("reset", True)])
def test_close_and_reset_after_seconds(rig, fault, aborted):
    transport = rig.ask(f"/live/a.ts?{fault}=2s")
    rig.run(1.95)
    assert not transport.closed
    rig.run(0.1)
    assert transport.closed
    assert transport.aborted is aborted
    assert len(body(transport)) > SECOND


def test_close_every_closes_all_at_the_same_time(rig):
    rig.control("a", close_every=4)
    one = rig.ask("/live/a.ts")
    rig.run(0.5)
    two = rig.ask("/live/a.ts")
    rig.run(0.25)
    assert not one.closed
    assert not two.closed
    rig.run(0.1)
    assert one.closed
    assert two.closed
    three = rig.ask("/live/a.ts")
    rig.run(3.8)
    assert not three.closed
    rig.run(0.3)
    assert three.closed


@pytest.mark.parametrize("when", ["50000", "1s"])
def test_stalled_stream_stays_open_and_silent(rig, when):
    transport = rig.ask(f"/live/a.ts?stall={when}")
    rig.run(2)
    size = len(body(transport))
    assert size > 0
    assert when != "50000" or size == 50_000
    rig.run(60)
    assert len(body(transport)) == size
    assert not transport.closed
    assert tally(rig).current == 1


def test_stall_for_resumes_without_loss(rig):
    transport = rig.ask("/live/a.ts?stall=10001&stall_for=3&close=6s")
    rig.run(2)
    assert len(body(transport)) == 10_001
    rig.run(3.9)
    start = rig.station.timeline.due_at(3.21)
    assert body(transport) == rig.station.timeline.span(start, rig.station.timeline.due_at(rig.station.uptime()))
    rig.run(0.2)
    assert transport.closed


def test_stalled_stream_can_be_reset(rig):
    transport = rig.ask("/live/a.ts?stall=1s&reset=3s")
    rig.run(2.9)
    assert not transport.closed
    rig.run(0.2)
    assert transport.aborted


def test_trickle_sends_single_packets(rig):
    transport = rig.ask("/live/a.ts?trickle=0.5")
    rig.run(2.1)
    assert len(body(transport)) == 5 * PACKET


def test_cut_leaves_out_only_the_cut_bytes(rig):
    transport = rig.ask("/live/a.ts?cut=50000&cut_size=1000")
    rig.run(3)
    start = rig.station.timeline.due_at(3.21)
    whole = rig.station.timeline.span(start, start + 500_000)
    assert body(transport)[:50_000] == whole[:50_000]
    assert body(transport)[50_000:] == whole[51_000 : 51_000 + len(body(transport)) - 50_000]
    assert len(body(transport)) > 100_000


def test_garbage_has_no_sync_byte(rig):
    transport = rig.ask("/live/a.ts?garbage=18800")
    rig.run(3)
    assert set(body(transport)[:18_800:PACKET]) == {0x47}
    assert 0x47 not in body(transport)[18_800:]
    assert len(body(transport)) > 100_000


def test_chunked_framings_end_as_selected(rig):
    good = rig.ask("/live/a.ts?framing=chunked&close=1s")
    cut = rig.ask("/live/a.ts?framing=chunked_cut&close=1s")
    bad = rig.ask("/live/a.ts?framing=chunked&bad_chunk=9400")
    rig.run(1.5)
    for transport in (good, cut, bad):
        assert b"\r\nTransfer-Encoding: chunked\r\n" in transport.value()
    assert good.value().endswith(b"\r\n0\r\n\r\n")
    assert cut.value().endswith(b"\r\n1000\r\nGG")
    assert b"\r\nzz\r\n" in bad.value()


def test_wrong_content_length_does_not_end_the_body(rig):
    transport = rig.ask("/live/a.ts?length=1000&close=2000")
    rig.run(1)
    assert b"\r\nContent-Length: 1000\r\n" in transport.value()
    assert len(body(transport)) == 2000


# Before and instead of the stream


def test_refused_request_is_reset(rig):
    transport = rig.ask("/live/a.ts?refuse=1")
    assert transport.aborted
    assert transport.value() == b""


def test_refused_connections_are_reset(rig):
    rig.control("*", refuse="accept", times=2)
    assert [rig.connect().aborted for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("hang", "head"), [("head", False), ("body", True)])
def test_hanging_request_counts_until_the_client_disconnects(rig, hang, head):
    transport = rig.ask(f"/live/a.ts?hang={hang}")
    rig.run(30)
    assert bool(transport.value()) is head
    assert body(transport) == b""
    assert tally(rig).current == 1
    transport.abortConnection()
    assert tally(rig).current == 0


def test_delay_and_slow_head_postpone_the_stream(rig):
    late = rig.ask("/live/a.ts?delay=2")
    slow = rig.ask("/live/a.ts?slow_head=0.1")
    rig.run(1)
    assert late.value() == b""
    assert b"HTTP/1.1 "[: len(slow.value())].startswith(slow.value()[:9])
    assert 9 <= len(slow.value()) <= 11
    rig.run(60)
    assert len(body(late)) > SECOND
    assert len(body(slow)) > SECOND


def test_disconnect_before_the_stream_leaves_no_timer(rig):
    for fault in ("delay=2", "slow_head=0.1", "redirect=same"):
        rig.ask(f"/live/a.ts?{fault}").abortConnection()
    assert rig.clock.getDelayedCalls() == []
    assert rig.station.sockets.current == 0


@pytest.mark.parametrize("code", [401, 403, 404, 429, 458, 500, 502, 503, 509, 599])
def test_status_fault_answers_with_a_short_page(rig, code):
    transport = rig.ask(f"/live/a.ts?status={code}")
    assert status(transport) == code
    assert f"{code}".encode() in body(transport)
    assert f"\r\nContent-Length: {len(body(transport))}\r\n".encode() in transport.value()
    assert not transport.closed
    assert tally(rig).total == 0


@pytest.mark.parametrize(
    ("fault", "content_type", "start"),
    [
        ("html=1", b"text/html", b"<html>"),
        ("html=video", b"video/mp2t", b"<html>"),
        ("json=1", b"application/json", b"{"),
    ],
)
def test_page_or_json_instead_of_the_stream(rig, fault, content_type, start):
    transport = rig.ask(f"/live/a.ts?{fault}")
    assert status(transport) == 200
    assert b"\r\nContent-Type: " + content_type in transport.value()
    assert body(transport).startswith(start)


def test_limits_count_channels_accounts_and_recent_viewers(rig):
    rig.control("*", limit=2, account_limit=1, limit_hold=5)
    one = rig.ask("/live/ann/x/1")
    assert status(rig.ask("/live/ann/x/2")) == 458
    assert status(rig.ask("/live/bob/x/1")) == 200
    assert status(rig.ask("/live/eve/x/1")) == 458
    one.abortConnection()
    rig.run(4.9)
    assert status(rig.ask("/live/eve/x/1?limit_answer=509")) == 509
    assert body(rig.ask("/live/eve/x/1?limit_answer=html")).startswith(b"<html>")
    rig.run(0.2)
    assert status(rig.ask("/live/eve/x/1")) == 200
    assert tally(rig, "1").peak == 2
    assert rig.station.account("ann").total == 1


def test_odd_heads_combine_with_other_faults(rig):
    transport = rig.ask("/live/a.ts?head=icy,no_colon&framing=chunked&close=1s")
    rig.run(1.2)
    assert transport.value().startswith(b"ICY 200 OK\r\n")
    assert b"\r\nthis line has no colon\r\n" in transport.value()
    assert transport.value().endswith(b"0\r\n\r\n")
    assert rig.ask("/live/a.ts?head=http1&status=403").value().startswith(b"HTTP/1 403 ")


def test_content_type_can_be_changed_or_omitted(rig):
    assert (
        b"\r\nContent-Type: application/octet-stream\r\n"
        in rig.ask("/live/a.ts?ctype=application/octet-stream").value()
    )
    assert b"Content-Type" not in rig.ask("/live/a.ts?ctype=").value()


# Redirects

HERE, OTHER = "http://127.0.0.1:8086", "http://localhost:8086"


def place(transport):
    lines = transport.value().decode().split("\r\n")
    return next((line[10:] for line in lines if line.startswith("Location: ")), None)


@pytest.mark.parametrize(
    ("kind", "location"),
    [
        ("same", HERE + "/live/u/p/1.ts?redirect=same&hop=1"),
        ("other", OTHER + "/live/u/p/1.ts?redirect=other&hop=1"),
        ("relative", "1.ts?redirect=relative&hop=1"),
        ("path", "/live/u/p/1.ts?redirect=path&hop=1"),
        ("loop", HERE + "/live/u/p/1.ts?redirect=loop"),
        ("none", None),
        ("empty", ""),
        ("https", "https://127.0.0.1:8086/live/u/p/1.ts?redirect=https&hop=1"),
        ("ftp", "ftp://127.0.0.1:8086/live/u/p/1.ts?redirect=ftp&hop=1"),
    ],
)
def test_redirect_location_and_body(rig, kind, location):
    transport = rig.ask(f"/live/u/p/1.ts?redirect={kind}")
    assert status(transport) == 302
    assert place(transport) == location
    assert body(transport) == b""  # the body is sent in a segment of its own
    rig.run(0.1)
    assert body(transport) == b"<html><body>moved</body></html>\n"
    assert not transport.closed
    assert tally(rig, "1").total == 0


def test_redirects_end_at_the_stream(rig):
    transport = rig.ask("/live/a.ts?redirect=same&hops=2&stall=1000")
    rig.run(0.1)
    for hop in (1, 2):
        target = place(transport)
        assert target == f"{HERE}/live/a.ts?redirect=same&hops=2&stall=1000&hop={hop}"
        transport = rig.ask(target.removeprefix(HERE))
        rig.run(0.1)
    rig.run(3)
    assert len(body(transport)) == 1000


def test_chain_uses_all_kinds_of_redirects(rig):
    target, kinds = "/live/u/p/1.ts?redirect=chain", []
    while True:
        transport = rig.ask(target)
        rig.run(0.1)
        if status(transport) == 200:
            break
        kinds.append(place(transport))
        target = "/live/u/p/1.ts?" + place(transport).partition("?")[2]
    assert [kind.partition("?")[0] for kind in kinds] == [
        f"{OTHER}/live/u/p/1.ts",
        "1.ts",
        f"{HERE}/live/u/p/1.ts",
        "/live/u/p/1.ts",
    ]


def test_redirect_set_by_control_returns_from_the_other_host(rig):
    rig.control("a", redirect="other", redirect_status=307)
    transport = rig.connect()
    transport.protocol.dataReceived(b"GET /live/a.ts HTTP/1.1\r\nHost: localhost:8086\r\n\r\n")
    rig.run(0.1)
    assert status(transport) == 307
    assert place(transport) == HERE + "/live/a.ts?hop=1"
    assert status(rig.ask("/live/a.ts?hop=1")) == 200


# Pages of the provider


def test_stats_report_counts_and_requests(rig):
    rig.ask("/live/u/p/a?token=1", "User-Agent: VLC", "X-Odd: 1")
    rig.run(1)
    report = json.loads(body(rig.ask("/stats")))
    assert report["channels"]["a"] == report["accounts"]["u"] == report["total"]
    assert report["total"] | {"bytes": 0} == {"current": 1, "peak": 1, "total": 1, "requests": 1, "bytes": 0}
    assert report["total"]["bytes"] > SECOND / 2
    assert report["sockets"]["current"] == 2
    first = report["requests"][0]
    assert (first["method"], first["path"], first["channel"]) == ("GET", "/live/u/p/a?token=1", "a")
    assert ["User-Agent", "VLC"] in first["headers"]


def test_control_changes_current_bodies_and_can_be_undone(rig):
    transport = rig.ask("/live/a.ts")
    other = rig.ask("/live/b.ts")
    rig.run(1)
    answer = json.loads(body(rig.ask("/control?channel=a&stall=0")))
    assert answer == {"channel": "a", "faults": [["stall", "0"]], "bodies": 1}
    size = len(body(transport))
    rig.run(1)
    assert len(body(transport)) == size < len(body(other))
    late = rig.ask("/live/a.ts")
    rig.run(1)
    assert body(late) == b""
    rig.ask("/control?channel=a&fault=none")
    rig.run(1)
    assert body(transport) == body(other)
    rig.ask("/control?channel=*&close=1s")
    rig.run(1.1)
    assert transport.closed
    assert other.closed


def test_bytes_in_control_count_from_the_change(rig):
    transport = rig.ask("/live/a.ts?reset=3s")
    rig.run(1)
    size = len(body(transport))
    rig.control("a", close=1000)
    rig.run(1)
    assert len(body(transport)) == size + 1000
    assert not transport.aborted


def test_chain_of_redirects_counts_once_for_times(rig):
    rig.control("a", redirect="same", hops=2, times=1)
    assert status(rig.ask("/live/a.ts")) == 302
    assert status(rig.ask("/live/a.ts?hop=1")) == 302
    assert status(rig.ask("/live/a.ts?hop=2")) == 200
    assert status(rig.ask("/live/a.ts")) == 200
    rig.run(0.1)


def test_control_rejects_unknown_keys_and_invalid_values(rig):
    rig.control("a", status=503)
    transport = rig.ask("/control?channel=a&no_such=1")
    assert status(transport) == 400
    assert b"no such fault: no_such" in body(transport)
    assert status(rig.ask("/control?channel=a&close=soon")) == 400
    assert status(rig.ask("/live/a.ts")) == 503
    transport = rig.ask("/live/a.ts?close=soon")
    assert status(transport) == 400
    assert b"close=soon" in body(transport)


def test_times_by_control_and_by_query(rig):
    rig.control("a", status=503, times=2)
    assert [status(rig.ask("/live/a.ts")) for _ in range(4)] == [503, 503, 200, 200]
    rig.control("a", status=509, times=1)
    assert [status(rig.ask("/live/a.ts")) for _ in range(2)] == [509, 200]
    assert [status(rig.ask("/live/b.ts?status=404&times=1")) for _ in range(2)] == [404, 200]
    assert status(rig.ask("/live/c.ts?status=404&times=1")) == 404


def test_query_overrides_channel_and_channel_overrides_all(rig):
    rig.control("*", status=500, ctype="x/y")
    rig.control("a", status=501)
    assert status(rig.ask("/live/b.ts")) == 500
    assert status(rig.ask("/live/a.ts")) == 501
    assert status(rig.ask("/live/a.ts?status=502")) == 502


def test_reset_clears_faults_counts_and_log(rig):
    rig.control("a", status=503, times=5)
    rig.ask("/live/a.ts")
    playing = rig.ask("/live/b.ts")
    rig.run(1)
    rig.ask("/reset")
    report = json.loads(body(rig.ask("/stats")))
    assert [request["path"] for request in report["requests"]] == ["/stats"]
    assert report["channels"]["b"] == {"current": 1, "peak": 1, "total": 0, "requests": 0, "bytes": 0}
    assert status(rig.ask("/live/a.ts")) == 200
    assert not playing.closed


def test_connection_is_reused_after_a_short_answer(rig):
    transport = rig.ask("/stats")
    transport.clear()
    rig.ask("/nowhere", transport=transport)
    assert status(transport) == 404
    transport.clear()
    transport.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\nGET /stats HTTP/1.0\r\n\r\n")
    assert transport.value().count(b"HTTP/1.1 200 OK") == 2
    assert transport.closed


def test_invalid_requests_are_refused(rig):
    transport = rig.connect()
    transport.protocol.dataReceived(b"\x16\x03\x01 hello\r\n\r\n")
    assert status(transport) == 400
    assert transport.closed
    flood = rig.ask("/live/a.ts")
    for _ in range(5):
        if not flood.closed:
            flood.protocol.dataReceived(b"a" * 50_000)
    assert flood.aborted
    assert len(rig.lost) == 2
