"""The address of a client, also behind reverse proxies.

Any client can send ``X-Forwarded-For``. So the header counts only if a proxy named by the operator has sent it
(``TRUSTED_PROXIES``). Each proxy appends the address that has connected to it. So the list is read from its right end:
the last address is true if the peer is trusted, the one before it if the last address is trusted as well, and so on.
The first address that is not a trusted proxy is the client. The addresses left of it are written by the client. (Many
servers use the first element, which is exactly that.)
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

#: Networks outside the public internet. ``ipaddress.is_private`` also contains documentation networks, among others.
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
    """Return networks from their text; an address is a network of its own.

    :raises ValueError: if a text is neither.
    """
    return tuple(ip_network(name, strict=False) for name in names)


@lru_cache(maxsize=1024)
def parse_address(text: str) -> Address | None:
    """Return the address in a header element, which may have quotes, brackets and a port. None if it is invalid.

    An IPv4-mapped IPv6 address (``::ffff:192.0.2.1``, RFC 4291 section 2.5.5.2) is an IPv4 address. ``unix:``, as nginx
    writes for a client on a UNIX socket, is this machine.
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
    """Return whether an address is in one of the networks."""
    return any(address in network for network in where)


def is_private(address: Address) -> bool:
    """Return whether an address is of this machine, of a private network, or of the local link."""
    return within(address, networks(_PRIVATE))


def peer_address(request: Request) -> Address | None:
    """Return the address of the connection's peer; the peer of a UNIX socket is this machine."""
    address = request.getClientAddress()
    if isinstance(address, UNIXAddress):
        return _THIS_MACHINE
    return parse_address(getattr(address, "host", None) or "")


def comes_from_proxy(request: Request, settings: Settings) -> bool:
    """Return whether a trusted proxy has sent this request, so that its ``X-Forwarded-*`` headers count."""
    peer = peer_address(request)
    return peer is not None and within(peer, networks(settings.trusted_proxies))


def forwarded(request: Request, name: bytes) -> list[str]:
    """Return the elements of a list header: of all its lines in order, without empty elements."""
    lines = request.requestHeaders.getRawHeaders(name, [])
    elements = b",".join(lines).decode("latin-1").split(",")
    return [element.strip() for element in elements if element.strip()]


def client_address(request: Request, settings: Settings) -> Address | None:
    """Return the address of the client.

    :return: None if the address is unknown, as when a proxy forwards a request with an invalid element: the client is
        not the proxy, and elements left of the invalid one are not trusted.
    """
    address = peer_address(request)
    if not comes_from_proxy(request, settings):
        return address
    addresses = forwarded(request, b"X-Forwarded-For") or forwarded(request, b"X-Real-IP")[-1:]
    trusted = networks(settings.trusted_proxies)
    for element in reversed(addresses):
        address = parse_address(element)
        if address is None or not within(address, trusted):
            break
    return address
