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
from collections import deque
from collections.abc import Callable

import attrs

from ..mpegts.psi import ProgramMap
from ..mpegts.psi_tables import PsiTables, announce
from ..mpegts.timestamps import TICKS, ahead
from .allowance import BYTES_PER_COST, Allowance
from .opening import PART_BYTES, ClockMargin, Opening, PacketQueue, part_cost
from .packet_rewriter import PacketRewriter
from .pes_hold import PesHold
from .plan import CHOICE_TIMEOUT, SpliceKind, SplicePlan, SplicePlanner
from .splice_in import SpliceIn
from .splice_out import SpliceOut
from .track_mapping import map_tracks

#: Seconds after a splice in which tracks wait for their start. After that they start at their next unit.
_START_TIMEOUT = 3.0
#: Changes of its tables that a source may make in one part of its packets. More are passed over.
_MAX_TABLE_CHANGES = 4
#: Seconds after which a source that follows nothing and sends no PAT passes as it is.
_PAT_TIMEOUT = 0.5
_WITHOUT_LIMIT = 1 << 62
#: Cost of each track of a source in a part of its packets, and in a change of its tables.
_TRACK_COST, _CHANGE_COST = 4, 15


@attrs.frozen
class SpliceTimeouts:
    """The limits for holding back a new source, in seconds and bytes from its first packet on.

    :ivar access_point: seconds to wait for an IDR picture if there is only one other random access point; and for
        packets not sent yet, if the source has the last source's clock.
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
        each new source.
    :param report: called with the result of each splice, before the first packets of the source are returned.
    :param program: returns the number of the program that players follow; None if unknown.
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
        program: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._tail = tail
        self._sent_program = program
        self._report = report
        self._timeouts = timeouts or SpliceTimeouts()
        self._announce_codecs = announce_codecs
        self._hold = PesHold()
        self._planner: SplicePlanner | None = None
        self._rewriter: PacketRewriter | None = None
        self._reset_splice(False)

    def _reset_splice(self, pending: bool) -> None:
        self._splice_pending = pending
        self._planner = self._rewriter = None
        self._tables: PsiTables | None = None
        self._splice_in: SpliceIn | None = None
        self._splice_time = 0.0
        # What follows a plan, in parts: packets to be held and filtered, and filtered packets to be rewritten.
        self._opening: Opening | None = None
        self._queue = PacketQueue()
        self._filtered: deque[bytes] = deque()
        self._works_in_parts = pending
        self._table_changes = 0

    @property
    def splice_pending(self) -> bool:
        """True if a new source has begun and is not joined yet."""
        return self._splice_pending

    @property
    def is_busy(self) -> bool:
        """True if a join is unfinished that needs no more packets: ``push(b"")`` continues it."""
        planner = self._planner
        return self._has_parts or (planner is not None and planner.is_busy)

    @property
    def program(self) -> ProgramMap | None:
        """The program map of the current source, if it differs from the sent one; else None."""
        return None if self._rewriter is None else self._rewriter.program

    @property
    def tables(self) -> PsiTables | None:
        """The tables with which the current source began, as players get them; None while unknown."""
        return self._tables

    @property
    def held_bytes(self) -> int:
        """The number of bytes held back or kept for a plan."""
        kept = 0 if self._planner is None else len(self._planner.new.data)
        return self._hold.size + kept + len(self._queue) + sum(map(len, self._filtered))

    @property
    def _has_parts(self) -> bool:
        return bool(self._opening is not None or self._filtered or self._queue)

    def next_source(self, now: float) -> bytes:
        """Start another source. Drop the incomplete units of the last one.

        :return: packets of the last source that are complete, to be sent. If the last source was joined just now,
            packets that are too many for one call are dropped.
        """
        out = b""
        if not self._splice_pending:
            out = self._process_parts(now, 0, Allowance()) if self._has_parts else b""
            out += b"" if self._filtered else self._rewrite(self._hold.take_complete(), now)
        self._hold.reset()
        self._reset_splice(True)
        return out

    def flush(self, now: float) -> bytes:
        """End the stream. Return all packets held back, except those of a source that could not be joined."""
        planner = self._planner
        if planner is not None and not planner.is_busy and not planner.sent.readable:
            self._pass_through(planner, now)
        if self._splice_pending and self._opening is None:
            return b""
        out = self._process_parts(now, _WITHOUT_LIMIT, Allowance())
        return out + self._rewrite(self._hold.take_all(), now)

    def push(self, packets: bytes, now: float) -> bytes:
        """Take whole packets of the current source.

        A join is divided among as many calls as it needs, so that each is short.

        :param now: monotonic seconds.
        :return: packets to send now; ``b""`` if there are none.
        """
        if self._works_in_parts:
            return self._push_in_parts(packets, now)
        held = self._hold.push(packets, now)
        return held if self._rewriter is None or not held else self._rewrite(held, now)

    def _rewrite(self, packets: bytes, now: float) -> bytes:
        if self._rewriter is None or not packets:
            return packets
        if self._splice_in is not None:
            packets = self._filter_start(self._splice_in, packets, now)
        return self._rewrite_filtered(self._rewriter, packets)

    def _rewrite_filtered(self, rewriter: PacketRewriter, packets: bytes) -> bytes:
        out = [rewriter.rewrite(packets)] if packets else []
        changes = 0
        while rewriter.rest:
            rest, rewriter.rest = rewriter.rest, b""
            changes += 1
            self._table_changes += 1
            rewriter = self._rewriter = self._follow_tables(rewriter)
            out.append(rewriter.rewrite(rest, changes < _MAX_TABLE_CHANGES))
        return out[0] if len(out) == 1 else b"".join(out)

    def _follow_tables(self, old: PacketRewriter) -> PacketRewriter:
        """Follow new tables of the same source: its tracks continue as their counterparts, on the same timeline."""
        tables, sent = old.source_tables, old.player_tables
        if tables is None:
            return old
        mapping = map_tracks(sent.program, tables.program)
        player_tables = announce(sent, mapping.streams) if mapping.changed else sent
        rewriter = PacketRewriter(player_tables, tables, mapping.pids, old.last_counters)
        rewriter.offset, rewriter.clock_offset = old.offset, old.clock_offset
        if mapping.changed:
            self._report(SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=mapping.changed))
        return rewriter

    def _filter_start(self, splice_in: SpliceIn, packets: bytes, now: float) -> bytes:
        if now - self._splice_time > _START_TIMEOUT:
            splice_in.start_all()
        packets = splice_in.filter(packets)
        if splice_in.is_complete:
            self._splice_in = None
        return packets

    # a new source, in parts

    def _push_in_parts(self, packets: bytes, now: float) -> bytes:
        allowance = Allowance()
        if self._splice_pending and self._opening is None:
            self._plan_splice(packets, now, allowance)
        else:
            self._queue.append(packets)
        out = self._process_parts(now, len(packets), allowance)
        self._works_in_parts = self._splice_pending or self._has_parts
        return out

    def _plan_splice(self, packets: bytes, now: float, allowance: Allowance) -> None:
        if self._planner is None and packets:
            tail = self._tail()
            allowance.spend(len(tail) // BYTES_PER_COST)
            self._planner = SplicePlanner(SpliceOut(tail, self._sent_program()), now)
        planner = self._planner
        if planner is None or not (packets or planner.is_busy):
            return
        planner.append(packets)
        planner.is_busy = not planner.sent.read(allowance)
        if not planner.is_busy and planner.sent.readable:
            self._find_plan(planner, now, allowance)
        elif not planner.is_busy:
            self._find_tables(planner, now, allowance)
        elif self._is_hopeless(planner, now):
            self._pass_through(planner, now)

    def _find_tables(self, planner: SplicePlanner, now: float, allowance: Allowance) -> None:
        """Let a source that follows nothing pass, from the moment on when its tables and program are known.

        Players cannot start before. Random access points that come before the tables are not lost in this way.
        """
        planner.find_tables(allowance)
        waited = now - planner.since
        timeout = self._timeouts.total if planner.has_programs else _PAT_TIMEOUT
        is_known = planner.tables is not None and (planner.is_settled or waited >= CHOICE_TIMEOUT)
        is_late = waited >= timeout or len(planner.new.data) >= self._timeouts.max_bytes
        if is_late or (is_known and not planner.is_busy):
            self._pass_through(planner, now)

    def _is_hopeless(self, planner: SplicePlanner, now: float) -> bool:
        """Return True if the work of a join takes so long that the source must pass unchanged."""
        timeouts = self._timeouts
        return now - planner.since >= 2 * timeouts.total or len(planner.new.data) >= 2 * timeouts.max_bytes

    def _find_plan(self, planner: SplicePlanner, now: float, allowance: Allowance) -> None:
        waited = now - planner.since
        timeouts = self._timeouts
        planner.drop_seen(timeouts.max_bytes)
        last_chance = waited >= timeouts.total or len(planner.new.data) >= timeouts.max_bytes
        plan = planner.plan(now, waited < timeouts.access_point and not last_chance, last_chance, allowance)
        if planner.is_busy:
            if self._is_hopeless(planner, now):
                self._pass_through(planner, now)
        elif plan is not None and (not plan.mapping.changed or self._announce_codecs):
            self._start_plan(planner, plan, now)
        elif plan is not None or last_chance:
            self._pass_through(planner, now, () if plan is None else plan.mapping.changed)

    def _pass_through(self, planner: SplicePlanner, now: float, changed: tuple[str, ...] = ()) -> None:
        """Let the source pass unchanged."""
        kind = SpliceKind.CODEC_CHANGE if changed else SpliceKind.PLAIN
        self._tables = planner.leading_tables
        self._planner, self._splice_pending = None, False
        self._report(SpliceReport(kind, now - planner.since, changed=changed))
        self._queue = PacketQueue(planner.take(planner.new.base))

    def _start_plan(self, planner: SplicePlanner, plan: SplicePlan, now: float) -> None:
        sent = planner.sent
        assert sent.tables is not None, "the sent packets have tables"
        player_tables = announce(sent.tables, plan.mapping.streams) if plan.mapping.changed else sent.tables
        self._tables = player_tables
        rewriter = PacketRewriter(player_tables, plan.tables, plan.mapping.pids, sent.counters)
        units_passed = {pid: bisect_left(planner.new.starts.get(pid, []), plan.begin) for pid in plan.starts}
        starts = {pid: start.unless_passed(units_passed[pid]) for pid, start in plan.starts.items()}
        clock = plan.tables.program.pcr_pid
        self._splice_in = SpliceIn(starts, clock, units_passed, rewriter.start_track, rewriter.skip_packets)
        self._rewriter, self._splice_time = rewriter, now
        if plan.after_dts is not None:
            rewriter.decode_after(next(iter(plan.starts)), plan.after_dts)
        main = next(iter(plan.starts))
        first = starts[main].number
        whole = (0, 0)
        if first is not None and first < planner.new.count(main):
            whole = planner.new.starts[main][first] - plan.begin, planner.new.end(main, first) - plan.begin
        self._queue = PacketQueue(planner.take(plan.begin), whole)
        margin = ClockMargin(clock, plan.mapping.pids)
        self._opening = Opening(plan, planner.since, sent.pcr, len(self._queue), margin, self._splice_in)
        self._planner = None

    def _process_parts(self, now: float, least: int, allowance: Allowance) -> bytes:
        """Process packets within the allowance, but more than ``least`` bytes."""
        out: list[bytes] = []
        done = 0
        while self._has_parts and (allowance.left > 0 or done <= least):
            changes = self._table_changes
            if self._opening is not None and not self._opening.left:
                out.append(self._open(self._opening, now))
            elif self._opening is None and self._filtered:
                packets = self._filtered.popleft()
                done += len(packets)
                allowance.spend(part_cost(packets, False))
                out.append(packets if self._rewriter is None else self._rewrite_filtered(self._rewriter, packets))
            else:
                part = self._queue.take(PART_BYTES if self._opening is None else self._opening.left)
                done += len(part)
                allowance.spend(part_cost(part, self._splice_in is not None))
                out.append(self._process_part(part, now))
            if self._rewriter is not None:
                changes = self._table_changes - changes
                allowance.spend(self._rewriter.track_count * (_TRACK_COST + changes * _CHANGE_COST))
        return b"".join(out)

    def _process_part(self, part: bytes, now: float) -> bytes:
        packets, opening = self._hold.push(part, now), self._opening
        if opening is None:
            return self._rewrite(packets, now)
        opening.left -= len(part)
        if packets and self._splice_in is not None:
            packets = self._filter_start(self._splice_in, packets, now)
        if packets:
            opening.margin.add(packets)
            self._filtered.append(packets)
        return b""

    def _open(self, opening: Opening, now: float) -> bytes:
        """Choose the clocks, report the splice, and return the tables that precede the packets of the source."""
        rewriter, plan = self._rewriter, opening.plan
        assert rewriter is not None, "there is a plan"
        opening.set_clocks(rewriter)
        self._opening, self._splice_pending = None, False
        clock_offset = rewriter.clock_offset
        report = SpliceReport(
            plan.kind,
            now - opening.since,
            ahead(rewriter.offset, 0) / TICKS,
            None if clock_offset is None else ahead(clock_offset, 0) / TICKS,
            plan.repeated,
            plan.begin + opening.dropped,
            plan.mapping.changed,
        )
        self._report(report)
        return rewriter.tables()
