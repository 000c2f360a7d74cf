"""Outbound policy: the addresses that the proxy may connect to.

A proxy that fetches any URL is a way into its own network. So each address is judged at the last moment before the
connection: the address, not the name, because a name may have another address the next time it is looked up. There are
three classes:

- Public addresses are allowed.
- Addresses that never hold a stream are refused, whatever the settings are: link-local networks, the metadata services
  of clouds (which hand out credentials), multicast, reserved networks.
- This machine and private networks may hold a tuner. A registered URL may lead there, but a redirect of a public host
  may not.

An address has many notations. libc, which connects, accepts ``0xa9.254.43518``, ``2852039166`` and ``0251.0376.1`` as
IPv4 addresses; IPv6 has several ways to hold an IPv4 address. They are parsed as in the URL Standard of the WHATWG
(section 3.5, the rules of ``inet_aton``), so that the notation makes no difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

import attrs
import idna

#: Values of the setting ``PRIVATE_UPSTREAMS``.
PrivateUpstreams = Literal["api", "always", "never"]


class AddressKind(Enum):
    """The purpose of an address, from harmless to refused. The value is for people."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    RESERVED = "reserved"
    UNSPECIFIED = "unspecified"
    MULTICAST = "multicast"
    LINK_LOCAL = "link-local"
    METADATA = "cloud metadata"


_RISK = {kind: risk for risk, kind in enumerate(AddressKind)}
_INSIDE = frozenset({AddressKind.PRIVATE, AddressKind.LOOPBACK})

_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")

#: RFC 6890, later registrations and the networks of clouds. The first network that contains an address counts.
_NETWORKS4 = tuple(
    (IPv4Network(network), kind)
    for kind, networks in (
        # AWS, Azure, Google and most others; Alibaba; Azure's host; Oracle.
        (AddressKind.METADATA, "169.254.169.254 100.100.100.200 168.63.129.16 192.0.0.192"),
        (AddressKind.LINK_LOCAL, "169.254.0.0/16"),
        (AddressKind.UNSPECIFIED, "0.0.0.0/8"),
        (AddressKind.LOOPBACK, "127.0.0.0/8"),
        (AddressKind.MULTICAST, "224.0.0.0/4"),
        (AddressKind.RESERVED, "240.0.0.0/4"),
        (AddressKind.PRIVATE, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 198.18.0.0/15 192.0.0.0/24"),
        (AddressKind.PRIVATE, "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24"),
        (AddressKind.PUBLIC, "0.0.0.0/0"),
    )
    for network in networks.split()
)
_NETWORKS6 = tuple(
    (IPv6Network(network), kind)
    for kind, networks in (
        # AWS, Google, Scaleway, Oracle.
        (AddressKind.METADATA, "fd00:ec2::254 fd20:ce::254 fd00:42::42 fd00:c1::a9fe:a9fe"),
        (AddressKind.LINK_LOCAL, "fe80::/10"),
        (AddressKind.UNSPECIFIED, "::"),
        (AddressKind.LOOPBACK, "::1"),
        (AddressKind.MULTICAST, "ff00::/8"),
        # An address that holds an IPv4 address is as public as that one. PRIVATE is no safer: it may be allowed.
        (AddressKind.PUBLIC, "::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 2001::/32 2002::/16"),
        (AddressKind.PRIVATE, "fc00::/7 fec0::/10 64:ff9b:1::/48 2001::/23 2001:db8::/32 3fff::/20"),
        (AddressKind.PUBLIC, "2000::/3"),
        (AddressKind.RESERVED, "::/0"),
    )
    for network in networks.split()
)
#: IPv4 addresses in IPv6 addresses: bits from the right end, and a mask for inverted ones. Mapped and translated
#: (RFC 4291 section 2.5.5.2, RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo's server and client
#: (RFC 4380 section 4). All IPv4-compatible addresses (``::/96``) are reserved.
_EMBEDDINGS = tuple(
    (IPv6Network(network), shift, mask)
    for network, shift, mask in (
        ("::ffff:0:0/96", 0, 0),
        ("::ffff:0:0:0/96", 0, 0),
        ("64:ff9b::/96", 0, 0),
        ("64:ff9b:1::/48", 0, 0),
        ("2002::/16", 80, 0),
        ("2001::/32", 64, 0),
        ("2001::/32", 0, 0xFFFFFFFF),
    )
)


@lru_cache(maxsize=4096)
def parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """
    Return the address that a host stands for, in any notation; None for a host name.

    :param host: ASCII host of a URL; IPv6 with or without brackets, with or without a zone.
    :raises ValueError: if the host looks like an address and is invalid. It cannot be a name, because no top-level
        domain is a number.
    """
    if ":" in host or host.startswith("["):
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        return IPv6Address(bare.partition("%")[0])
    parts = host.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    return IPv4Address(_packed([_number(part) for part in parts]))


def _number(part: str) -> int:
    """Return the value of one part of an IPv4 address: hexadecimal, octal or decimal, as in C."""
    if not _NUMBER.fullmatch(part) or len(part) > 64:
        raise ValueError("not a number")
    if part[:2] in {"0x", "0X"}:
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)


def _packed(numbers: list[int]) -> int:
    """Combine up to four numbers to an address: the last one fills all remaining bytes."""
    *bytes_, rest = numbers
    if len(numbers) > 4 or max(bytes_, default=0) > 255 or rest >= 256 ** (4 - len(bytes_)):
        raise ValueError("not an IPv4 address")
    return sum(byte << (24 - 8 * place) for place, byte in enumerate(bytes_)) + rest


@lru_cache(maxsize=4096)
def address_kind(address: str) -> AddressKind:
    """
    Return the kind of an address.

    :raises ValueError: if the text is not an address.
    """
    parsed = parse_address(address)
    if parsed is None:
        raise ValueError("a name")
    if isinstance(parsed, IPv4Address):
        return _kind4(parsed)
    own = next(kind for network, kind in _NETWORKS6 if parsed in network)
    return max([own, *map(_kind4, _embedded(parsed))], key=_RISK.__getitem__)


def _kind4(address: IPv4Address) -> AddressKind:
    return next(kind for network, kind in _NETWORKS4 if address in network)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    for network, shift, mask in _EMBEDDINGS:
        if address in network:
            yield IPv4Address((int(address) >> shift & 0xFFFFFFFF) ^ mask)


def _always_refused(kind: AddressKind) -> str | None:
    """Return the reason why a kind of address is refused whatever the settings are; None if it may be allowed."""
    if kind is AddressKind.PUBLIC or kind in _INSIDE:
        return None
    return f"{kind.value} addresses are never connected to"


def literal_refusal(host: str) -> str | None:
    """
    Return the reason why a host that is an IP address is always refused.

    :param host: host of a URL; IPv6 with or without brackets.
    :return: None for a host name, and for an address that may be allowed.
    """
    try:
        ascii_host = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
        if parse_address(ascii_host) is None:
            return None
        return _always_refused(address_kind(ascii_host))
    except UnicodeError:
        return "invalid host name"
    except ValueError:
        return "invalid IP address"


@attrs.frozen
class OutboundPolicy:
    """
    The rule for addresses.

    :ivar private: rule for loopback and private networks: always, never, or (``api``) unless a public host led there.
    :ivar address_kind: returns the kind of an address; for tests.
    """

    private: PrivateUpstreams = "api"
    address_kind: Callable[[str], AddressKind] = address_kind

    def is_public(self, address: str) -> bool:
        """Return whether an address is public, so that its redirects and playlists must not lead to private ones."""
        return self.address_kind(address) is AddressKind.PUBLIC

    def refusal(self, address: str, led_by_public: bool) -> str | None:
        """
        Return the reason why an address is refused; None if it is allowed.

        :param address: a resolved address.
        :param led_by_public: whether a redirect or a playlist of a public host led to the address.
        """
        try:
            kind = self.address_kind(address)
        except ValueError:
            return "invalid IP address"
        if kind is AddressKind.PUBLIC:
            return None
        if kind not in _INSIDE:
            return _always_refused(kind)
        if self.private == "never":
            return f"{kind.value} addresses are not allowed (PRIVATE_UPSTREAMS=never)"
        if self.private == "api" and led_by_public:
            return f"a public host led to a {kind.value} address; only PRIVATE_UPSTREAMS=always allows that"
        return None


#: The default.
DEFAULT_POLICY = OutboundPolicy()
