"""The token of the management API: where it stands in a request, and what a wrong one costs."""

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

#: Addresses whose failures are remembered; beyond, the one that failed longest ago is forgotten.
MAX_REMEMBERED = 4096
#: Bits of an IPv6 address that one customer of a provider has in common: the rest is theirs to vary.
_CUSTOMER_BITS = 64


def token_in_header(request: Request) -> bytes | None:
    """``X-API-Token``, None if missing or empty."""
    return request.getHeader(b"X-API-Token") or None


def offered_token(request: Request) -> bytes | None:
    """The token that a request brings. The header counts alone if it is there; in the query the last one counts."""
    in_query = query_value(request, b"api_token")
    return token_in_header(request) or (in_query.encode() if in_query else None)


def is_right(offered: bytes, token: SecretStr) -> bool:
    """Compare in a time that tells nothing, not even how long the token is: digests are all of one length."""
    digests = (hashlib.sha256(text).digest() for text in (offered, token.get_secret_value().encode()))
    return hmac.compare_digest(*digests)


@attrs.define
class _Bucket:
    level: float
    since: float


class FailedTokens:
    """Counts wrong tokens by address, in buckets that leak: so many at once, then so many per second."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._buckets: OrderedDict[object, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def count(self, address: Address | None, rate: int) -> bool:
        """Note a wrong token.

        :param address: who sent it; IPv6 addresses of one customer count as one.
        :param rate: how many per second are still answered as such.
        :return: False if that was one too many.
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
