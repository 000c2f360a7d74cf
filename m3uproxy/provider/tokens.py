"""Tokens in the targets of redirects, which are good once or for a while: a client must begin at the entry again."""

from __future__ import annotations

import secrets
from collections import OrderedDict

#: Name of the token in a query.
TOKEN = "token"
#: Tokens that are remembered; older ones are forgotten, and refused then.
KEPT = 10_000


class Tokens:
    """What was given out, and whether it is still good."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, float] = OrderedDict()

    def issue(self, now: float) -> str:
        """A new token, good from now on."""
        token = secrets.token_hex(8)
        self._issued[token] = now
        if len(self._issued) > KEPT:
            self._issued.popitem(last=False)
        return token

    def accept(self, token: str, now: float, lifetime: float | None) -> bool:
        """Whether it is good.

        :param lifetime: seconds from its issue on; None: one use, and this is it.
        """
        issued = self._issued.get(token)
        if issued is None:
            return False
        if lifetime is None:
            del self._issued[token]
            return True
        return now - issued < lifetime
