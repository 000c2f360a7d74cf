"""What a channel's connections get that differs from one to the next: where they begin, and how it is made."""

from __future__ import annotations

from m3uproxy.provider.clip import WRAP
from m3uproxy.provider.faults import Faults
from m3uproxy.provider.multiplex import Layout
from m3uproxy.provider.remux import Change, Remux, Restamp
from m3uproxy.provider.station import Channel, Station


def live_edge(station: Station, channel: Channel, faults: Faults) -> float:
    """The moment of the broadcast, in seconds, that a connection which is made now gets as it happens.

    With ``replay`` that is no earlier than what the channel has sent: with a ``rate`` above 1 it runs ahead of the
    clock, and while nobody is connected it stands still.
    """
    now = station.uptime()
    return max(now, station.timeline.seconds_at(channel.reached)) if faults.replay else now


def changes_for(station: Station, channel: Channel, faults: Faults, edge: float) -> list[Change]:
    """How the broadcast is changed for the connection that has just been counted."""
    number = max(channel.tally.total - 1, 0)
    changes: list[Change] = []
    if faults.restamp == "wrap":
        changes.append(Restamp(-station.timeline.clock_at(edge - faults.replay / 2) % WRAP))
    elif faults.restamp is not None:
        changes.append(Restamp(round(number * float(faults.restamp) * 90_000)))
    if faults.remux is not None:
        changes.append(Remux(Layout.from_number(number, faults.remux == "cut")))
    return changes
