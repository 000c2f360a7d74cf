"""Every phase of a dial on a Clock: which timer says what, and what cancelling leaves."""

import pytest
from scripted_provider import BodyRecorder
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone, NoRouteError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream.dialler import Dialler
from m3uproxy.upstream.tcp_socket import SocketCounter

TIMEOUTS = DialTimeouts(connect=4, first_byte=6, total=9)


@implementer(IHostnameResolver)
class Resolver:
    """A resolver that answers when the test lets it."""

    def __init__(self):
        self.asked = []

    def resolveHostName(self, receiver, name, port=0, types=None, semantics="TCP"):
        self.asked.append(name)
        self._receiver, self._port = receiver, port
        receiver.resolutionBegan(None)

    def answer(self, *addresses):
        for address in addresses:
            self._receiver.addressResolved(IPv4Address("TCP", address, self._port))
        self._receiver.resolutionComplete()


@implementer(IReactorPluggableNameResolver)
class Reactor(MemoryReactorClock):
    def __init__(self):
        super().__init__()
        self.nameResolver = Resolver()

    def installNameResolver(self, resolver):
        raise AssertionError


class Transport(StringTransport):
    """A transport that loses its connection one turn after it was aborted, as a socket does."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock
        self.aborts = 0

    def abortConnection(self):
        self.aborts += 1
        self._clock.callLater(0, self.protocol.connectionLost, Failure(ConnectionAborted()))


class DialPhases(SynchronousTestCase):
    def setUp(self):
        self.clock = Reactor()
        self.sockets = SocketCounter()
        self.dialler = Dialler(self.clock, self.sockets)

    def dial(self, url="http://tv.example/a", timeouts=TIMEOUTS):
        return self.dialler.dial(SourceRequest(url, "VLC", (), True), timeouts)

    def connect(self):
        """Let the last attempt to connect succeed."""
        factory = self.clock.tcpClients[-1][2]
        protocol = factory.buildProtocol(None)
        transport = protocol_transport = Transport(self.clock)
        transport.protocol = protocol
        protocol.makeConnection(protocol_transport)
        return protocol, transport

    def refused(self, dialling, reason):
        self.clock.advance(0)
        error = self.failureResultOf(dialling, SourceError).value
        assert error.reason is reason, error
        self.left_nothing()
        return error

    def cancelled(self, dialling):
        dialling.cancel()
        self.failureResultOf(dialling, CancelledError)
        self.clock.advance(0)
        self.left_nothing()

    def left_nothing(self):
        assert self.clock.getDelayedCalls() == []
        assert self.sockets.open == 0

    def test_look_up_that_never_ends(self):
        dialling = self.dial()
        self.clock.advance(3.9)
        self.assertNoResult(dialling)
        self.clock.advance(0.1)
        self.refused(dialling, Reason.DNS)
        self.clock.nameResolver.answer("192.0.2.1")
        assert self.clock.tcpClients == []

    def test_host_without_an_address(self):
        dialling = self.dial()
        self.clock.nameResolver.answer()
        self.refused(dialling, Reason.DNS)

    def test_names_that_are_looked_up(self):
        for url, name in [
            ("http://my_provider:81/", "my_provider"),
            ("http://m\u00fcnchen.example/", "xn--mnchen-3ya.example"),
            ("http://TV.example/", "tv.example"),
        ]:
            dialling = self.dial(url)
            assert self.clock.nameResolver.asked[-1] == name
            self.cancelled(dialling)

    def test_numeric_addresses_are_not_looked_up(self):
        for url, host in [("http://192.0.2.7:81/", "192.0.2.7"), ("http://[2001:db8::1]:81/", "2001:db8::1")]:
            dialling = self.dial(url)
            assert self.clock.tcpClients[-1][:2] == (host, 81)
            self.cancelled(dialling)
        assert self.clock.nameResolver.asked == []

    def test_connection_that_is_never_accepted(self):
        dialling = self.dial()
        self.clock.advance(3)
        self.clock.nameResolver.answer("192.0.2.1", "192.0.2.2")
        self.clock.advance(0.9)
        self.assertNoResult(dialling)
        self.clock.advance(0.1)
        self.refused(dialling, Reason.CONNECT_TIMEOUT)
        assert len(self.clock.tcpClients) == 2

    def test_no_route(self):
        dialling = self.dial("http://192.0.2.1/")
        factory, connector = self.clock.tcpClients[0][2], self.clock.connectors[0]
        factory.clientConnectionFailed(connector, Failure(NoRouteError()))
        self.clock.advance(0.3)
        self.refused(dialling, Reason.UNREACHABLE)

    def test_missing_head(self):
        dialling = self.dial("http://192.0.2.1/")
        self.clock.advance(1)
        _, transport = self.connect()
        self.clock.advance(5.9)
        self.assertNoResult(dialling)
        assert self.sockets.open == 1
        self.clock.advance(0.1)
        assert transport.aborts == 1
        self.refused(dialling, Reason.FIRST_BYTE_TIMEOUT)

    def test_head_that_trickles_in(self):
        dialling = self.dial("http://192.0.2.1/")
        protocol, _ = self.connect()
        for byte in b"HTTP/1":
            protocol.dataReceived(bytes([byte]))
            self.clock.advance(1)
        self.refused(dialling, Reason.FIRST_BYTE_TIMEOUT)

    def test_total_timeout_ends_steps_within_their_timeouts(self):
        dialling = self.dial("http://192.0.2.1/0", DialTimeouts(4, 6, 9))
        for hop in range(3):
            protocol, _ = self.connect()
            self.clock.advance(3)
            if hop < 2:
                protocol.dataReceived(b"HTTP/1.1 302 x\r\nLocation: /%d\r\n\r\n" % (hop + 1))
                self.clock.advance(0)
        error = self.refused(dialling, Reason.FIRST_BYTE_TIMEOUT)
        assert "9 s in all" in error.detail

    def test_wait_for_a_closing_socket_is_limited(self):
        dialling = self.dial("http://192.0.2.1/0")
        protocol, transport = self.connect()
        transport.abortConnection = lambda: None
        protocol.dataReceived(b"HTTP/1.1 302 x\r\nLocation: /1\r\n\r\n")
        self.clock.advance(8.9)
        self.assertNoResult(dialling)
        self.clock.advance(0.1)
        self.assertNoResult(dialling)
        self.clock.advance(1)
        self.failureResultOf(dialling, SourceError)
        assert len(self.clock.tcpClients) == 1
        assert self.clock.getDelayedCalls() == []

    def test_cancelled_while_looking_up(self):
        self.cancelled(self.dial())

    def test_cancelled_while_connecting(self):
        self.cancelled(self.dial("http://192.0.2.1/"))

    def test_cancelled_while_waiting_for_the_head(self):
        dialling = self.dial("http://192.0.2.1/")
        protocol, transport = self.connect()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\n")
        self.cancelled(dialling)
        assert transport.aborts == 1

    def test_cancelled_while_the_redirecting_socket_closes(self):
        dialling = self.dial("http://192.0.2.1/")
        protocol, transport = self.connect()
        protocol.dataReceived(b"HTTP/1.1 302 x\r\nLocation: /1\r\n\r\n")
        self.cancelled(dialling)
        assert len(self.clock.tcpClients) == 1
        assert transport.aborts == 1

    def test_cancelled_while_the_socket_of_a_failure_closes(self):
        dialling = self.dial("http://192.0.2.1/")
        protocol, _ = self.connect()
        protocol.dataReceived(b"HTTP/1.1 404 x\r\n\r\n")
        self.assertNoResult(dialling)
        self.cancelled(dialling)

    def test_next_dial_waits_for_the_socket_of_a_cancelled_one(self):
        dialling = self.dial("http://192.0.2.1/")
        self.connect()
        dialling.cancel()
        self.failureResultOf(dialling, CancelledError)
        following = self.dial("http://192.0.2.1/")
        assert len(self.clock.tcpClients) == 1
        self.clock.advance(0)
        assert len(self.clock.tcpClients) == 2
        self.cancelled(following)

    def test_cancelled_while_waiting_for_the_socket_of_a_cancelled_one(self):
        first = self.dial("http://192.0.2.1/")
        self.connect()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.cancelled(self.dial("http://192.0.2.1/"))
        assert len(self.clock.tcpClients) == 1

    def test_open_body_has_no_timer(self):
        dialling = self.dial("http://192.0.2.1/")
        protocol, transport = self.connect()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        opened = self.successResultOf(dialling)
        assert self.clock.getDelayedCalls() == []
        assert transport.producerState == "paused"
        opened.resume()
        assert transport.producerState == "paused"
        closing = opened.close()
        self.assertNoResult(closing)
        self.clock.advance(0)
        self.successResultOf(closing)
        self.left_nothing()

    def test_closed_socket_is_not_used(self):
        dialling = self.dial("http://192.0.2.1/")
        protocol, transport = self.connect()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        opened = self.successResultOf(dialling)
        opened.deliver(BodyRecorder())
        protocol.connectionLost(Failure(ConnectionDone()))
        opened.pause()
        assert transport.producerState == "producing"
        transport.producerState = "paused"
        opened.resume()
        assert transport.producerState == "paused"
        self.successResultOf(opened.close())
        assert transport.aborts == 0
        self.left_nothing()


@pytest.mark.parametrize("field", ["url", "headers"])
def test_repr_of_a_request_hides_its_secrets(field):
    request = SourceRequest("http://u:s3cret@a/s3cret", "VLC", (("X-Token", "s3cret"),), True)
    assert "s3cret" not in repr(request)
    assert getattr(request, field)
