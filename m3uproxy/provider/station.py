"""State of the provider: broadcast, channels with counts and faults, log of requests."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from m3uproxy.provider.faults import Faults, make_faults, parse_faults
from m3uproxy.provider.radio import Broadcast, load_radio
from m3uproxy.provider.requests import Request
from m3uproxy.provider.timeline import Timeline
from m3uproxy.provider.tokens import Tokens

#: Channel name for the faults of all channels.
EVERY = "*"
#: Request heads kept in the log.
KEPT_REQUESTS = 500
#: HLS resources with counts; older ones are removed.
KEPT_RESOURCES = 2000


@attrs.define
class Tally:
    """Counts of connections of a channel, of an account, or of all sockets.

    :ivar current: open connections.
    :ivar peak: most connections open at a time.
    :ivar total: connections opened so far.
    :ivar requests: requests, whatever the answer.
    :ivar octets: body bytes sent, before framing.
    """

    current: int = 0
    peak: int = 0
    total: int = 0
    requests: int = 0
    octets: int = 0
    _closed_at: deque[float] = attrs.field(factory=lambda: deque(maxlen=1000), repr=False)

    def opened(self) -> None:
        """Count an opened connection."""
        self.current += 1
        self.total += 1
        self.peak = max(self.peak, self.current)

    def closed(self, now: float) -> None:
        """Count a closed connection.

        :param now: its time in seconds.
        """
        self.current -= 1
        self._closed_at.append(now)

    def occupied(self, now: float, hold: float) -> int:
        """Return the connections that count against a limit: open ones, and those closed less than ``hold`` seconds
        ago.
        """
        return self.current + sum(now - left < hold for left in self._closed_at)

    def restart(self) -> None:
        """Reset the counts. Open connections stay counted."""
        self.peak, self.total, self.requests, self.octets = self.current, 0, 0, 0
        self._closed_at.clear()

    def report(self) -> dict[str, int]:
        """Return the counts for ``/stats``."""
        names = ("current", "peak", "total", "requests", "octets")
        return {"bytes" if name == "octets" else name: getattr(self, name) for name in names}


class Media(Protocol):
    """The path of a resource with a body."""

    @property
    def channel(self) -> str:
        """Name of the channel."""

    @property
    def account(self) -> str | None:
        """Account named in the path, or None."""


class Adjustable(Protocol):
    """A body that accepts new faults while it is sent."""

    def adjust(self, given: dict[str, Any]) -> None:
        """Replace the faults; an empty set ends all."""


@attrs.define
class Channel:
    """A channel: its counts, the faults set by ``/control``, the current bodies.

    :ivar given: values of the faults by name.
    :ivar reached: largest place in the timeline that any client has received.
    :ivar stale_since: time in seconds at which the HLS window stopped, or None.
    """

    name: str
    tally: Tally = attrs.Factory(Tally)
    given: dict[str, Any] = attrs.Factory(dict)
    bodies: list[Adjustable] = attrs.Factory(list)
    reached: int = 0
    stale_since: float | None = None


class Station:
    """State of a provider, without sockets and timers.

    :param clock: time source.
    :param timeline: the broadcast; its time 0 is now.
    :param other_host: host name of this machine for ``redirect=other``.
    :param max_lag: bytes that a viewer may be behind before its connection is reset.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timeline: Timeline,
        other_host: str = "localhost",
        max_lag: int = 4_000_000,
    ) -> None:
        self.clock = clock
        self.timeline = timeline
        self.other_host = other_host
        self.max_lag = max_lag
        self.channels: dict[str, Channel] = {}
        self.accounts: dict[str, Tally] = {}
        self.files: dict[str, bytes] = {}
        self.resources: OrderedDict[str, Tally] = OrderedDict()
        self.everywhere = Channel(EVERY)
        self.sockets = Tally()
        self.viewers = Tally()
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)
        self.tokens = Tokens()
        self._uses: Counter[str] = Counter()
        self._started = clock.seconds()

    def broadcast(self, ending: str) -> Broadcast:
        """Return the broadcast for paths with this ending."""
        return self.timeline if ending == "ts" else load_radio(ending)

    def uptime(self) -> float:
        """Return the seconds since the start of the broadcast."""
        return self.clock.seconds() - self._started

    def channel(self, name: str) -> Channel:
        """Return the channel of this name; any name is valid."""
        if name == EVERY:
            return self.everywhere
        return self.channels.setdefault(name, Channel(name))

    def account(self, name: str) -> Tally:
        """Return the counts of an account."""
        return self.accounts.setdefault(name, Tally())

    def resource(self, path: str) -> Tally:
        """Return the counts of a playlist, segment or key.

        :param path: its path without query.
        """
        tally = self.resources.setdefault(path, Tally())
        if len(self.resources) > KEPT_RESOURCES:
            self.resources.popitem(last=False)
        return tally

    def tallies(self, media: Media) -> list[Tally]:
        """Return all counts that include a viewer of this path."""
        account = [] if media.account is None else [self.account(media.account)]
        return [self.viewers, self.channel(media.channel).tally, *account]

    def record(self, request: Request, channel: str | None, peer: str) -> None:
        """Add a request to the log."""
        self.requests.append(
            {
                "at": round(self.uptime(), 3),
                "peer": peer,
                "method": request.method,
                "path": request.target,
                "version": request.version,
                "channel": channel,
                "headers": [list(pair) for pair in request.headers],
            }
        )

    def faults_for(self, request: Request, media: Media, words: frozenset[str] = frozenset()) -> Faults:
        """Return the faults of a request: those of all channels, of its channel, and of its query. Later ones override.

        ``times`` counts the requests that a set applies to. A redirected request (with ``hop``) is not counted again. A
        set with ``only`` applies if it contains one of ``words``.

        :param words: kind, name and path of an HLS resource.
        :raises BadFault: the query has an invalid value.
        """
        follows = any(name == "hop" for name, _ in request.query)
        layers = {
            EVERY: self.everywhere.given,
            f"channel {media.channel}": self.channel(media.channel).given,
            f"path {request.target}": parse_faults(request.query, strict=False),
        }
        meant = {key: given for key, given in layers.items() if "only" not in given or words & {*given["only"]}}
        return make_faults(*(given for key, given in meant.items() if self._applies(key, given, follows)))

    def count_use(self, target: str) -> int:
        """Count a request for a file.

        :return: requests for the same URL so far.
        """
        self._uses[f"path {target}"] += 1
        return self._uses[f"path {target}"]

    def refuses(self) -> bool:
        """Return whether to reset the new connection before its first request. Counts for ``times``."""
        given = self.everywhere.given
        return given.get("refuse") == "accept" and self._applies("accept", given, follows=False)

    def _applies(self, key: str, given: dict[str, Any], follows: bool) -> bool:
        times = given.get("times")
        if times is None or follows:
            return True
        self._uses[key] += 1
        return self._uses[key] <= int(times)

    def control(self, name: str, given: dict[str, Any]) -> int:
        """Replace the faults of a channel, and apply them to current bodies.

        :return: number of these bodies.
        """
        channel = self.channel(name)
        channel.given, channel.stale_since = given, None
        for key in ("accept", EVERY) if name == EVERY else (f"channel {name}",):
            self._uses.pop(key, None)
        affected = [channel] if name != EVERY else list(self.channels.values())
        bodies = [body for each in affected for body in each.bodies]
        for body in bodies:
            body.adjust(given)
        return len(bodies)

    def reset(self) -> None:
        """Remove all faults, counts and the log. Open connections stay."""
        for channel in [self.everywhere, *self.channels.values()]:
            if channel.given:
                self.control(channel.name, {})
            channel.tally.restart()
        for tally in [self.sockets, self.viewers, *self.accounts.values()]:
            tally.restart()
        self.requests.clear()
        self.resources.clear()
        self._uses.clear()

    def report(self) -> dict[str, Any]:
        """Return all counts for ``/stats``."""
        return {
            "uptime": round(self.uptime(), 3),
            "sockets": self.sockets.report(),
            "total": self.viewers.report(),
            "channels": {name: each.tally.report() for name, each in sorted(self.channels.items())},
            "accounts": {name: each.report() for name, each in sorted(self.accounts.items())},
            "resources": {name: each.report() for name, each in self.resources.items()},
            "requests": list(self.requests),
        }
