"""Tokens in the targets of redirects, valid once or for a time. A client must then request the first URL again."""

from __future__ import annotations

import secrets
from collections import OrderedDict

#: Name of the token in a query.
TOKEN = "token"
#: Most tokens kept. Older ones are removed and no longer valid.
KEPT = 10_000


class Tokens:
    """Issued tokens."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, float] = OrderedDict()

    def issue(self, now: float) -> str:
        """Return a new token, valid from ``now`` on."""
        token = secrets.token_hex(8)
        self._issued[token] = now
        if len(self._issued) > KEPT:
            self._issued.popitem(last=False)
        return token

    def accept(self, token: str, now: float, lifetime: float | None) -> bool:
        """Return whether a token is valid.

        :param lifetime: seconds from its issue; None: valid once, and used by this call.
        """
        issued = self._issued.get(token)
        if issued is None:
            return False
        if lifetime is None:
            del self._issued[token]
            return True
        return now - issued < lifetime
