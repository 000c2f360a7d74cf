"""Player URLs that are signed and expire, for an operator who does not want them passed on.

A ticket is two query parameters, ``expires`` (Unix time) and ``signature``, over the stream's id alone. So prefixes
may be added to the path and other parameters to the query. It lets players in; it ends nobody who is in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from twisted.web.server import Request

from ..responses import HTTPError, query_value

#: Keeps this use of the state key apart from all others.
_LABEL = b"m3uproxy player url"
#: Hexadecimal digits: 128 bits.
_SIGNATURE_LENGTH = 32


class SignedUrls:
    """Signs player URLs, and checks them."""

    def __init__(self, key: bytes, lifetime: float, wall: Callable[[], float]) -> None:
        """
        Derive the key of the signatures.

        :param key: a secret that outlives a restart.
        :param lifetime: seconds for which a URL can be used.
        :param wall: the time of day, seconds since 1970: URLs outlive a restart, a monotonic clock does not.
        """
        self._key = hmac.digest(key, _LABEL, hashlib.sha256)
        self._lifetime = lifetime
        self._wall = wall

    def sign(self, path: str) -> str:
        """Add a ticket to a player path as the API answers it: ``/<kind>/<stream id>`` and perhaps more."""
        stream_id = path.split("/")[2]
        expires = str(int(self._wall() + self._lifetime))
        return f"{path}?expires={expires}&signature={self._signature(stream_id, expires)}"

    def check(self, request: Request, stream_id: str, may_be_expired: bool = False) -> None:
        """Let a player in whose URL has a ticket for this stream.

        :param may_be_expired: whether it was let in before, when the ticket was good.
        :raises HTTPError: 403.
        """
        expires, signature = query_value(request, b"expires") or "", query_value(request, b"signature") or ""
        if not hmac.compare_digest(signature.encode(), self._signature(stream_id, expires).encode()):
            raise HTTPError(403, "The signature of this URL is missing or wrong.")
        if self._wall() >= int(expires) and not may_be_expired:
            raise HTTPError(403, "This URL has expired.")

    def _signature(self, stream_id: str, expires: str) -> str:
        text = f"{stream_id} {expires}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:_SIGNATURE_LENGTH]
