"""The client's address and the proxy's own URL, behind any number of proxies."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from gate_rig import peer
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address as Here
from twisted.web.http_headers import Headers

from m3uproxy.settings import Settings
from m3uproxy.web.access.client_address import client_address, is_private, parse_address
from m3uproxy.web.access.own_url import Authority, base_url, parse_authority, path_prefix
from m3uproxy.web.media.live_resource import player_of

PROXIES = "127.0.0.1, 10.0.0.0/8, fd00::/8"
CLIENT = "203.0.113.7"


class FakeRequest:
    """The parts of a request that are used."""

    def __init__(self, frm: str = "127.0.0.1", secure: bool = False, **headers) -> None:
        self.requestHeaders = Headers()
        for name, value in headers.items():
            lines = value if isinstance(value, list) else [value]
            raw = [line.encode("utf-8", "surrogateescape") for line in lines]
            self.requestHeaders.setRawHeaders(name.replace("_", "-").encode(), raw)
        self.args: dict[bytes, list[bytes]] = {}
        self._from = frm
        self._secure = secure

    def getClientAddress(self):
        return peer(self._from)

    def getHost(self):
        return Here("TCP", "192.168.1.2", 8085)

    def isSecure(self):
        return self._secure

    def getHeader(self, name):
        values = self.requestHeaders.getRawHeaders(name)
        return values[-1] if values else None


def client(frm="127.0.0.1", proxies=PROXIES, **headers):
    return str(client_address(FakeRequest(frm, **headers), Settings(trusted_proxies=proxies)))


# parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4 ", "1.2.3.4"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ('"1.2.3.4:5678"', "1.2.3.4"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::ffff:102:304]:1", "1.2.3.4"),
        ("unix:", "127.0.0.1"),
    ],
)
def test_parse_address(text, address):
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text",
    ["", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "localhost", "[1", ":", "1.2.3.4/8"],
)
def test_invalid_addresses(text):
    assert parse_address(text) is None


@given(st.text())
def test_parse_address_accepts_any_text(text):
    address = parse_address(text)
    assert address is None or not getattr(address, "ipv4_mapped", None)


@given(st.ip_addresses(v=4))
def test_ipv4_mapped_addresses_are_ipv4(address):
    dressed = IPv6Address(int(address) | 0xFFFF << 32)
    for text in (f"{address}", f"{address}:80", f"::ffff:{address}", f"[::ffff:{address}]:80", f"{dressed}"):
        assert parse_address(text) == address
    assert is_private(IPv4Address("127.0.0.1"))


# client_address


def test_without_a_proxy_the_peer_is_the_client():
    assert client(CLIENT) == CLIENT
    assert client(f"::ffff:{CLIENT}") == CLIENT
    assert client("2001:db8::7") == "2001:db8::7"
    assert client("unix") == "127.0.0.1"


@pytest.mark.parametrize("name", ["X_Forwarded_For", "X_Real_IP"])
def test_headers_of_untrusted_peers_are_ignored(name):
    assert client(CLIENT, **{name: "9.9.9.9"}) == CLIENT
    assert client("127.0.0.1", proxies="none", **{name: "9.9.9.9"}) == "127.0.0.1"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (CLIENT, CLIENT),
        # What stands left of the client is its own invention.
        (f"9.9.9.9, {CLIENT}", CLIENT),
        (f"127.0.0.1, {CLIENT}", CLIENT),
        (f"garbage, {CLIENT}", CLIENT),
        # A chain of trusted ones.
        (f"9.9.9.9, {CLIENT}, 10.1.1.1, 127.0.0.1, fd00::2", CLIENT),
        (f"{CLIENT},10.1.1.1", CLIENT),
        (f" , {CLIENT} ,, 10.1.1.1 , ", CLIENT),
        ([CLIENT, "10.1.1.1"], CLIENT),
        (["9.9.9.9", f"{CLIENT}, 10.1.1.1"], CLIENT),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"{CLIENT}:1234, ::ffff:10.1.1.1", CLIENT),
        ('"[2001:db8::7]:99", 10.1.1.1', "2001:db8::7"),
        # One of the proxies' own machines asks.
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("127.0.0.1", "127.0.0.1"),
        # Nothing usable: the proxy itself.
        ("", "127.0.0.1"),
        (" , ", "127.0.0.1"),
        # A client that the proxy does not name.
        ("unknown", "None"),
        (f"{CLIENT}, unknown", "None"),
        (f"{CLIENT}, unknown, 10.1.1.1", "None"),
    ],
)
def test_the_client_is_the_last_untrusted_address(header, expected):
    assert client(X_Forwarded_For=header) == expected
    assert client("unix", X_Forwarded_For=header) == expected
    assert client("::ffff:127.0.0.1", X_Forwarded_For=header) == expected


def test_x_real_ip_counts_without_x_forwarded_for():
    assert client(X_Real_IP=CLIENT) == CLIENT
    assert client(X_Real_IP=CLIENT, X_Forwarded_For="") == CLIENT
    assert client(X_Real_IP="9.9.9.9", X_Forwarded_For=CLIENT) == CLIENT
    assert client(X_Real_IP="garbage") == "None"


ADDRESSES = st.ip_addresses().map(str)
ELEMENTS = st.lists(
    ADDRESSES | st.sampled_from(["10.0.0.1", "127.0.0.1", "fd00::1", "unknown", ""]) | st.text(), max_size=8
)


@given(invented=ELEMENTS, through=st.lists(st.sampled_from(["10.0.0.1", "10.9.9.9:80", "fd00::1", "127.0.0.1"])))
@example(invented=["127.0.0.1"], through=[])
def test_forged_elements_do_not_change_the_address(invented, through):
    text = ",".join(invented).replace("\r", "").replace("\n", "").replace("\0", "")
    header = ", ".join([text, CLIENT, *through])
    assert client(X_Forwarded_For=header) == CLIENT


@given(st.binary(max_size=200).map(lambda raw: raw.translate(None, b"\r\n\0")))
def test_any_header_gives_an_address_or_none(raw):
    settings = Settings(trusted_proxies=PROXIES)
    asked = FakeRequest()
    asked.requestHeaders.setRawHeaders(b"X-Forwarded-For", [raw])
    address = client_address(asked, settings)
    assert address is None or ip_address(str(address)) == address


def test_players_are_listed_by_address_or_as_unknown():
    settings = Settings()
    assert player_of(FakeRequest("::ffff:192.168.1.9"), settings).ip_address == "192.168.1.9"
    assert player_of(FakeRequest(X_Forwarded_For="::ffff:192.168.1.9"), settings).ip_address == "192.168.1.9"
    assert player_of(FakeRequest(X_Forwarded_For="<script>"), settings).ip_address == "unknown"


# base_url


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("a", "a", None),
        ("A.B:80", "a.b", 80),
        ("a.:1", "a", 1),
        ("a:", "a", None),
        ("[::1]:8", "::1", 8),
        ("1.2.3.4", "1.2.3.4", None),
    ],
)
def test_parse_authority(text, host, port):
    assert parse_authority(text) == Authority(host, port)


@pytest.mark.parametrize(
    "text", ["", "a b", "a:b", "a@b", "[a", "a]", "::1", "a/b", "a..b", ".a", "x" * 64, "a:123456"]
)
def test_invalid_authorities(text):
    assert parse_authority(text) is None


def base(frm="127.0.0.1", secure=False, settings=None, **headers):
    return base_url(FakeRequest(frm, secure, **headers), Settings(**(settings or {})))


def test_base_url_without_a_proxy():
    assert base(CLIENT, Host="tv:8085") == "http://tv:8085/m3u-proxy"
    assert base(CLIENT, secure=True, Host="tv") == "https://tv/m3u-proxy"
    assert base(CLIENT, Host="[::1]:8085", settings={"root_path": ""}) == "http://[::1]:8085"
    assert base(CLIENT) == "http://192.168.1.2:8085/m3u-proxy"
    assert base(CLIENT, Host="a b") == "http://192.168.1.2:8085/m3u-proxy"


FORWARDED = {
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": "tv.example",
    "X_Forwarded_Port": "8443",
    "X_Forwarded_Prefix": "/iptv/",
    "Host": "backend:8085",
}


def test_base_url_behind_a_proxy():
    assert base(**FORWARDED) == "https://tv.example:8443/iptv"
    assert base(CLIENT, **FORWARDED) == "http://backend:8085/m3u-proxy"
    assert base(**FORWARDED, settings={"public_url": "https://other.example/x/"}) == "https://other.example/x"


@pytest.mark.parametrize(
    ("change", "url"),
    [
        ({"X_Forwarded_Proto": "ftp"}, "http://tv.example:8443/iptv"),
        ({"X_Forwarded_Proto": "HTTPS, http"}, "https://tv.example:8443/iptv"),
        ({"X_Forwarded_Host": "tv.example:99"}, "https://tv.example:99/iptv"),
        ({"X_Forwarded_Host": "a.example, b.example"}, "https://a.example:8443/iptv"),
        ({"X_Forwarded_Host": "evil/path"}, "https://backend:8085/iptv"),
        ({"X_Forwarded_Port": "443"}, "https://tv.example/iptv"),
        # An inner proxy's, behind one that ends TLS.
        ({"X_Forwarded_Port": "80"}, "https://tv.example/iptv"),
        ({"X_Forwarded_Port": "x"}, "https://tv.example/iptv"),
        ({"X_Forwarded_Port": "0"}, "https://tv.example/iptv"),
        ({"X_Forwarded_Prefix": ""}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "/a/b"}, "https://tv.example:8443/a/b"),
        ({"X_Forwarded_Prefix": "/a, /b"}, "https://tv.example:8443/a"),
        ({"X_Forwarded_Prefix": "/"}, "https://tv.example:8443"),
        ({"X_Forwarded_Prefix": "/" + "a" * 199}, "https://tv.example:8443/" + "a" * 199),
        ({"X_Forwarded_Prefix": "/" + "a" * 200}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "a"}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "/a//b"}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "/a/../b"}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "/a/."}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "/a/..b"}, "https://tv.example:8443/a/..b"),
        ({"X_Forwarded_Prefix": '/a"b'}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "/a%00b"}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "//evil.example"}, "https://tv.example:8443/m3u-proxy"),
        ({"X_Forwarded_Prefix": "/a?b"}, "https://tv.example:8443/m3u-proxy"),
    ],
)
def test_base_url_ignores_unusable_headers(change, url):
    assert base(**{**FORWARDED, **change}) == url


@given(
    st.dictionaries(
        st.sampled_from(sorted(FORWARDED)), st.text().map(lambda text: "".join(text.split()).replace("\0", ""))
    )
)
def test_base_url_is_always_one_line(headers):
    url = base(**headers)
    assert url.startswith(("http://", "https://"))
    assert url.isascii()
    assert not set(url) & set(" \"'<>?#\\\r\n")


def test_paths_have_the_outer_prefix():
    def prefix(frm="127.0.0.1", told="/iptv", **chosen):
        return path_prefix(FakeRequest(frm, X_Forwarded_Prefix=told), Settings(**chosen))

    assert prefix() == "/iptv"
    assert prefix(CLIENT) == "/m3u-proxy"
    assert prefix(CLIENT, root_path="") == ""
    assert prefix(told="/a b") == "/m3u-proxy"
    assert prefix(public_url="https://tv.example/x/") == "/x"
    # Without a path, PUBLIC_URL says nothing about the prefix that a proxy strips.
    assert prefix(public_url="https://tv.example") == "/iptv"
    assert prefix(CLIENT, public_url="https://tv.example") == "/m3u-proxy"
