"""Sources come and go, and the player does not notice: one stream out of what several sources bring.

While a source runs, :meth:`Splicer.push` only holds back units that are not complete. When another source takes
over (:meth:`Splicer.next_source`) its packets are kept until it is known how it goes on from what was sent
(:mod:`m3uproxy.core.splice.plan`); then they are let begin (:mod:`~m3uproxy.core.splice.splice_in`) and, as long as
that source runs, changed to what the players know (:mod:`~m3uproxy.core.splice.packet_rewriter`).

What was sent is not remembered here. It is asked for when it is needed: whoever keeps the last seconds for late
joiners has it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import attrs

from m3uproxy.core.mpegts.packets import PACKET_SIZE
from m3uproxy.core.mpegts.packets import pid as pid_of
from m3uproxy.core.mpegts.pes import PesIndex
from m3uproxy.core.mpegts.psi import ProgramMap
from m3uproxy.core.mpegts.psi_tables import announce
from m3uproxy.core.mpegts.timestamps import TICKS, WRAP, ahead, has_pcr, read_pcr
from m3uproxy.core.splice.packet_rewriter import PacketRewriter
from m3uproxy.core.splice.pes_hold import PesHold
from m3uproxy.core.splice.plan import SpliceKind, SplicePlan, SplicePlanner
from m3uproxy.core.splice.splice_in import SpliceIn, first_clock
from m3uproxy.core.splice.splice_out import SpliceOut
from m3uproxy.core.splice.track_mapping import map_tracks

#: Seconds after a join in which tracks wait for their place; after that they begin with what comes.
_OPENING = 3.0


@attrs.frozen
class SpliceTimeouts:
    """How long a new source is kept back, in seconds and bytes from its first packet on.

    :ivar access: for an IDR picture, if there is another random access point to begin at; and for what was not
        sent yet, if it has the last source's clock.
    :ivar seconds: altogether; then it begins wherever it can, or passes as it is.
    :ivar size: bytes, altogether.
    """

    access: float = 2.0
    seconds: float = 8.0
    size: int = 16 << 20


@attrs.frozen
class SpliceReport:
    """What became of a new source.

    :ivar offset: seconds added to its PTS and DTS.
    :ivar clock_offset: seconds added to its clock; None if it has none yet.
    :ivar waited: seconds from its first packet to its first that was sent.
    :ivar repeated: units of the main track that it brought again and that were not sent again.
    :ivar dropped: bytes of it that were not sent: sent before, or nothing to begin with.
    :ivar changed: what has another codec, in words.
    """

    joined: SpliceKind
    waited: float
    offset: float = 0.0
    clock_offset: float | None = None
    repeated: int = 0
    dropped: int = 0
    changed: tuple[str, ...] = ()


class Splicer:
    """Makes one stream of the packets of several sources.

    :param tail: gives the last packets that were sent, as many seconds as an overlap may be long; asked for once
        for each new source.
    :param report: is told how a source was joined, before its first packets are returned.
    :param carry_on: what to do with a source of other codecs: announce them on the known PIDs; if not, it passes
        as it is, and ``report`` must see to it that nobody who saw the last source gets it.
    """

    def __init__(
        self,
        tail: Callable[[], bytes],
        report: Callable[[SpliceReport], None],
        patience: SpliceTimeouts | None = None,
        carry_on: bool = False,
    ) -> None:
        self._tail = tail
        self._report = report
        self._patience = patience or SpliceTimeouts()
        self._carry_on = carry_on
        self._hold = PesHold()
        self._new = False
        self._joint: SplicePlanner | None = None
        self._opening: SpliceIn | None = None
        self._opened = 0.0
        self._rewriter: PacketRewriter | None = None

    @property
    def joining(self) -> bool:
        """A new source is there and has not been joined yet."""
        return self._new

    @property
    def program(self) -> ProgramMap | None:
        """The program map of the source that runs, where that is not the one that is sent."""
        return None if self._rewriter is None else self._rewriter.program

    @property
    def waiting(self) -> int:
        """Bytes that are held or kept."""
        return self._hold.size + (0 if self._joint is None else len(self._joint.new.data))

    def next_source(self, now: float) -> bytes:
        """Another source follows; what the last one left incomplete is dropped.

        :return: what it left complete, to be sent.
        """
        out = b"" if self._new else self._changed(self._hold.take_complete(), now)
        self._hold.reset()
        self._new = True
        self._joint = self._opening = self._rewriter = None
        return out

    def finish(self, now: float) -> bytes:
        """The stream ends and nothing follows: all that was held, to be sent."""
        return b"" if self._new else self._changed(self._hold.take_all(), now)

    def push(self, packets: bytes, now: float) -> bytes:
        """Take whole packets of the source that runs.

        :param now: monotonic seconds.
        :return: the packets to be sent now; ``b""`` if there are none.
        """
        if self._new:
            return self._join(packets, now)
        held = self._hold.push(packets, now)
        return held if self._rewriter is None or not held else self._changed(held, now)

    def _changed(self, packets: bytes, now: float) -> bytes:
        if self._rewriter is None or not packets:
            return packets
        if self._opening is not None:
            packets = self._open(self._opening, packets, now)
        out = self._rewriter.rewrite(packets) if packets else b""
        while self._rewriter.rest:
            out += self._follow(self._rewriter, out, now)
        return out

    def _follow(self, old: PacketRewriter, out: bytes, now: float) -> bytes:
        """The source has other tables now: its tracks go on as the ones they resemble, on the same timeline."""
        rest, tables, sent = old.rest, old.next_tables, SpliceOut(self._tail() + out)
        old.rest = b""
        if tables is None or sent.tables is None:
            return b""
        mapping = map_tracks(sent.tables.program, tables.program)
        told = announce(sent.tables, mapping) if mapping.changed else sent.tables
        self._rewriter = PacketRewriter(told, tables, mapping.pids, sent.counters)
        self._rewriter.offset, self._rewriter.clock_offset = old.offset, old.clock_offset
        if mapping.changed:
            self._report(SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=mapping.changed))
        return self._rewriter.rewrite(rest)

    def _open(self, opening: SpliceIn, packets: bytes, now: float) -> bytes:
        if now - self._opened > _OPENING:
            opening.hurry()
        packets = opening.filter(packets)
        if opening.done:
            self._opening = None
        return packets

    def _join(self, packets: bytes, now: float) -> bytes:
        if not packets:
            return b""
        if self._joint is None:
            self._joint = SplicePlanner(SpliceOut(self._tail()), now)
        joint = self._joint
        joint.append(packets)
        if not joint.sent.readable:
            return self._pass(joint, now)
        waited = now - joint.since
        limits = self._patience
        last_chance = waited >= limits.seconds or len(joint.new.data) >= limits.size
        plan = joint.look(now, waited < limits.access and not last_chance, last_chance)
        if plan is not None and (not plan.mapping.changed or self._carry_on):
            return self._begin(joint, plan, now)
        if plan is not None or last_chance:
            return self._pass(joint, now, () if plan is None else plan.mapping.changed)
        return b""

    def _pass(self, joint: SplicePlanner, now: float, changed: tuple[str, ...] = ()) -> bytes:
        """Let the source go through as it is."""
        joined = SpliceKind.CODEC_CHANGE if changed else SpliceKind.PLAIN
        self._report(SpliceReport(joined, now - joint.since, changed=changed))
        self._joint, self._new = None, False
        return self._hold.push(bytes(joint.new.data), now)

    def _begin(self, joint: SplicePlanner, plan: SplicePlan, now: float) -> bytes:
        sent = joint.sent
        assert sent.tables is not None, "there is something to go on from"
        told = announce(sent.tables, plan.mapping) if plan.mapping.changed else sent.tables
        rewriter = PacketRewriter(told, plan.tables, plan.mapping.pids, sent.counters)
        passed = {pid: bisect_left(joint.new.starts.get(pid, []), plan.begin) for pid in plan.starts}
        opening = SpliceIn(plan.starts, plan.tables.program.pcr_pid, passed, rewriter.start, rewriter.skip)
        self._joint, self._new = None, False
        self._rewriter, self._opening, self._opened = rewriter, opening, now
        if plan.decoded is not None:
            rewriter.decode_after(next(iter(plan.starts)), plan.decoded)
        packets = self._open(opening, self._hold.push(bytes(joint.new.data[plan.begin :]), now), now)
        _set_clocks(rewriter, plan, packets, sent.pcr)
        tables = rewriter.tables()
        out = rewriter.rewrite(packets) if packets else b""
        clock = rewriter.clock_offset
        self._report(
            SpliceReport(
                plan.joined,
                now - joint.since,
                ahead(rewriter.offset, 0) / TICKS,
                None if clock is None else ahead(clock, 0) / TICKS,
                plan.repeated,
                plan.begin + opening.dropped,
                plan.mapping.changed,
            )
        )
        return tables + out


def _set_clocks(rewriter: PacketRewriter, plan: SplicePlan, packets: bytes, pcr: int | None) -> None:
    """Choose the offsets so that the clock does not step back and is not ahead of what it is the clock for."""
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
    """The least that a unit's DTS is ahead of the clock, in the source's own time; 0 if that is not known."""
    stretch = PesIndex(packets)
    marks = [(at, pid, number) for pid in plan.mapping.pids for number, at in enumerate(stretch.starts.get(pid, ()))]
    least: int | None = None
    value: int | None = None
    begin = 0
    for at, pid, number in sorted(marks):
        for here in range(begin, at + PACKET_SIZE, PACKET_SIZE):
            if pid_of(packets, here) == clock and has_pcr(packets, here):
                value = read_pcr(packets, here)
        begin = at + PACKET_SIZE
        header = stretch.header(pid, number)
        if value is not None and header is not None and header.dts is not None:
            margin = ahead(header.dts, value)
            least = margin if least is None else min(least, margin)
    return least or 0
