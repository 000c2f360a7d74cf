"""The splicer: one continuous stream out of the packets of several sources.

While a source runs, :meth:`Splicer.push` only holds back incomplete units. When another source takes over
(:meth:`Splicer.next_source`), its packets are kept until a plan is found (:mod:`m3uproxy.core.splice.plan`). Then its
tracks are started (:mod:`~m3uproxy.core.splice.splice_in`). As long as that source runs, its packets are changed to the
PIDs, counters and clocks of the players (:mod:`~m3uproxy.core.splice.packet_rewriter`).

The splicer keeps no copy of the packets sent. It asks for them when needed, because the ring has the last seconds for
players that join.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import attrs

from ..mpegts.packets import PACKET_SIZE
from ..mpegts.packets import pid as pid_of
from ..mpegts.pes import PesIndex
from ..mpegts.psi import ProgramMap
from ..mpegts.psi_tables import announce
from ..mpegts.timestamps import TICKS, WRAP, ahead, has_pcr, read_pcr
from .packet_rewriter import PacketRewriter
from .pes_hold import PesHold
from .plan import SpliceKind, SplicePlan, SplicePlanner
from .splice_in import SpliceIn, first_clock
from .splice_out import SpliceOut
from .track_mapping import map_tracks

#: Seconds after a splice in which tracks wait for their start. After that they start at their next unit.
_START_TIMEOUT = 3.0


@attrs.frozen
class SpliceTimeouts:
    """The limits for holding back a new source, in seconds and bytes from its first packet on.

    :ivar access_point: seconds to wait for an IDR picture if there is only another random access point; and for packets
        not sent yet, if the source has the last source's clock.
    :ivar total: seconds altogether; then the source begins at any possible point, or passes unchanged.
    :ivar max_bytes: bytes altogether.
    """

    access_point: float = 2.0
    total: float = 8.0
    max_bytes: int = 16 << 20


@attrs.frozen
class SpliceReport:
    """The result of a splice.

    :ivar kind: way in which the source was joined.
    :ivar waited: seconds from the first packet of the source to its first packet sent.
    :ivar offset: seconds added to PTS and DTS.
    :ivar clock_offset: seconds added to the clock; None while the source has no clock.
    :ivar repeated: units of the main track that the source repeated and that were not sent again.
    :ivar dropped: bytes of the source that were not sent: sent before, or before the first random access point.
    :ivar changed: tracks with another codec, in words.
    """

    kind: SpliceKind
    waited: float
    offset: float = 0.0
    clock_offset: float | None = None
    repeated: int = 0
    dropped: int = 0
    changed: tuple[str, ...] = ()


class Splicer:
    """A splicer for the transport streams of several sources.

    :param tail: returns the last packets that were sent, as many seconds as an overlap may be long. Called once for
        each new source, and once for each change of its tables.
    :param report: called with the result of each splice, before the first packets of the source are returned.
    :param timeouts: limits for holding back a new source.
    :param announce_codecs: True to announce changed codecs on the known PIDs. If False, such a source passes unchanged,
        and ``report`` must ensure that no player of the last source gets it.
    """

    def __init__(
        self,
        tail: Callable[[], bytes],
        report: Callable[[SpliceReport], None],
        timeouts: SpliceTimeouts | None = None,
        announce_codecs: bool = False,
    ) -> None:
        self._tail = tail
        self._report = report
        self._timeouts = timeouts or SpliceTimeouts()
        self._announce_codecs = announce_codecs
        self._hold = PesHold()
        self._splice_pending = False
        self._planner: SplicePlanner | None = None
        self._splice_in: SpliceIn | None = None
        self._splice_time = 0.0
        self._rewriter: PacketRewriter | None = None

    @property
    def splice_pending(self) -> bool:
        """True if a new source has begun and is not joined yet."""
        return self._splice_pending

    @property
    def program(self) -> ProgramMap | None:
        """The program map of the current source, if it differs from the sent one; else None."""
        return None if self._rewriter is None else self._rewriter.program

    @property
    def held_bytes(self) -> int:
        """The number of bytes held back or kept for a plan."""
        return self._hold.size + (0 if self._planner is None else len(self._planner.new.data))

    def next_source(self, now: float) -> bytes:
        """Start another source. Drop the incomplete units of the last one.

        :return: packets of the last source that are complete, to be sent.
        """
        out = b"" if self._splice_pending else self._rewrite(self._hold.take_complete(), now)
        self._hold.reset()
        self._splice_pending = True
        self._planner = self._splice_in = self._rewriter = None
        return out

    def flush(self, now: float) -> bytes:
        """End the stream. Return all packets held back."""
        return b"" if self._splice_pending else self._rewrite(self._hold.take_all(), now)

    def push(self, packets: bytes, now: float) -> bytes:
        """Take whole packets of the current source.

        :param now: monotonic seconds.
        :return: packets to send now; ``b""`` if there are none.
        """
        if self._splice_pending:
            return self._plan_splice(packets, now)
        held = self._hold.push(packets, now)
        return held if self._rewriter is None or not held else self._rewrite(held, now)

    def _rewrite(self, packets: bytes, now: float) -> bytes:
        if self._rewriter is None or not packets:
            return packets
        if self._splice_in is not None:
            packets = self._filter_start(self._splice_in, packets, now)
        out = self._rewriter.rewrite(packets) if packets else b""
        while self._rewriter.rest:
            out += self._follow_tables(self._rewriter, out, now)
        return out

    def _follow_tables(self, old: PacketRewriter, out: bytes, now: float) -> bytes:
        """Follow new tables of the same source: its tracks continue as their counterparts, on the same timeline."""
        rest, tables, sent = old.rest, old.source_tables, SpliceOut(self._tail() + out)
        old.rest = b""
        if tables is None or sent.tables is None:
            return b""
        mapping = map_tracks(sent.tables.program, tables.program)
        player_tables = announce(sent.tables, mapping.streams) if mapping.changed else sent.tables
        self._rewriter = PacketRewriter(player_tables, tables, mapping.pids, sent.counters)
        self._rewriter.offset, self._rewriter.clock_offset = old.offset, old.clock_offset
        if mapping.changed:
            self._report(SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=mapping.changed))
        return self._rewriter.rewrite(rest)

    def _filter_start(self, splice_in: SpliceIn, packets: bytes, now: float) -> bytes:
        if now - self._splice_time > _START_TIMEOUT:
            splice_in.start_all()
        packets = splice_in.filter(packets)
        if splice_in.is_complete:
            self._splice_in = None
        return packets

    def _plan_splice(self, packets: bytes, now: float) -> bytes:
        if not packets:
            return b""
        if self._planner is None:
            self._planner = SplicePlanner(SpliceOut(self._tail()), now)
        planner = self._planner
        planner.append(packets)
        if not planner.sent.readable:
            return self._pass_through(planner, now)
        waited = now - planner.since
        timeouts = self._timeouts
        last_chance = waited >= timeouts.total or len(planner.new.data) >= timeouts.max_bytes
        plan = planner.plan(now, waited < timeouts.access_point and not last_chance, last_chance)
        if plan is not None and (not plan.mapping.changed or self._announce_codecs):
            return self._start_plan(planner, plan, now)
        if plan is not None or last_chance:
            return self._pass_through(planner, now, () if plan is None else plan.mapping.changed)
        return b""

    def _pass_through(self, planner: SplicePlanner, now: float, changed: tuple[str, ...] = ()) -> bytes:
        """Let the source pass unchanged."""
        kind = SpliceKind.CODEC_CHANGE if changed else SpliceKind.PLAIN
        self._report(SpliceReport(kind, now - planner.since, changed=changed))
        self._planner, self._splice_pending = None, False
        return self._hold.push(bytes(planner.new.data), now)

    def _start_plan(self, planner: SplicePlanner, plan: SplicePlan, now: float) -> bytes:
        sent = planner.sent
        assert sent.tables is not None, "the sent packets have tables"
        player_tables = announce(sent.tables, plan.mapping.streams) if plan.mapping.changed else sent.tables
        rewriter = PacketRewriter(player_tables, plan.tables, plan.mapping.pids, sent.counters)
        units_passed = {pid: bisect_left(planner.new.starts.get(pid, []), plan.begin) for pid in plan.starts}
        splice_in = SpliceIn(
            plan.starts, plan.tables.program.pcr_pid, units_passed, rewriter.start_track, rewriter.skip_packets
        )
        self._planner, self._splice_pending = None, False
        self._rewriter, self._splice_in, self._splice_time = rewriter, splice_in, now
        if plan.after_dts is not None:
            rewriter.decode_after(next(iter(plan.starts)), plan.after_dts)
        packets = self._filter_start(splice_in, self._hold.push(bytes(planner.new.data[plan.begin :]), now), now)
        _set_clocks(rewriter, plan, packets, sent.pcr)
        tables = rewriter.tables()
        out = rewriter.rewrite(packets) if packets else b""
        clock_offset = rewriter.clock_offset
        self._report(
            SpliceReport(
                plan.kind,
                now - planner.since,
                ahead(rewriter.offset, 0) / TICKS,
                None if clock_offset is None else ahead(clock_offset, 0) / TICKS,
                plan.repeated,
                plan.begin + splice_in.dropped,
                plan.mapping.changed,
            )
        )
        return tables + out


def _set_clocks(rewriter: PacketRewriter, plan: SplicePlan, packets: bytes, pcr: int | None) -> None:
    """Choose offsets with which the clock neither steps back nor passes the timestamps that depend on it."""
    rewriter.set_offsets(plan.offset, pcr)
    clock = plan.tables.program.pcr_pid
    first = first_clock(packets, clock)
    if first is None:
        return
    clock_offset = rewriter.decide_clock(read_pcr(packets, first))
    margin = _least_margin(packets, clock, plan)
    late = ahead(clock_offset, plan.offset) - margin
    if margin > 0 and late >= 0:
        rewriter.offset = (plan.offset + late + 1) % WRAP


def _least_margin(packets: bytes, clock: int, plan: SplicePlan) -> int:
    """Return the least distance from the clock to a unit's DTS, in the source's own time; 0 if unknown."""
    pes = PesIndex(packets)
    unit_starts = [(at, pid, number) for pid in plan.mapping.pids for number, at in enumerate(pes.starts.get(pid, ()))]
    least: int | None = None
    value: int | None = None
    begin = 0
    for at, pid, number in sorted(unit_starts):
        for here in range(begin, at + PACKET_SIZE, PACKET_SIZE):
            if pid_of(packets, here) == clock and has_pcr(packets, here):
                value = read_pcr(packets, here)
        begin = at + PACKET_SIZE
        header = pes.header(pid, number)
        if value is not None and header is not None and header.dts is not None:
            margin = ahead(header.dts, value)
            least = margin if least is None else min(least, margin)
    return least or 0
