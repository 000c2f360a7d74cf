"""What a controlling application asked for when it registered a stream."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

import attrs


@attrs.frozen
class StreamSpec:
    """A stream as registered; replaced as a whole when the registration is repeated.

    ``headers`` and ``user_agent`` go to the provider with every request. ``metadata`` belongs to the
    application: we keep it, list it and never look into it. ``provider`` and ``max_connections`` say what its
    connections are counted by; see :mod:`m3uproxy.core.slots.accounts`.
    """

    url: str
    user_agent: str
    headers: tuple[tuple[str, str], ...] = ()
    failover_urls: tuple[str, ...] = ()
    failover_resolver_url: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    strict_live_ts: bool = False
    use_sticky_session: bool = False
    verify_tls: bool = True
    provider: str | None = None
    max_connections: int | None = None
    content_checks: bool = True

    @property
    def sources(self) -> tuple[str, ...]:
        """The URLs in the order in which they are tried; index 0 is the primary."""
        return (self.url, *self.failover_urls)


def stream_id(spec: StreamSpec, key: bytes) -> str:
    """A stable name for a stream, that nobody without the key can guess from a provider's URL (32 hex digits).

    User agent and headers belong to the identity: another account's credentials may travel in them.
    """
    headers = sorted((name.lower(), value) for name, value in spec.headers)
    identity = json.dumps([spec.url, spec.user_agent, headers])
    return hmac.new(key, identity.encode(), hashlib.sha256).hexdigest()[:32]
