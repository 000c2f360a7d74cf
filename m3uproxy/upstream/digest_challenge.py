"""Digest challenges in responses of providers; see :mod:`m3uproxy.core.http.digest`."""

from __future__ import annotations

import secrets
from typing import Any

from ..core.http.digest import DigestExchange, DigestSessions
from ..core.http.redirects import RequestHop


def new_digest_sessions() -> DigestSessions:
    """Return sessions with random client nonces."""
    return DigestSessions(lambda: secrets.token_hex(8))


def is_challenge(response: Any, exchange: DigestExchange, hop: RequestHop) -> bool:
    """Return whether a response is a challenge that the next request to the same URL answers."""
    if response.code != 401:
        return False
    values = response.headers.getRawHeaders(b"WWW-Authenticate", [])
    return exchange.accepts(hop, [value.decode("utf-8", "replace") for value in values])
