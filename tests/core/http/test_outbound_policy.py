"""The kind of every address in every notation, and the policy for it."""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from m3uproxy.core.http.outbound_policy import AddressKind, OutboundPolicy, address_kind, literal_refusal, parse_address
from m3uproxy.core.http.redirects import first_hop, next_hop
from m3uproxy.errors import Reason, SourceError

METADATA = int(IPv4Address("169.254.169.254"))


def ipv4_notation(value: int, parts: int, bases: str) -> str:
    """Return an IPv4 address as ``inet_aton`` accepts it: ``parts`` numbers, each in its base (d, x, X or o)."""
    numbers = [value >> (24 - 8 * place) & 0xFF for place in range(parts - 1)]
    numbers.append(value & 0xFFFFFFFF >> 8 * (parts - 1))
    written = {"d": "%d", "x": "0x%x", "X": "0X%08X", "o": "0%o"}
    return ".".join(written[base] % number for number, base in zip(numbers, bases, strict=False))


def ipv6_forms(value: int) -> list[str]:
    """Return all IPv6 addresses that hold an IPv4 address."""
    dotted, inverted = IPv4Address(value), value ^ 0xFFFFFFFF
    high, low = value >> 16, value & 0xFFFF
    return [
        f"::ffff:{dotted}",
        f"::ffff:{high:x}:{low:x}",
        f"0:0:0:0:0:FFFF:{high:04X}:{low:04x}",
        f"::ffff:0:{dotted}",
        f"::{dotted}",
        f"64:ff9b::{dotted}",
        f"64:ff9b:1::{dotted}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:{high:x}:{low:x}::1",
        f"2001:0:808:808::{inverted >> 16:x}:{inverted & 0xFFFF:x}",
    ]


HOLDS_IPV4 = [
    IPv6Network(text)
    for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
]
NOTATIONS4 = st.tuples(st.integers(1, 4), st.text("dxXo", min_size=4, max_size=4), st.sampled_from(["", "."]))
BRACKETS = st.sampled_from(["{}", "[{}]", "[{}%25eth0]", "{}%1"])


def libc_accepts(host: str) -> bool:
    try:
        parse_address(host)
    except ValueError:
        return False
    return True


class TestNotations:
    @pytest.mark.parametrize(
        ("host", "address"),
        [
            ("169.254.169.254", "169.254.169.254"),
            ("2852039166", "169.254.169.254"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("0XA9.0xFE.43518", "169.254.169.254"),
            ("0251.0376.0251.0376", "169.254.169.254"),
            ("025177524776", "169.254.169.254"),
            ("169.16689662", "169.254.169.254"),
            ("169.254.169.254.", "169.254.169.254"),
            ("127.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("0x", "0.0.0.0"),
            ("010.8.8.8", "8.8.8.8"),
            ("[::1]", "::1"),
            ("::FFFF:1.2.3.4", "::ffff:102:304"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]", "fe80::1"),
        ],
    )
    def test_notation_is_parsed(self, host: str, address: str) -> None:
        assert parse_address(host) == ip_address(address)

    @pytest.mark.parametrize(
        "host", ["localhost", "tv.example", "metadata.google.internal", "a1", "1a", "x.0xg", "_", ""]
    )
    def test_name_is_no_address(self, host: str) -> None:
        assert parse_address(host) is None
        assert literal_refusal(host) is None

    @pytest.mark.parametrize(
        "host",
        "256.1.1.1 1.2.3.256 4294967296 08.1 1.2.3.4.5 1.2.65536 1..2 tv.1 tv.0x1 0xg.1".split()
        + "[::1 ::1] [:::] 1:2 [1.2.3.4] ::1.2.3.256 a:80".split()
        + ["9" * 5000, "0x" + "f" * 5000],
    )
    def test_invalid_address_is_refused(self, host: str) -> None:
        assert not libc_accepts(host)
        assert literal_refusal(host) == "invalid IP address"

    @given(st.integers(0, 2**32 - 1), NOTATIONS4)
    def test_every_notation_of_ipv4_is_parsed(self, value: int, notation: tuple[int, str, str]) -> None:
        parts, bases, dot = notation
        assert parse_address(ipv4_notation(value, parts, bases) + dot) == IPv4Address(value)

    @given(st.lists(st.from_regex(r"0[xX][0-9A-Fa-f]{1,9}|[0-9]{1,11}", fullmatch=True), min_size=1, max_size=5))
    @example(["0x7f", "1"])
    def test_libc_agrees(self, parts: list[str]) -> None:
        host = ".".join(parts)
        try:
            expected = IPv4Address(socket.inet_aton(host))
        except OSError:
            assert not libc_accepts(host)
        else:
            assert parse_address(host) == expected

    @given(st.integers(0, 2**128 - 1), BRACKETS)
    def test_ipv6(self, value: int, brackets: str) -> None:
        address = IPv6Address(value)
        for text in (address.compressed, address.exploded.upper()):
            assert parse_address(brackets.format(text)) == address


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "addresses"),
        [
            (
                AddressKind.PUBLIC,
                "8.8.8.8 1.1.1.1 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 11.0.0.0 223.255.255.255",
            ),
            (AddressKind.PUBLIC, "2a00:1450::1 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1"),
            (AddressKind.PUBLIC, "2001:0:808:808:0:0:f7f7:f7f7"),
            (AddressKind.LOOPBACK, "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1"),
            (
                AddressKind.PRIVATE,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 198.18.0.1",
            ),
            (
                AddressKind.PRIVATE,
                "198.19.255.255 192.0.2.1 203.0.113.1 fc00::1 fdff::1 2001:db8::1 fec0::1 ::ffff:10.0.0.1",
            ),
            (AddressKind.PRIVATE, "2002:a00:1::1 64:ff9b:1::8.8.8.8 2001:0:808:808:0:0:f5ff:fffe 2001:2::1"),
            (AddressKind.LINK_LOCAL, "169.254.0.1 169.254.255.255 fe80::1 febf::1 2002:a9fe:1::1 ::ffff:169.254.1.1"),
            (
                AddressKind.METADATA,
                "169.254.169.254 100.100.100.200 fd00:ec2::254 fd20:ce::254 168.63.129.16 192.0.0.192",
            ),
            (AddressKind.UNSPECIFIED, "0.0.0.0 0.255.255.255 :: ::ffff:0.0.0.0 64:ff9b::"),
            (AddressKind.MULTICAST, "224.0.0.1 239.255.255.255 ff02::1 ::ffff:224.0.0.1"),
            (AddressKind.RESERVED, "240.0.0.1 255.255.255.255 ::2 ::169.254.169.254 100::1 4000::1 fe00::1"),
        ],
    )
    def test_table(self, kind: AddressKind, addresses: str) -> None:
        for address in addresses.split():
            assert address_kind(address) is kind, address

    @given(st.integers(0, 2**32 - 1).map(IPv4Address))
    @example(IPv4Address("255.255.255.255"))
    def test_standard_library_agrees_on_ipv4(self, address: IPv4Address) -> None:
        self.compare(address)

    @given(st.one_of(st.integers(0, 2**128 - 1), st.integers(0x2000 << 112, (0x4000 << 112) - 1)).map(IPv6Address))
    @example(IPv6Address("::1"))
    @example(IPv6Address("2001:10::1"))
    @example(IPv6Address("2001:1ff::1"))
    def test_standard_library_agrees_on_ipv6(self, address: IPv6Address) -> None:
        assume(not any(address in network for network in HOLDS_IPV4))
        self.compare(address)

    def compare(self, address: "IPv4Address | IPv6Address") -> None:
        """Compare with ``ipaddress``, which knows fewer kinds. The policy may be stricter."""
        kind = address_kind(str(address))
        assert address.is_loopback is (kind is AddressKind.LOOPBACK)
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            assert literal_refusal(str(address)) or address.is_loopback
        assert address.is_global or kind is not AddressKind.PUBLIC

    @given(st.integers(0, 2**32 - 1) | st.sampled_from([0x7F000001, 0x0A000001, 0x08080808, METADATA]))
    def test_embedded_ipv4_address_decides(self, value: int) -> None:
        kind, address = address_kind(str(IPv4Address(value))), IPv4Address(value)
        for text in (
            f"::ffff:{address}",
            f"64:ff9b::{address}",
            f"::ffff:0:{address}",
            f"2002:{value >> 16:x}:{value & 0xFFFF:x}::1",
        ):
            assert address_kind(text) is kind


class TestRefused:
    @given(st.sampled_from([0, METADATA, 0xE0000001, 0xFFFFFFFF, 0xF0000000]) | st.integers(0xA9FE0000, 0xA9FEFFFF))
    def test_metadata_address_in_ipv6_is_refused(self, value: int) -> None:
        for text in ipv6_forms(value):
            for host in (text, text.upper(), f"[{text}]", f"[{text}%25eth0]"):
                assert literal_refusal(host), host
                assert OutboundPolicy("always").refusal(host, False), host

    @given(
        st.sampled_from([0, METADATA, 0x6464_64C8, 0xE0000001, 0xFFFFFFFF]) | st.integers(0xA9FE0000, 0xA9FEFFFF),
        NOTATIONS4,
    )
    def test_refused_in_every_ipv4_notation(self, value: int, notation: tuple[int, str, str]) -> None:
        parts, bases, dot = notation
        assert literal_refusal(ipv4_notation(value, parts, bases) + dot)

    @given(st.integers(0, 2**32 - 1), NOTATIONS4)
    def test_notation_makes_no_difference(self, value: int, notation: tuple[int, str, str]) -> None:
        parts, bases, _ = notation
        assert literal_refusal(ipv4_notation(value, parts, bases)) == literal_refusal(str(IPv4Address(value)))

    def test_unicode_digits_and_dots_are_mapped(self) -> None:
        for host in (
            "\uff11\uff16\uff19.254.169.254",
            "169\u3002254\uff0e169.254",
            "\u2461852039166",
            "169.254.169.25\u00ad4",
        ):
            assert literal_refusal(host) == literal_refusal("169.254.169.254"), host

    def test_allowed_hosts(self) -> None:
        for host in ("8.8.8.8", "127.0.0.1", "10.0.0.1", "[::1]", "tv.example", "m\u00fcnchen.example", "my_host"):
            assert literal_refusal(host) is None, host

    @given(st.text())
    def test_any_text_is_accepted(self, host: str) -> None:
        for text in (host, f"[{host}]", f"0x{host}", f"1.{host}"):
            literal_refusal(text)


class TestPolicy:
    @pytest.mark.parametrize(
        ("private", "kind", "led", "allowed"),
        [
            (
                private,
                kind,
                led,
                kind == "public" or (kind == "inside" and private != "never" and not (private == "api" and led)),
            )
            for private in ("api", "always", "never")
            for kind in ("public", "inside", "never")
            for led in (False, True)
        ],
    )
    def test_table(self, private: str, kind: str, led: bool, allowed: bool) -> None:
        examples = {
            "public": ["8.8.8.8", "2a00::1", "::ffff:8.8.8.8"],
            "inside": ["127.0.0.1", "10.0.0.1", "::1", "fc00::1", "100.64.0.1", "198.18.0.1", "::ffff:127.0.0.1"],
            "never": ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255"],
        }
        for address in examples[kind]:
            refusal = OutboundPolicy(private).refusal(address, led)
            assert (refusal is None) is allowed, (address, refusal)
            if refusal and kind == "inside":
                assert "PRIVATE_UPSTREAMS" in refusal

    def test_invalid_address_is_refused(self) -> None:
        for text in ("", "tv.example", "1.2.3.4.5", "[::"):
            assert OutboundPolicy("always").refusal(text, False)


class TestHosts:
    """The host of a URL: an address in canonical form, a name, or invalid."""

    @pytest.mark.parametrize(
        ("host", "plain"),
        [
            ("0x7f.1", "127.0.0.1"),
            ("2852039166", "169.254.169.254"),
            ("010.1", "8.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("\uff11\uff12\uff17.1", "127.0.0.1"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("tv.example.", "tv.example."),
        ],
    )
    def test_host_is_normalised(self, host: str, plain: str) -> None:
        entry = first_hop(f"http://{host}:81/x", "VLC", ())
        assert entry.location.url == f"http://{plain}:81/x"
        assert next_hop(first_hop("http://a/", "VLC", ()), f"//{host}:81/x".encode()).location == entry.location

    @pytest.mark.parametrize(
        "host",
        [
            "256.1.1.1",
            "08.1",
            "1.2.3.4.5",
            "tv.1",
            "[:::]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "%31.1",
            "1\\@a",
            "4294967296",
        ],
    )
    def test_invalid_host_is_refused(self, host: str) -> None:
        for url in (f"http://{host}/s3cret", f"http://u:s3cret@{host}:81"):
            with pytest.raises(SourceError) as caught:
                first_hop(url, "VLC", ())
            assert caught.value.reason is Reason.UNREACHABLE
            assert "s3cret" not in str(caught.value)
            with pytest.raises(SourceError):
                next_hop(first_hop("http://a/", "VLC", ()), url.encode())

    @given(st.integers(0, 2**32 - 1), NOTATIONS4)
    def test_notation_makes_no_difference(self, value: int, notation: tuple[int, str, str]) -> None:
        parts, bases, dot = notation
        host = first_hop(f"http://{ipv4_notation(value, parts, bases)}{dot}/", "VLC", ()).location.host
        assert host == str(IPv4Address(value))
