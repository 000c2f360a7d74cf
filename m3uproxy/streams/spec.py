"""The registration of a stream by a controlling application."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

import attrs


@attrs.frozen
class StreamSpec:
    """
    A registration. If it is repeated, it is replaced as a whole.

    :ivar user_agent: User-Agent of all requests to the provider.
    :ivar headers: further headers of these requests.
    :ivar metadata: data of the application. It is kept and listed, but not interpreted.
    :ivar verify_tls: whether certificates are verified; None for the provider table or the setting ``VERIFY_TLS``.
    :ivar provider: name of the account whose connections are counted; see :mod:`m3uproxy.core.slots.accounts`.
    :ivar max_connections: the limit of that account.
    """

    url: str
    user_agent: str
    headers: tuple[tuple[str, str], ...] = ()
    failover_urls: tuple[str, ...] = ()
    failover_resolver_url: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    strict_live_ts: bool = False
    use_sticky_session: bool = False
    verify_tls: bool | None = None
    provider: str | None = None
    max_connections: int | None = None
    content_checks: bool = True

    @property
    def sources(self) -> tuple[str, ...]:
        """The URLs in the order in which they are tried; the first one is the primary."""
        return (self.url, *self.failover_urls)


def stream_id(spec: StreamSpec, key: bytes) -> str:
    """
    Return the id of a stream: 32 hex digits, the same for each registration of the same source.

    User agent and headers are part of the identity, because they may carry the credentials of an account.

    :param key: secret without which the id cannot be computed from a provider's URL.
    """
    headers = sorted((name.lower(), value) for name, value in spec.headers)
    identity = json.dumps([spec.url, spec.user_agent, headers])
    return hmac.new(key, identity.encode(), hashlib.sha256).hexdigest()[:32]
