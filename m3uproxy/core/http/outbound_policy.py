"""Which addresses we may connect to on behalf of others.

A proxy that fetches what it is told to fetch is a way into its own network. So every address is judged at the last
moment before it is connected to: the address itself, not the name, because a name may have another address the next
time it is looked up. There are three answers. What lies on the internet may be asked for. What never holds a stream
(link-local networks and the metadata services of clouds, which hand out credentials; multicast, reserved) is refused
whatever the settings say. Between them lie this machine and private networks: many a tuner stands there, so a URL
that was given to us may lead there, but not the redirect of a host outside.

An address has many notations. libc, which connects, takes ``0xa9.254.43518``, ``2852039166`` and ``0251.0376.1`` for
IPv4 addresses; IPv6 has half a dozen ways to hold an IPv4 address. They are read here as the URL Standard of the WHATWG
reads them (section 3.5, which is what ``inet_aton`` does), so that the notation never makes a difference.
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
    """What an address is for, from harmless to refused; the value is for people."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    RESERVED = "reserved"
    UNSPECIFIED = "unspecified"
    MULTICAST = "multicast"
    LINK_LOCAL = "link-local"
    METADATA = "cloud metadata"


_GRAVITY = {kind: gravity for gravity, kind in enumerate(AddressKind)}
_INSIDE = frozenset({AddressKind.PRIVATE, AddressKind.LOOPBACK})

_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")

#: RFC 6890 with what was registered since, and what clouds use; the first that holds an address counts.
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
        # What holds an IPv4 address is as public as that. Private is not the safer guess: it may lead inside.
        (AddressKind.PUBLIC, "::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 2001::/32 2002::/16"),
        (AddressKind.PRIVATE, "fc00::/7 fec0::/10 64:ff9b:1::/48 2001::/23 2001:db8::/32 3fff::/20"),
        (AddressKind.PUBLIC, "2000::/3"),
        (AddressKind.RESERVED, "::/0"),
    )
    for network in networks.split()
)
#: Where an IPv6 address holds an IPv4 address: how far from its right end, and whether inverted. Mapped and translated
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
    The address that a host is, in whatever notation; None if it is a name.

    :param host: ASCII, as in a URL; IPv6 with or without brackets, with or without a zone.
    :raises ValueError: for what looks like an address but is none. It is no name either: no top-level domain is a
        number.
    """
    if ":" in host or host.startswith("["):
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        return IPv6Address(bare.partition("%")[0])
    parts = host.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    return IPv4Address(_packed([_number(part) for part in parts]))


def _number(part: str) -> int:
    """One part of an IPv4 address: hexadecimal, octal or decimal, as in C."""
    if not _NUMBER.fullmatch(part) or len(part) > 64:
        raise ValueError("not a number")
    if part[:2] in {"0x", "0X"}:
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)


def _packed(numbers: list[int]) -> int:
    """Up to four numbers as one: the last fills all bytes that are left."""
    *bytes_, rest = numbers
    if len(numbers) > 4 or max(bytes_, default=0) > 255 or rest >= 256 ** (4 - len(bytes_)):
        raise ValueError("not an IPv4 address")
    return sum(byte << (24 - 8 * place) for place, byte in enumerate(bytes_)) + rest


@lru_cache(maxsize=4096)
def address_kind(address: str) -> AddressKind:
    """
    What an address is for.

    :raises ValueError: if it is no address.
    """
    parsed = parse_address(address)
    if parsed is None:
        raise ValueError("a name")
    if isinstance(parsed, IPv4Address):
        return _kind4(parsed)
    own = next(kind for network, kind in _NETWORKS6 if parsed in network)
    return max([own, *map(_kind4, _embedded(parsed))], key=_GRAVITY.__getitem__)


def _kind4(address: IPv4Address) -> AddressKind:
    return next(kind for network, kind in _NETWORKS4 if address in network)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    for network, shift, mask in _EMBEDDINGS:
        if address in network:
            yield IPv4Address((int(address) >> shift & 0xFFFFFFFF) ^ mask)


def _never(kind: AddressKind) -> str | None:
    """Why nothing of this kind is connected to, whatever the settings say."""
    if kind is AddressKind.PUBLIC or kind in _INSIDE:
        return None
    return f"{kind.value} addresses are never connected to"


def literal_refusal(host: str) -> str | None:
    """Why a host that is an IP address in any notation is never connected to; None if it may be, or is a name.

    :param host: as in a URL, IPv6 with or without brackets.
    """
    try:
        ascii_host = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
        if parse_address(ascii_host) is None:
            return None
        return _never(address_kind(ascii_host))
    except UnicodeError:
        return "the host name is none"
    except ValueError:
        return "it is no valid address"


@attrs.frozen
class OutboundPolicy:
    """What may be connected to.

    :ivar private: loopback and private networks: always, never, or (``api``) unless a public host led us there.
    :ivar address_kind: tells the kind of an address; for tests.
    """

    private: PrivateUpstreams = "api"
    address_kind: Callable[[str], AddressKind] = address_kind

    def is_public(self, address: str) -> bool:
        """Whether an address lies outside, so that nothing it says may lead us inside."""
        return self.address_kind(address) is AddressKind.PUBLIC

    def refusal(self, address: str, led_by_public: bool) -> str | None:
        """
        Why an address must not be connected to; None if it may be.

        :param address: a resolved address.
        :param led_by_public: whether a redirect (or a playlist) from a public host brought us here.
        """
        try:
            kind = self.address_kind(address)
        except ValueError:
            return "it is no valid address"
        if kind is AddressKind.PUBLIC:
            return None
        if kind not in _INSIDE:
            return _never(kind)
        if self.private == "never":
            return f"it is {kind.value}, and the setting PRIVATE_UPSTREAMS is never"
        if self.private == "api" and led_by_public:
            return f"a public host led to one that is {kind.value}; only PRIVATE_UPSTREAMS=always allows that"
        return None


#: As started.
DEFAULT_POLICY = OutboundPolicy()
