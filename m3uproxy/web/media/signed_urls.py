"""Signed player URLs that expire, to prevent sharing of URLs.

A signed URL has two query parameters, ``expires`` (Unix time) and ``signature``. The signature covers the stream's id
and ``expires`` only. So prefixes may be added to the path and other parameters to the query. The signature is checked
when a player starts; a response under way continues after the URL has expired.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from twisted.web.server import Request

from ..responses import HTTPError, query_value

#: Separates this use of the state key from all others.
_LABEL = b"m3uproxy player url"
#: Hexadecimal digits of a signature: 128 bits.
_SIGNATURE_LENGTH = 32


class SignedUrls:
    """The signer and checker of player URLs."""

    def __init__(self, key: bytes, lifetime: float, wall: Callable[[], float]) -> None:
        """
        Derive the key of the signatures.

        :param key: a secret that is kept over a restart.
        :param lifetime: seconds until a URL expires.
        :param wall: returns seconds since 1970. URLs stay valid over a restart, which resets a monotonic clock.
        """
        self._key = hmac.digest(key, _LABEL, hashlib.sha256)
        self._lifetime = lifetime
        self._wall = wall

    def sign(self, path: str) -> str:
        """Return a player path of the API (``/<kind>/<stream id>[/…]``) with expiry and signature."""
        stream_id = path.split("/")[2]
        expires = str(int(self._wall() + self._lifetime))
        return f"{path}?expires={expires}&signature={self._signature(stream_id, expires)}"

    def check(self, request: Request, stream_id: str, may_be_expired: bool = False) -> None:
        """Check the signature of a player's request.

        :param may_be_expired: accept an expired URL, because the player has started with it before.
        :raises HTTPError: 403 if the signature is missing or wrong, or the URL has expired.
        """
        expires, signature = query_value(request, b"expires") or "", query_value(request, b"signature") or ""
        if not hmac.compare_digest(signature.encode(), self._signature(stream_id, expires).encode()):
            raise HTTPError(403, "The signature of this URL is missing or wrong.")
        if self._wall() >= int(expires) and not may_be_expired:
            raise HTTPError(403, "This URL has expired.")

    def _signature(self, stream_id: str, expires: str) -> str:
        text = f"{stream_id} {expires}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:_SIGNATURE_LENGTH]
