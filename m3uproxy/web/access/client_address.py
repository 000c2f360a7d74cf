"""Who asks: the address of a client, also from behind reverse proxies.

Anybody who connects can send ``X-Forwarded-For``, so it counts only if it came from a proxy that the operator
named (``TRUSTED_PROXIES``). Each proxy on the way appends the address that connected to it. So the list is read
from its right end: what our own peer appended is true if we trust our peer, what stands left of it is true if that
one is trusted as well, and so on. The first address that is no trusted proxy is the client; what stands left of it
is the client's own invention. (The first element, which many servers take, is exactly that.)
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from twisted.internet.address import UNIXAddress
from twisted.web.server import Request

from ...settings import Settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_THIS_MACHINE = IPv4Address("127.0.0.1")

#: Where addresses are not of the public internet. Not ``is_private``, which has documentation networks among others.
_PRIVATE = (
    "127.0.0.0/8",  # RFC 1122
    "10.0.0.0/8",  # RFC 1918
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",  # RFC 3927
    "100.64.0.0/10",  # RFC 6598, also the addresses of Tailscale
    "::1",
    "fc00::/7",  # RFC 4193
    "fe80::/10",
)


@lru_cache(maxsize=64)
def networks(names: tuple[str, ...]) -> tuple[Network, ...]:
    """Networks and addresses as people write them.

    :raises ValueError: if one is neither.
    """
    return tuple(ip_network(name, strict=False) for name in names)


def parse_address(text: str) -> Address | None:
    """An address as it stands in a header, perhaps quoted, in brackets, with a port. None if it is no address.

    An IPv4 address in IPv6 clothes (``::ffff:192.0.2.1``, RFC 4291 section 2.5.5.2) is an IPv4 address. What nginx
    writes for a client on a UNIX socket is this machine.
    """
    text = text.strip().strip('"')
    if text == "unix:":
        return _THIS_MACHINE
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def within(address: Address, where: Iterable[Network]) -> bool:
    """Whether an address lies in one of these networks."""
    return any(address in network for network in where)


def is_private(address: Address) -> bool:
    """Whether an address is of this machine, of a private network, or of the local link."""
    return within(address, networks(_PRIVATE))


def peer_address(request: Request) -> Address | None:
    """Who is at the other end of the connection; a UNIX socket's other end is this machine."""
    address = request.getClientAddress()
    if isinstance(address, UNIXAddress):
        return _THIS_MACHINE
    return parse_address(getattr(address, "host", None) or "")


def comes_from_proxy(request: Request, settings: Settings) -> bool:
    """Whether a trusted proxy sent this request, so that its ``X-Forwarded-*`` headers count."""
    peer = peer_address(request)
    return peer is not None and within(peer, networks(settings.trusted_proxies))


def forwarded(request: Request, name: bytes) -> list[str]:
    """The elements of a header that lists things: all its lines in order, empty elements left out."""
    lines = request.requestHeaders.getRawHeaders(name, [])
    elements = b",".join(lines).decode("latin-1").split(",")
    return [element.strip() for element in elements if element.strip()]


def client_address(request: Request, settings: Settings) -> Address | None:
    """Who asks.

    :return: None if that is not known. So it is when a proxy forwards for somebody it does not name: such a client
        is not the proxy, and what stands left of the gap is not believed.
    """
    address = peer_address(request)
    if not comes_from_proxy(request, settings):
        return address
    hops = forwarded(request, b"X-Forwarded-For") or forwarded(request, b"X-Real-IP")[-1:]
    trusted = networks(settings.trusted_proxies)
    for hop in reversed(hops):
        address = parse_address(hop)
        if address is None or not within(address, trusted):
            break
    return address
