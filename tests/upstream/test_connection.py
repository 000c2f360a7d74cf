"""Cookie URLs for treq, and the parts of a connection that tests of the dialler do not reach."""

from hyperlink import EncodedURL
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.web.client import URI

from m3uproxy.core.http.redirects import Location
from m3uproxy.upstream.agent import cookie_url
from m3uproxy.upstream.connection import ProviderConnection
from m3uproxy.upstream.tcp_socket import SocketCounter

HOSTS = st.from_regex(r"[a-z0-9._~-]{1,80}|[0-9a-f:.]{2,39}", fullmatch=True) | st.sampled_from(
    [
        "my_host",
        "::1",
        "2001:db8::1",
        "xn--mnchen-3ya.de",
        "xn--a",
        "-a",
        "a..b",
        "a" * 64,
        "1.2.3.4",
        "a.",
        "~",
        "00--0",
    ]
)
TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)).map(lambda text: "/" + text)


@given(st.sampled_from(["http", "https"]), HOSTS, st.integers(1, 65535), TARGETS)
def test_treq_accepts_every_cookie_url(scheme, host, port, target):
    url = cookie_url(Location(scheme, host, port, target)).to_text()
    uri = URI.fromBytes(url.encode("ascii"))
    assert (uri.scheme, uri.port) == (scheme.encode(), port)
    assert EncodedURL.from_text(url).to_uri().to_text() == url  # as it says of itself


def test_cookie_url_keeps_ordinary_host_names():
    assert cookie_url(Location("http", "tv.example", 81, "/a/b.ts?token=1")).to_text() == "http://tv.example:81/a/b.ts"
    assert cookie_url(Location("http", "127.0.0.1", 80, "/a")).to_text() == "http://127.0.0.1/a"


def test_other_hosts_get_a_name_each():
    first, second = (cookie_url(Location("http", host, 80, "/")) for host in ("::1", "::2"))
    assert first != second
    assert first == cookie_url(Location("http", "::1", 80, "/"))


def test_connection_that_was_never_opened_closes_at_once():
    connection = ProviderConnection(Clock(), SocketCounter(), Location("http", "a", 80, "/"), True, lambda: None)
    connection.pause()
    connection.resume()
    connection.abort()
    assert connection.close().called
    assert (connection.connected, connection.lost) == (False, None)


def test_counter_without_closing_sockets_fires_at_once():
    assert SocketCounter().closed().called
