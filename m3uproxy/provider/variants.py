"""Differences between the connections of a channel: start in the broadcast, timestamps, multiplex."""

from __future__ import annotations

from m3uproxy.provider.clip import WRAP
from m3uproxy.provider.faults import Faults
from m3uproxy.provider.multiplex import Layout
from m3uproxy.provider.remux import Change, Remux, Restamp
from m3uproxy.provider.station import Channel, Station


def live_edge(station: Station, channel: Channel, faults: Faults) -> float:
    """Return the time of the broadcast, in seconds, that a new connection receives in real time.

    With ``replay`` the result is at least the time that the channel has reached. With a ``rate`` above 1 a channel runs
    ahead of the clock, and stands still without clients.
    """
    now = station.uptime()
    return max(now, station.timeline.seconds_at(channel.reached)) if faults.replay else now


def changes_for(station: Station, channel: Channel, faults: Faults, edge: float) -> list[Change]:
    """Return the changes of the broadcast for the connection that was counted last."""
    number = max(channel.tally.total - 1, 0)
    changes: list[Change] = []
    if faults.restamp == "wrap":
        changes.append(Restamp(-station.timeline.clock_at(edge - faults.replay / 2) % WRAP))
    elif faults.restamp is not None:
        changes.append(Restamp(round(number * float(faults.restamp) * 90_000)))
    if faults.remux is not None:
        changes.append(Remux(Layout.from_number(number, faults.remux == "cut")))
    return changes
