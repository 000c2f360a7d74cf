"""One client's connection, from its request to its end, on a clock and in memory."""

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


class Wire(StringTransport):
    """A transport whose end is seen at once, and which pauses its producer over so many bytes, as the real one does.

    It is stricter in one thing: after the end it takes no bytes.
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


class Bench:
    """A station on a clock, and clients of it."""

    def __init__(self, **options):
        self.clock = Clock()
        self.station = Station(self.clock, Timeline(load_clip()), **options)
        self.clock.advance(3.21)
        self.lost = []

    def connect(self):
        wire = Wire()
        wire.protocol = Connection(self.station, PEER, self.lost.append)
        wire.protocol.makeConnection(wire)
        return wire

    def ask(self, target, *headers, method="GET", wire=None):
        wire = wire or self.connect()
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1:8086", *headers, "", ""]
        wire.protocol.dataReceived("\r\n".join(lines).encode())
        return wire

    def run(self, seconds):
        self.clock.pump([TICK / 2] * round(seconds / TICK * 2))

    def control(self, channel, **faults):
        return set_faults(self.station, channel, [(name, str(value)) for name, value in faults.items()])


@pytest.fixture
def bench():
    made = Bench()
    yield made
    assert made.station.viewers.current <= made.station.sockets.current
    for channel in [made.station.everywhere, *made.station.channels.values()]:
        for body in list(channel.bodies):
            body.drop()
    assert made.clock.getDelayedCalls() == []


def body(wire):
    return wire.value().partition(b"\r\n\r\n")[2]


def status(wire):
    return int(wire.value().split(b" ")[1].split(b"\r\n")[0])


def tally(bench, name="a"):
    return bench.station.channel(name).tally


# The stream


def test_plain_play_is_paced_aligned_and_the_same_for_all(bench):
    one = bench.ask("/live/a.ts")
    two = bench.ask("/live/u/p/7")
    bench.run(2)
    assert one.value().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Type: video/mp2t\r\n" in one.value()
    assert body(one) == body(two)
    assert set(body(one)[::PACKET]) == {0x47}
    assert len(body(one)) % PACKET == 0
    start = bench.station.timeline.due_at(3.21)
    assert body(one) == bench.station.timeline.span(start, start + len(body(one)))
    assert len(body(one)) == bench.station.timeline.due_at(bench.station.uptime()) - start


def test_bytes_come_in_small_pieces(bench):
    wire = bench.ask("/live/a.ts")
    sizes = []
    for _ in range(100):
        bench.run(TICK)
        sizes.append(len(body(wire)))
    assert max(later - sooner for sooner, later in pairwise(sizes)) < 8000


def test_burst_and_rate(bench):
    wire = bench.ask("/live/a.ts?burst=2")
    due = bench.station.timeline.due_at
    assert body(wire) == bench.station.timeline.span(due(1.21), due(3.21))
    fast = bench.ask("/live/b.ts?rate=4")
    bench.run(1)
    assert len(body(fast)) == due(3.21 + 4) - due(3.21)


def test_the_playout_is_a_push_producer(bench):
    wire = bench.ask("/live/a.ts")
    assert verifyObject(IPushProducer, wire.producer)
    assert wire.streaming is True


def test_a_viewer_who_does_not_read_is_not_buffered_and_catches_up():
    bench = Bench(max_lag=1_000_000)
    wire = bench.ask("/live/a.ts")
    bench.run(1)
    wire.producer.pauseProducing()
    before = len(body(wire))
    bench.run(3)
    assert len(body(wire)) == before
    wire.producer.resumeProducing()
    bench.run(2)
    start = bench.station.timeline.due_at(3.21)
    assert body(wire) == bench.station.timeline.span(start, bench.station.timeline.due_at(bench.station.uptime()))
    wire.abortConnection()
    assert bench.clock.getDelayedCalls() == []


def test_a_viewer_too_far_behind_is_reset():
    bench = Bench(max_lag=200_000)
    wire = bench.ask("/live/a.ts")
    wire.producer.pauseProducing()
    bench.run(200_000 / SECOND - 1)
    assert not wire.closed
    bench.run(2)
    assert wire.aborted
    assert bench.clock.getDelayedCalls() == []


def test_unpaced_sends_while_it_is_taken(bench):
    wire = bench.connect()
    wire.pauses_over = 500_000
    bench.ask("/live/a.ts?rate=0", wire=wire)
    bench.clock.advance(0)
    size = len(body(wire))
    assert 500_000 <= size < 600_000
    bench.run(1)
    assert len(body(wire)) == size
    wire.pauses_over = 1_000_000
    wire.producer.resumeProducing()
    bench.clock.advance(0)
    assert len(body(wire)) >= 1_000_000
    start = bench.station.timeline.due_at(3.21)
    assert body(wire) == bench.station.timeline.span(start, start + len(body(wire)))


def test_head_gets_a_head_and_no_slot(bench):
    wire = bench.ask("/live/a.ts", method="HEAD")
    assert status(wire) == 200
    assert body(wire) == b""
    assert wire.closed
    assert (tally(bench).total, tally(bench).requests) == (0, 1)


# How it ends


@pytest.mark.parametrize("octets", [0, 1, 1000, 100_000])
@pytest.mark.parametrize(("fault", "aborted"), [("close", False), ("reset", True)])
def test_ends_after_bytes(bench, fault, aborted, octets):
    wire = bench.ask(f"/live/a.ts?{fault}={octets}")
    bench.run(4)
    assert len(body(wire)) == octets
    assert wire.closed
    assert wire.aborted is aborted
    assert tally(bench).current == 0
    assert tally(bench).octets == octets


@pytest.mark.parametrize(("fault", "aborted"), [("close", False), ("reset", True)])
def test_ends_after_seconds(bench, fault, aborted):
    wire = bench.ask(f"/live/a.ts?{fault}=2s")
    bench.run(1.95)
    assert not wire.closed
    bench.run(0.1)
    assert wire.closed
    assert wire.aborted is aborted
    assert len(body(wire)) > SECOND


def test_closes_everybody_at_the_same_moment(bench):
    bench.control("a", close_every=4)
    one = bench.ask("/live/a.ts")
    bench.run(0.5)
    two = bench.ask("/live/a.ts")
    bench.run(0.25)
    assert not one.closed
    assert not two.closed
    bench.run(0.1)
    assert one.closed
    assert two.closed
    three = bench.ask("/live/a.ts")
    bench.run(3.8)
    assert not three.closed
    bench.run(0.3)
    assert three.closed


@pytest.mark.parametrize("when", ["50000", "1s"])
def test_stall_stays_open_and_silent(bench, when):
    wire = bench.ask(f"/live/a.ts?stall={when}")
    bench.run(2)
    size = len(body(wire))
    assert size > 0
    assert when != "50000" or size == 50_000
    bench.run(60)
    assert len(body(wire)) == size
    assert not wire.closed
    assert tally(bench).current == 1


def test_a_stall_may_end_and_nothing_is_missing(bench):
    wire = bench.ask("/live/a.ts?stall=10001&stall_for=3&close=6s")
    bench.run(2)
    assert len(body(wire)) == 10_001
    bench.run(3.9)
    start = bench.station.timeline.due_at(3.21)
    assert body(wire) == bench.station.timeline.span(start, bench.station.timeline.due_at(bench.station.uptime()))
    bench.run(0.2)
    assert wire.closed


def test_a_stalled_body_may_be_reset(bench):
    wire = bench.ask("/live/a.ts?stall=1s&reset=3s")
    bench.run(2.9)
    assert not wire.closed
    bench.run(0.2)
    assert wire.aborted


def test_trickle(bench):
    wire = bench.ask("/live/a.ts?trickle=0.5")
    bench.run(2.1)
    assert len(body(wire)) == 5 * PACKET


def test_cut_loses_alignment_and_nothing_else(bench):
    wire = bench.ask("/live/a.ts?cut=50000&cut_size=1000")
    bench.run(3)
    start = bench.station.timeline.due_at(3.21)
    whole = bench.station.timeline.span(start, start + 500_000)
    assert body(wire)[:50_000] == whole[:50_000]
    assert body(wire)[50_000:] == whole[51_000 : 51_000 + len(body(wire)) - 50_000]
    assert len(body(wire)) > 100_000


def test_garbage_has_no_sync_byte(bench):
    wire = bench.ask("/live/a.ts?garbage=18800")
    bench.run(3)
    assert set(body(wire)[:18_800:PACKET]) == {0x47}
    assert 0x47 not in body(wire)[18_800:]
    assert len(body(wire)) > 100_000


def test_chunked_ends_well_or_badly(bench):
    good = bench.ask("/live/a.ts?framing=chunked&close=1s")
    cut = bench.ask("/live/a.ts?framing=chunked_cut&close=1s")
    bad = bench.ask("/live/a.ts?framing=chunked&bad_chunk=9400")
    bench.run(1.5)
    for wire in (good, cut, bad):
        assert b"\r\nTransfer-Encoding: chunked\r\n" in wire.value()
    assert good.value().endswith(b"\r\n0\r\n\r\n")
    assert cut.value().endswith(b"\r\n1000\r\nGG")
    assert b"\r\nzz\r\n" in bad.value()


def test_a_length_that_lies(bench):
    wire = bench.ask("/live/a.ts?length=1000&close=2000")
    bench.run(1)
    assert b"\r\nContent-Length: 1000\r\n" in wire.value()
    assert len(body(wire)) == 2000


# Before and instead of the stream


def test_refuse(bench):
    wire = bench.ask("/live/a.ts?refuse=1")
    assert wire.aborted
    assert wire.value() == b""


def test_refuse_on_connect(bench):
    bench.control("*", refuse="accept", times=2)
    assert [bench.connect().aborted for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("hang", "head"), [("head", False), ("body", True)])
def test_hang_takes_a_slot_until_the_client_leaves(bench, hang, head):
    wire = bench.ask(f"/live/a.ts?hang={hang}")
    bench.run(30)
    assert bool(wire.value()) is head
    assert body(wire) == b""
    assert tally(bench).current == 1
    wire.abortConnection()
    assert tally(bench).current == 0


def test_delay_and_slow_head(bench):
    late = bench.ask("/live/a.ts?delay=2")
    slow = bench.ask("/live/a.ts?slow_head=0.1")
    bench.run(1)
    assert late.value() == b""
    assert b"HTTP/1.1 "[: len(slow.value())].startswith(slow.value()[:9])
    assert 9 <= len(slow.value()) <= 11
    bench.run(60)
    assert len(body(late)) > SECOND
    assert len(body(slow)) > SECOND


def test_a_client_who_leaves_during_delay_or_slow_head_leaves_nothing(bench):
    for fault in ("delay=2", "slow_head=0.1", "redirect=same"):
        bench.ask(f"/live/a.ts?{fault}").abortConnection()
    assert bench.clock.getDelayedCalls() == []
    assert bench.station.sockets.current == 0


@pytest.mark.parametrize("code", [401, 403, 404, 429, 458, 500, 502, 503, 509, 599])
def test_status(bench, code):
    wire = bench.ask(f"/live/a.ts?status={code}")
    assert status(wire) == code
    assert f"{code}".encode() in body(wire)
    assert f"\r\nContent-Length: {len(body(wire))}\r\n".encode() in wire.value()
    assert not wire.closed
    assert tally(bench).total == 0


@pytest.mark.parametrize(
    ("fault", "content_type", "start"),
    [
        ("html=1", b"text/html", b"<html>"),
        ("html=video", b"video/mp2t", b"<html>"),
        ("json=1", b"application/json", b"{"),
    ],
)
def test_something_else_with_200(bench, fault, content_type, start):
    wire = bench.ask(f"/live/a.ts?{fault}")
    assert status(wire) == 200
    assert b"\r\nContent-Type: " + content_type in wire.value()
    assert body(wire).startswith(start)


def test_limits_count_channels_accounts_and_those_who_just_left(bench):
    bench.control("*", limit=2, account_limit=1, limit_hold=5)
    one = bench.ask("/live/ann/x/1")
    assert status(bench.ask("/live/ann/x/2")) == 458
    assert status(bench.ask("/live/bob/x/1")) == 200
    assert status(bench.ask("/live/eve/x/1")) == 458
    one.abortConnection()
    bench.run(4.9)
    assert status(bench.ask("/live/eve/x/1?limit_answer=509")) == 509
    assert body(bench.ask("/live/eve/x/1?limit_answer=html")).startswith(b"<html>")
    bench.run(0.2)
    assert status(bench.ask("/live/eve/x/1")) == 200
    assert tally(bench, "1").peak == 2
    assert bench.station.account("ann").total == 1


def test_odd_heads_go_with_everything(bench):
    wire = bench.ask("/live/a.ts?head=icy,no_colon&framing=chunked&close=1s")
    bench.run(1.2)
    assert wire.value().startswith(b"ICY 200 OK\r\n")
    assert b"\r\nthis line has no colon\r\n" in wire.value()
    assert wire.value().endswith(b"0\r\n\r\n")
    assert bench.ask("/live/a.ts?head=http1&status=403").value().startswith(b"HTTP/1 403 ")


def test_content_type_may_be_another_or_missing(bench):
    assert (
        b"\r\nContent-Type: application/octet-stream\r\n"
        in bench.ask("/live/a.ts?ctype=application/octet-stream").value()
    )
    assert b"Content-Type" not in bench.ask("/live/a.ts?ctype=").value()


# Redirects

HERE, OTHER = "http://127.0.0.1:8086", "http://localhost:8086"


def place(wire):
    lines = wire.value().decode().split("\r\n")
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
def test_redirect(bench, kind, location):
    wire = bench.ask(f"/live/u/p/1.ts?redirect={kind}")
    assert status(wire) == 302
    assert place(wire) == location
    assert body(wire) == b""  # it comes in a segment of its own
    bench.run(0.1)
    assert body(wire) == b"<html><body>moved</body></html>\n"
    assert not wire.closed
    assert tally(bench, "1").total == 0


def test_redirects_end_where_they_should(bench):
    wire = bench.ask("/live/a.ts?redirect=same&hops=2&stall=1000")
    bench.run(0.1)
    for hop in (1, 2):
        target = place(wire)
        assert target == f"{HERE}/live/a.ts?redirect=same&hops=2&stall=1000&hop={hop}"
        wire = bench.ask(target.removeprefix(HERE))
        bench.run(0.1)
    bench.run(3)
    assert len(body(wire)) == 1000


def test_chain(bench):
    target, kinds = "/live/u/p/1.ts?redirect=chain", []
    while True:
        wire = bench.ask(target)
        bench.run(0.1)
        if status(wire) == 200:
            break
        kinds.append(place(wire))
        target = "/live/u/p/1.ts?" + place(wire).partition("?")[2]
    assert [kind.partition("?")[0] for kind in kinds] == [
        f"{OTHER}/live/u/p/1.ts",
        "1.ts",
        f"{HERE}/live/u/p/1.ts",
        "/live/u/p/1.ts",
    ]


def test_redirect_by_control_and_back_from_the_other_host(bench):
    bench.control("a", redirect="other", redirect_status=307)
    wire = bench.connect()
    wire.protocol.dataReceived(b"GET /live/a.ts HTTP/1.1\r\nHost: localhost:8086\r\n\r\n")
    bench.run(0.1)
    assert status(wire) == 307
    assert place(wire) == HERE + "/live/a.ts?hop=1"
    assert status(bench.ask("/live/a.ts?hop=1")) == 200


# Own pages


def test_stats_tell_what_reached_it(bench):
    bench.ask("/live/u/p/a?token=1", "User-Agent: VLC", "X-Odd: 1")
    bench.run(1)
    report = json.loads(body(bench.ask("/stats")))
    assert report["channels"]["a"] == report["accounts"]["u"] == report["total"]
    assert report["total"] | {"bytes": 0} == {"current": 1, "peak": 1, "total": 1, "requests": 1, "bytes": 0}
    assert report["total"]["bytes"] > SECOND / 2
    assert report["sockets"]["current"] == 2
    first = report["requests"][0]
    assert (first["method"], first["path"], first["channel"]) == ("GET", "/live/u/p/a?token=1", "a")
    assert ["User-Agent", "VLC"] in first["headers"]


def test_control_works_on_bodies_under_way_and_can_be_taken_back(bench):
    wire = bench.ask("/live/a.ts")
    other = bench.ask("/live/b.ts")
    bench.run(1)
    answer = json.loads(body(bench.ask("/control?channel=a&stall=0")))
    assert answer == {"channel": "a", "faults": [["stall", "0"]], "bodies": 1}
    size = len(body(wire))
    bench.run(1)
    assert len(body(wire)) == size < len(body(other))
    late = bench.ask("/live/a.ts")
    bench.run(1)
    assert body(late) == b""
    bench.ask("/control?channel=a&fault=none")
    bench.run(1)
    assert body(wire) == body(other)
    bench.ask("/control?channel=*&close=1s")
    bench.run(1.1)
    assert wire.closed
    assert other.closed


def test_bytes_of_a_control_count_from_then_on(bench):
    wire = bench.ask("/live/a.ts?reset=3s")
    bench.run(1)
    size = len(body(wire))
    bench.control("a", close=1000)
    bench.run(1)
    assert len(body(wire)) == size + 1000
    assert not wire.aborted


def test_a_chain_of_redirects_is_one_use(bench):
    bench.control("a", redirect="same", hops=2, times=1)
    assert status(bench.ask("/live/a.ts")) == 302
    assert status(bench.ask("/live/a.ts?hop=1")) == 302
    assert status(bench.ask("/live/a.ts?hop=2")) == 200
    assert status(bench.ask("/live/a.ts")) == 200
    bench.run(0.1)


def test_control_complains(bench):
    bench.control("a", status=503)
    wire = bench.ask("/control?channel=a&no_such=1")
    assert status(wire) == 400
    assert b"no such fault: no_such" in body(wire)
    assert status(bench.ask("/control?channel=a&close=soon")) == 400
    assert status(bench.ask("/live/a.ts")) == 503
    wire = bench.ask("/live/a.ts?close=soon")
    assert status(wire) == 400
    assert b"close=soon" in body(wire)


def test_times_by_control_and_by_query(bench):
    bench.control("a", status=503, times=2)
    assert [status(bench.ask("/live/a.ts")) for _ in range(4)] == [503, 503, 200, 200]
    bench.control("a", status=509, times=1)
    assert [status(bench.ask("/live/a.ts")) for _ in range(2)] == [509, 200]
    assert [status(bench.ask("/live/b.ts?status=404&times=1")) for _ in range(2)] == [404, 200]
    assert status(bench.ask("/live/c.ts?status=404&times=1")) == 404


def test_layers_of_faults(bench):
    bench.control("*", status=500, ctype="x/y")
    bench.control("a", status=501)
    assert status(bench.ask("/live/b.ts")) == 500
    assert status(bench.ask("/live/a.ts")) == 501
    assert status(bench.ask("/live/a.ts?status=502")) == 502


def test_reset_forgets(bench):
    bench.control("a", status=503, times=5)
    bench.ask("/live/a.ts")
    playing = bench.ask("/live/b.ts")
    bench.run(1)
    bench.ask("/reset")
    report = json.loads(body(bench.ask("/stats")))
    assert [request["path"] for request in report["requests"]] == ["/stats"]
    assert report["channels"]["b"] == {"current": 1, "peak": 1, "total": 0, "requests": 0, "bytes": 0}
    assert status(bench.ask("/live/a.ts")) == 200
    assert not playing.closed


def test_the_connection_is_used_again_after_a_short_answer(bench):
    wire = bench.ask("/stats")
    wire.clear()
    bench.ask("/nowhere", wire=wire)
    assert status(wire) == 404
    wire.clear()
    wire.protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\nGET /stats HTTP/1.0\r\n\r\n")
    assert wire.value().count(b"HTTP/1.1 200 OK") == 2
    assert wire.closed


def test_bytes_that_are_no_request(bench):
    wire = bench.connect()
    wire.protocol.dataReceived(b"\x16\x03\x01 hello\r\n\r\n")
    assert status(wire) == 400
    assert wire.closed
    flood = bench.ask("/live/a.ts")
    for _ in range(5):
        if not flood.closed:
            flood.protocol.dataReceived(b"a" * 50_000)
    assert flood.aborted
    assert len(bench.lost) == 2
