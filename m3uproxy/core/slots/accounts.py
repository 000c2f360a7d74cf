"""Provider accounts: the account that a URL belongs to, and the connections that the account allows.

An account is configured as a ``[[provider]]`` entry of the settings file, or named in the registration of a stream. The
connections of any other URL are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from ..stream_kind import StreamKind, kind_of

_PORTS = {"http": 80, "https": 443}
#: The path of an Xtream panel: USER, PASSWORD, and the number of a channel or film. A kind may come first, and more may
#: come between for catch-up.
_XTREAM_PATH = re.compile(
    r"(?:/(?:live|movie|series|timeshift|hls))?/([^/]+)/([^/]+)(?:/\d+/[\d:_-]+)?/\d+(?:\.\w+)?", re.ASCII
)


@attrs.frozen
class Account:
    """
    An account by which connections are counted.

    :ivar limit: connections allowed at once; None for no limit.
    :ivar intermittent: whether the connections are those of HLS, where a provider counts viewers. A stream then has one
        slot for all its requests, and keeps it between two connections.
    """

    name: str
    limit: int | None = None
    intermittent: bool = False


class ProviderSlot(Protocol):
    """
    The permission to hold connections to an account, as the code that opens the connections sees it.

    :ivar account: the account that the connections count for.
    :ivar stream: the id of the stream that holds the slot.
    """

    account: Account
    stream: str

    @property
    def held(self) -> bool:
        """True until the slot is released. Afterwards no connection may be opened on it."""

    def before_release(self, called: Callable[[bool], None]) -> None:
        """Have ``called`` called when the slot is released, with True if open connections must be closed at once."""

    def socket_opened(self) -> bool:
        """Count a socket that was opened. Return False if it must be closed at once."""

    def socket_closed(self) -> None:
        """Stop counting a socket that was opened and is closed now."""


@attrs.frozen
class ProviderEntry:
    """
    A ``[[provider]]`` entry. If several match a URL, the first one counts.

    :ivar name: name for people, and the value of a stream's key ``provider``.
    :ivar hosts: host names, in which ``*`` stands for any text: ``*.example.net``. Without names, any host matches.
    :ivar account: the user name that must be in the URL, as in Xtream panels; None matches any.
    :ivar max_connections: connections allowed at once over all streams of the account; None or 0 for no limit.
    :ivar verify_tls: whether its certificates are verified; None for the setting ``VERIFY_TLS``.
    """

    name: str
    hosts: tuple[str, ...] = ()
    account: str | None = attrs.field(default=None, repr=False)
    max_connections: int | None = None
    verify_tls: bool | None = None

    @property
    def counted_account(self) -> Account:
        """The account by which its connections are counted."""
        return Account(self.name, self.max_connections or None)

    def matches(self, url: str) -> bool:
        """Return whether a URL belongs to this account."""
        host, users = _host_and_users(url)
        if self.hosts and not any(_matches(pattern, host) for pattern in self.hosts):
            return False
        if self.account is not None:
            return self.account in users
        return bool(self.hosts)


def entry_of(url: str, providers: Sequence[ProviderEntry], named: str | None = None) -> ProviderEntry | None:
    """
    Return the entry of a source; None if there is none.

    :param named: the stream's key ``provider``, which takes precedence over the URL.
    """
    if named:
        return next((entry for entry in providers if entry.name == named), None)
    return next((entry for entry in providers if entry.matches(url)), None)


def account_of(
    url: str, providers: Sequence[ProviderEntry], named: str | None = None, max_connections: int | None = None
) -> Account | None:
    """
    Return the account for which the connections to a source count; None if they are not counted.

    :param named: the stream's key ``provider``, which takes precedence over the URL.
    :param max_connections: the stream's own limit. The lower of this and the limit of the entry counts.
    """
    entry = entry_of(url, providers, named)
    if entry is None and not (named or max_connections):
        return None
    account = entry.counted_account if entry is not None else Account(named or _host_and_users(url)[0] or "unknown")
    limits = [limit for limit in (account.limit, max_connections) if limit]
    return attrs.evolve(account, limit=min(limits, default=None), intermittent=_is_hls(url))


@lru_cache(maxsize=256)
def implicit_account(url: str) -> str:
    """
    Return a name for the account of a URL whose account is not configured: scheme, host and port, and the credentials.

    The credentials are those of the URL's authority, of its query, or of a path as Xtream panels have it
    (``/live/USER/PASSWORD/ID.ts``, ``/USER/PASSWORD/ID``). The name is a key. It holds secrets and is not for people.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        return url
    user, password = parts.username or "", parts.password or ""
    if not user:
        query = parse_qs(parts.query)
        user, password = (query.get(name, [""])[0] for name in ("username", "password"))
    if not user:
        found = _XTREAM_PATH.fullmatch(parts.path)
        user, password = found.groups() if found else ("", "")
    return f"{parts.scheme.lower()}://{user}:{password}@{(parts.hostname or '').lower()}:{port}"


def account_queue(url: str) -> str:
    """
    Return a name for the queue of requests that wait until the account of a URL has a connection again.

    A URL without credentials does not tell its account. It has a queue of its own, so that one full channel does not
    hold back the other channels of the host.
    """
    account = implicit_account(url)
    return url if "://:@" in account else account


def _is_hls(url: str) -> bool:
    try:
        return kind_of(url) is StreamKind.HLS
    except ValueError:
        return False


def _matches(pattern: str, host: str) -> bool:
    parts = [re.escape(part) for part in pattern.lower().split("*")]
    return re.fullmatch(".*".join(parts), host) is not None


def _host_and_users(url: str) -> tuple[str, set[str]]:
    """Return the host in lower case, and all parts of the URL that may be a user name."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return "", set()
    query = parse_qs(parts.query)
    users = {unquote(segment) for segment in parts.path.split("/")[1:-1]}
    users |= {value for key in ("username", "user", "u") for value in query.get(key, ())}
    if parts.username:
        users.add(unquote(parts.username))
    return host, users - {""}
