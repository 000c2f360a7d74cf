"""What the provider knows: its broadcast, its channels with their counts and faults, who asked for what."""

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

#: Name under which faults hold for all channels.
EVERY = "*"
#: Request heads that are remembered.
KEPT_REQUESTS = 500
#: Resources of HLS channels of which counts are kept.
KEPT_RESOURCES = 2000


@attrs.define
class Tally:
    """Counts of connections: of one channel, of one account, of all sockets.

    :ivar current: open now.
    :ivar peak: the most that were open at a time.
    :ivar total: all that were ever opened.
    :ivar requests: requests, whatever they were answered.
    :ivar octets: body bytes sent, before framing.
    """

    current: int = 0
    peak: int = 0
    total: int = 0
    requests: int = 0
    octets: int = 0
    _closed_at: deque[float] = attrs.field(factory=lambda: deque(maxlen=1000), repr=False)

    def opened(self) -> None:
        """One more."""
        self.current += 1
        self.total += 1
        self.peak = max(self.peak, self.current)

    def closed(self, now: float) -> None:
        """One less."""
        self.current -= 1
        self._closed_at.append(now)

    def occupied(self, now: float, hold: float) -> int:
        """How many count against a limit: those open, and those that left less than ``hold`` seconds ago."""
        return self.current + sum(now - left < hold for left in self._closed_at)

    def restart(self) -> None:
        """Count from now on; what is open stays open."""
        self.peak, self.total, self.requests, self.octets = self.current, 0, 0, 0
        self._closed_at.clear()

    def report(self) -> dict[str, int]:
        """For ``/stats``."""
        names = ("current", "peak", "total", "requests", "octets")
        return {"bytes" if name == "octets" else name: getattr(self, name) for name in names}


class Media(Protocol):
    """The path of something that is sent."""

    @property
    def channel(self) -> str:
        """Of which channel."""

    @property
    def account(self) -> str | None:
        """Whose it is, where the path says so."""


class Adjustable(Protocol):
    """A body that is being sent and takes new faults while it is."""

    def adjust(self, given: dict[str, Any]) -> None:
        """Let these faults begin now; an empty set ends all."""


@attrs.define
class Channel:
    """One channel: its counts, the faults set by ``/control``, the bodies that are being sent.

    :ivar reached: place in the timeline up to which anybody has been sent the broadcast.
    :ivar stale_since: the provider's time at which its HLS window stands still.
    """

    name: str
    tally: Tally = attrs.Factory(Tally)
    given: dict[str, Any] = attrs.Factory(dict)
    bodies: list[Adjustable] = attrs.Factory(list)
    reached: int = 0
    stale_since: float | None = None


class Station:
    """State of one provider; no sockets, and no timers of its own.

    :param clock: tells the time for everything here.
    :param timeline: the broadcast, which begins now.
    :param other_host: the name of this machine that ``redirect=other`` leads to.
    :param max_lag: bytes by which a viewer may fall behind before it is dropped.
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
        """What is played on paths with this ending."""
        return self.timeline if ending == "ts" else load_radio(ending)

    def uptime(self) -> float:
        """Seconds since the broadcast began."""
        return self.clock.seconds() - self._started

    def channel(self, name: str) -> Channel:
        """The channel of this name; any name is one."""
        if name == EVERY:
            return self.everywhere
        return self.channels.setdefault(name, Channel(name))

    def account(self, name: str) -> Tally:
        """The counts of an account."""
        return self.accounts.setdefault(name, Tally())

    def resource(self, path: str) -> Tally:
        """The counts of one playlist, segment or key, by its path without query."""
        tally = self.resources.setdefault(path, Tally())
        if len(self.resources) > KEPT_RESOURCES:
            self.resources.popitem(last=False)
        return tally

    def tallies(self, media: Media) -> list[Tally]:
        """All counts in which a viewer of this path appears."""
        account = [] if media.account is None else [self.account(media.account)]
        return [self.viewers, self.channel(media.channel).tally, *account]

    def record(self, request: Request, channel: str | None, peer: str) -> None:
        """Remember a request."""
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
        """The faults of one request: those of all channels, of its channel, of its own query; the later win.

        A set with ``times`` counts the requests that it was used for. A request that a redirect led here (it has
        ``hop``) belongs to the one before. A set with ``only`` counts if one of its words is among these.

        :param words: what an HLS resource may be called.
        :raises BadFault: the query has a fault with a value that makes no sense.
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
        """Count a request for a file; how many there were for this very URL."""
        self._uses[f"path {target}"] += 1
        return self._uses[f"path {target}"]

    def refuses(self) -> bool:
        """Whether the connection that has just come in is to be reset, before it asks for anything."""
        given = self.everywhere.given
        return given.get("refuse") == "accept" and self._applies("accept", given, follows=False)

    def _applies(self, key: str, given: dict[str, Any], follows: bool) -> bool:
        times = given.get("times")
        if times is None or follows:
            return True
        self._uses[key] += 1
        return self._uses[key] <= int(times)

    def control(self, name: str, given: dict[str, Any]) -> int:
        """Set the faults of a channel, instead of those it had, and let current bodies feel them.

        :return: how many bodies those were.
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
        """No faults, no memory, counts from zero; open connections stay."""
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
        """All counts, for ``/stats``."""
        return {
            "uptime": round(self.uptime(), 3),
            "sockets": self.sockets.report(),
            "total": self.viewers.report(),
            "channels": {name: each.tally.report() for name, each in sorted(self.channels.items())},
            "accounts": {name: each.report() for name, each in sorted(self.accounts.items())},
            "resources": {name: each.report() for name, each in self.resources.items()},
            "requests": list(self.requests),
        }
