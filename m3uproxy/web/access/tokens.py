"""The token of the management API: its place in a request, its check, and the rate limit of wrong tokens."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from ipaddress import IPv6Address

import attrs
from pydantic import SecretStr
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ..responses import query_value
from .client_address import Address

#: Maximum number of addresses with a counter. The address whose last failure is the oldest is removed first.
MAX_REMEMBERED = 4096
#: Bits of an IPv6 address that identify a customer of an internet provider. The customer can vary the other bits.
_CUSTOMER_BITS = 64


def token_in_header(request: Request) -> bytes | None:
    """Return ``X-API-Token``; None if missing or empty."""
    return request.getHeader(b"X-API-Token") or None


def offered_token(request: Request) -> bytes | None:
    """Return the token of a request: of the header, otherwise the last one of the query; None without one."""
    in_query = query_value(request, b"api_token")
    return token_in_header(request) or (in_query.encode() if in_query else None)


def is_right(offered: bytes, token: SecretStr) -> bool:
    """Return whether a token is right, in constant time. Digests of equal length also hide the length of the token."""
    digests = (hashlib.sha256(text).digest() for text in (offered, token.get_secret_value().encode()))
    return hmac.compare_digest(*digests)


@attrs.define
class _Bucket:
    """A leaky bucket: its level at the time ``since`` (seconds)."""

    level: float
    since: float


class FailedTokens:
    """The rate limit of wrong tokens, with a leaky bucket for each address: a burst, then a number per second."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._buckets: OrderedDict[object, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def count(self, address: Address | None, rate: int) -> bool:
        """Count a wrong token.

        :param address: the client's; IPv6 addresses of one customer count as one.
        :param rate: wrong tokens per second that are answered as such.
        :return: False if the limit is exceeded.
        """
        now = self._clock.seconds()
        customer = int(address) >> _CUSTOMER_BITS if isinstance(address, IPv6Address) else address
        bucket = self._buckets.pop(customer, None) or _Bucket(0.0, now)
        level = max(0.0, bucket.level - (now - bucket.since) * rate)
        within = level + 1 <= rate
        self._buckets[customer] = _Bucket(level + 1 if within else level, now)
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return within
