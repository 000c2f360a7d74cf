"""Which provider account a URL belongs to, and how many connections that account allows.

Accounts are configured as ``[[provider]]`` entries of the settings file, or named by whoever registers a stream. A
URL that neither says anything about belongs to none, and its connections are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from ..stream_kind import StreamKind, kind_of


@attrs.frozen
class Account:
    """
    What connections are counted by.

    :ivar limit: the number of them allowed at once, None for any number.
    :ivar intermittent: whether it is asked as for HLS, of which a provider counts who watches: a stream has one slot of
        it, for whatever is asked, and has it between two connections.
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

    def before_done(self, call: Callable[[bool], None]) -> None:
        """Have ``call`` called when the slot is released, with True if open connections must be closed at once."""

    def opened(self) -> bool:
        """Count a socket that was opened. Return False if it must be closed at once."""

    def closed(self) -> None:
        """Stop counting a socket that was opened and is closed now."""


@attrs.frozen
class ProviderEntry:
    """
    One ``[[provider]]`` entry. Of several that fit a URL, the first counts.

    :ivar name: for people, and for a stream's key ``provider``.
    :ivar hosts: host names, in which ``*`` stands for any text: ``*.example.net``. With none, any host fits.
    :ivar account: the user name that must be in the URL, as Xtream panels have it; None fits any.
    :ivar max_connections: open at once over all streams of the account; None or 0 for no limit.
    """

    name: str
    hosts: tuple[str, ...] = ()
    account: str | None = attrs.field(default=None, repr=False)
    max_connections: int | None = None

    @property
    def connections(self) -> Account:
        """What its connections are counted by."""
        return Account(self.name, self.max_connections or None)

    def fits(self, url: str) -> bool:
        """Whether a URL is one of this account's."""
        host, users = _host_and_users(url)
        if self.hosts and not any(_matches(pattern, host) for pattern in self.hosts):
            return False
        if self.account is not None:
            return self.account in users
        return bool(self.hosts)


def account_of(
    url: str, providers: Sequence[ProviderEntry], named: str | None = None, max_connections: int | None = None
) -> Account | None:
    """
    The account that a source's connection counts for; None if nobody said that connections are to be counted.

    :param named: the stream's key ``provider``, which wins over what the URL says.
    :param max_connections: the stream's own limit; the tighter of it and the entry's counts.
    """
    if named:
        entry = next((one for one in providers if one.name == named), None)
    else:
        entry = next((one for one in providers if one.fits(url)), None)
    if entry is None and not (named or max_connections):
        return None
    account = entry.connections if entry is not None else Account(named or _host_and_users(url)[0] or "unknown")
    limits = [limit for limit in (account.limit, max_connections) if limit]
    return attrs.evolve(account, limit=min(limits, default=None), intermittent=_is_hls(url))


def _is_hls(url: str) -> bool:
    try:
        return kind_of(url) is StreamKind.HLS
    except ValueError:
        return False


def _matches(pattern: str, host: str) -> bool:
    parts = [re.escape(part) for part in pattern.lower().split("*")]
    return re.fullmatch(".*".join(parts), host) is not None


def _host_and_users(url: str) -> tuple[str, set[str]]:
    """The host in lower case, and whatever in the URL stands where a user name may stand."""
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
