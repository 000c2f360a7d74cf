"""The plan of a splice: how a new source continues, from its first packets and the last packets that were sent.

If the new source repeats packets that were sent, every track continues behind its last unit. Else the new source begins
at a random access point. All of it is moved on the timeline, so that its first picture follows the last one at the
usual distance of pictures.
"""

from __future__ import annotations

from enum import Enum

import attrs

from ..mpegts.packets import PACKET_SIZE, PAT_PID
from ..mpegts.pes import PesIndex
from ..mpegts.psi import Codec
from ..mpegts.psi_tables import PsiTables, lead_up
from ..mpegts.timestamps import TICKS, WRAP, ahead
from .access_points import AccessPoints, AccessUnit
from .allowance import Allowance
from .audio_overlap import AudioOverlap
from .splice_in import TrackStart
from .splice_out import SpliceOut
from .track_mapping import TrackMapping, TrackPair, codec_name, map_tracks
from .video_overlap import OverlapMatch, OverlapSearch, VideoOverlap

#: Seconds to wait for other programs of the source than the one that came first.
CHOICE_TIMEOUT = 0.5
#: Seconds to wait for an overlap in any case.
_MIN_BURST_WAIT = 1.0
#: Two sources with timestamps closer than this are assumed to share a clock, ticks.
_SAME_CLOCK = 30 * TICKS
#: Longest repetition that is preferred to a further wait, ticks, and the seconds after which any is.
_MAX_REPEATED, _REPEAT_TIMEOUT = TICKS, 4.0
#: Largest replay, as a multiple of the bytes that may be kept.
_MAX_REPLAY = 4
#: Last units among which the first one that is needed is searched.
_MAX_SEARCHED_UNITS = 2048


class SpliceKind(Enum):
    """The way in which a source was joined to the packets already sent."""

    OVERLAP = "continues exactly where the last source ended"
    SHIFTED = "begins at a random access point, moved on the timeline"
    LATER = "has the last source's clock; begins at the first random access point not sent yet"
    FRAME = "begins at a whole frame"
    CODEC_CHANGE = "has other codecs"
    FORMAT_CHANGE = "is of another format"
    PLAIN = "passes unchanged: nothing was sent before, or the packets are unreadable"


@attrs.frozen
class SplicePlan:
    """A plan for the new source.

    :ivar kind: way of joining.
    :ivar mapping: tracks that continue.
    :ivar tables: tables of the new source.
    :ivar starts: start of each track, by PID of the new source, the main track first.
    :ivar offset: ticks to add to PTS and DTS.
    :ivar begin: offset of the first packet that a track needs.
    :ivar repeated: units of the main track that were sent before and are not sent again.
    :ivar after_dts: DTS that the first one of the main track must follow, if that is uncertain; else None.
    """

    kind: SpliceKind
    mapping: TrackMapping
    tables: PsiTables
    starts: dict[int, TrackStart]
    offset: int
    begin: int
    repeated: int = 0
    after_dts: int | None = None


class SplicePlanner:
    """The packets of a new source, kept until a plan is found.

    :param sent: last packets that were sent.
    :param since: arrival of the first packets of the source, monotonic seconds.
    :ivar new: packets of the source. Those that players have seen may be dropped.
    :ivar is_busy: True if the last call had not enough allowance for its work.
    """

    def __init__(self, sent: SpliceOut, since: float) -> None:
        self.sent = sent
        self.since = since
        self.new = PesIndex()
        self.is_busy = False
        self._points = AccessPoints(self.new, sent.program)
        self._mapping: TrackMapping | None = None
        self._tables: PsiTables | None = None
        self._video_overlap: VideoOverlap | None = None
        self._audio_overlaps: dict[TrackPair, AudioOverlap] = {}
        # Tracks searched already by a search that goes on in another call.
        self._audio_found: dict[TrackPair, OverlapMatch | OverlapSearch] = {}
        self._overlap_possible = True
        self._first_pts: tuple[int, int | None] | None = None
        # Offset of the first packet that may not be known to the players yet.
        self._seen_before = 0

    @property
    def tables(self) -> PsiTables | None:
        """The tables of the source, as far as it was scanned."""
        return self._points.tables

    @property
    def leading_tables(self) -> PsiTables | None:
        """The tables of the source, with counters that lead up to the first ones in its packets."""
        tables = self.tables
        if tables is None:
            return None
        pat = self._lead_up(PAT_PID, tables.pat)
        return attrs.evolve(tables, pat=pat, pmt=self._lead_up(tables.pmt_pid, tables.pmt))

    def _lead_up(self, pid: int, packets: bytes) -> bytes:
        first = self.new.first_kept(pid)
        if first >= self.new.count(pid):
            return packets
        return lead_up(packets, self.new.data[self.new.starts[pid][first] - self.new.base + 3] & 0x0F)

    @property
    def has_programs(self) -> bool:
        """True if the source has sent a PAT."""
        return self._points.has_programs

    @property
    def is_settled(self) -> bool:
        """True if it is settled which program of the source is followed."""
        return self._points.is_settled

    def append(self, packets: bytes) -> None:
        """Take more packets of the source."""
        self.new.append(packets)

    def take(self, offset: int) -> bytearray:
        """Return the packets from ``offset`` on. The planner gives them away."""
        self.new.drop(offset)
        return self.new.data if isinstance(self.new.data, bytearray) else bytearray(self.new.data)

    def drop_seen(self, limit: int) -> None:
        """Drop packets that players have seen in the last source, if ``limit`` bytes or more are kept.

        A part of the packets is kept before those that players have not seen. Other tracks may start in it.
        """
        new = self.new
        if limit <= len(new.data) and new.size <= _MAX_REPLAY * limit:
            kept = limit // 2 // PACKET_SIZE * PACKET_SIZE
            if self._seen_before - kept > new.base:
                new.drop(self._seen_before - kept)
                self._points.forget_dropped()

    def find_tables(self, allowance: Allowance) -> None:
        """Search the tables of the source. ``is_busy`` is True afterwards if the allowance was too small."""
        self.is_busy = not self._points.scan(allowance, only_tables=True)

    def plan(self, now: float, may_wait: bool, last_chance: bool, allowance: Allowance) -> SplicePlan | None:
        """Find a plan, if the packets so far suffice.

        :param now: monotonic seconds.
        :param may_wait: True to wait for a better access point than the present one.
        :param last_chance: True if no more packets can be waited for.
        :return: None if more packets are needed; after the last chance, None if the source cannot be joined. Also None
            if the allowance was too small. ``is_busy`` is True then, and the result of another call counts.
        """
        self.is_busy = not self._points.scan(allowance)
        return None if self.is_busy else self._plan(now, may_wait, last_chance, allowance)

    def _plan(self, now: float, may_wait: bool, last_chance: bool, allowance: Allowance) -> SplicePlan | None:
        tables = self._points.tables
        is_settled = self.is_settled or now - self.since >= CHOICE_TIMEOUT or last_chance
        if tables is None or self.sent.tables is None or not is_settled:
            return None
        if self._tables is None or self._tables.program != tables.program:
            self._tables = tables
            self._mapping = map_tracks(self.sent.tables.program, tables.program)
            self._video_overlap = None
            self._audio_overlaps, self._audio_found = {}, {}
            allowance.spend(10 * len(tables.program.streams))
        mapping = self._mapping
        if mapping is None or not mapping.pairs:
            return None
        if self._overlap_possible and not mapping.changed:
            overlap = self._find_overlap(mapping, tables, last_chance, allowance)
            if overlap is not OverlapSearch.BUSY:
                self._audio_found = {}
            if overlap is OverlapSearch.WAITING and not last_chance:
                if self._arrives_in_burst(mapping, now - self.since):
                    return None
                overlap = self._find_overlap(mapping, tables, True, allowance)
            if overlap is OverlapSearch.BUSY:
                self.is_busy = True
                return None
            if isinstance(overlap, SplicePlan):
                return overlap
            self._overlap_possible = False
        return self._shift(mapping, tables, now - self.since, may_wait, last_chance, allowance)

    # overlap: the source repeats packets that were sent

    def _find_overlap(
        self, mapping: TrackMapping, tables: PsiTables, last_chance: bool, allowance: Allowance
    ) -> SplicePlan | OverlapSearch:
        main = mapping.video
        if main is None:
            return self._find_audio_overlap(mapping, tables, allowance)
        if self._video_overlap is None:
            self._video_overlap = VideoOverlap(self.sent.pes, main.sent.pid, self.new, main.new.pid)
        match = self._video_overlap.search(allowance, last_chance)
        if isinstance(match, OverlapSearch):
            if match is OverlapSearch.WAITING:
                self._note_seen(main)
            return match
        starts = {main.new.pid: TrackStart(number=match.number)}
        for pair in mapping.pairs:
            if pair is main:
                continue
            start = self._start_after(pair, match.offset, allowance)
            if start is OverlapSearch.BUSY or (start is OverlapSearch.WAITING and not last_chance):
                return start
            if isinstance(start, OverlapSearch):
                start = self._start_by_time(pair, match.offset)
            starts[pair.new.pid] = start
        return SplicePlan(
            SpliceKind.OVERLAP, mapping, tables, starts, match.offset, self._first_needed_offset(starts), match.units
        )

    def _note_seen(self, main: TrackPair) -> None:
        """Record that all complete units of the main track so far were sent before."""
        starts = self.new.starts.get(main.new.pid)
        self._seen_before = starts[-1] if starts else 0

    def _arrives_in_burst(self, mapping: TrackMapping, waited: float) -> bool:
        """Return True to wait for the end of an overlap: a replay arrives much faster than it is played.

        Data that arrives at the speed of playback is the next lap of a loop. Waiting for it would stop the players for
        as long as they have seen it before.
        """
        main = self._main_pair(mapping)
        timestamps = [] if main is None else self._first_and_last_pts(main)
        if waited < _MIN_BURST_WAIT or main is None:
            return True
        return len(timestamps) == 2 and ahead(timestamps[1], timestamps[0]) >= 2 * waited * TICKS

    def _first_and_last_pts(self, main: TrackPair) -> list[int]:
        """Return the PTS of the first and the last unit of a track that have arrived, as far as they have one."""
        pid, count = main.new.pid, self.new.count(main.new.pid)
        if not count:
            return []
        if self._first_pts is None or self._first_pts[0] != pid or self._first_pts[1] is None:
            self._first_pts = pid, self._pts(pid, self.new.first_kept(pid))
        return [pts for pts in (self._first_pts[1], self._pts(pid, count - 1)) if pts is not None]

    def _pts(self, pid: int, number: int) -> int | None:
        header = self.new.header(pid, number) if self.new.first_kept(pid) <= number < self.new.count(pid) else None
        return None if header is None else header.pts

    def _find_audio_overlap(
        self, mapping: TrackMapping, tables: PsiTables, allowance: Allowance
    ) -> SplicePlan | OverlapSearch:
        main = next(iter(mapping.audio), None)
        if main is None:
            return OverlapSearch.NONE
        match = self._match_audio(main, None, allowance)
        if isinstance(match, OverlapSearch):
            return match
        starts = {main.new.pid: TrackStart(number=match.number, skip=match.skip)}
        for pair in mapping.pairs:
            if pair is not main:
                starts[pair.new.pid] = self._start_by_time(pair, match.offset)
        return SplicePlan(
            SpliceKind.OVERLAP, mapping, tables, starts, match.offset, self._first_needed_offset(starts), match.units
        )

    def _match_audio(self, pair: TrackPair, offset: int | None, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        overlap = self._audio_overlaps.get(pair)
        if overlap is None:
            sent, name = self.sent.pes, codec_name(pair.sent)
            overlap = self._audio_overlaps[pair] = AudioOverlap(sent, pair.sent.pid, self.new, pair.new.pid, name)
        return overlap.search(offset, allowance)

    def _start_after(self, pair: TrackPair, offset: int, allowance: Allowance) -> TrackStart | OverlapSearch:
        """Return the start of another track than the main one, or the reason why it is not known."""
        if pair.sent.codec is not Codec.AUDIO:
            return OverlapSearch.NONE
        match = self._audio_found.get(pair) or self._match_audio(pair, offset, allowance)
        if match is not OverlapSearch.BUSY:
            self._audio_found[pair] = match
        return TrackStart(number=match.number, skip=match.skip) if isinstance(match, OverlapMatch) else match

    def _start_by_time(self, pair: TrackPair, offset: int) -> TrackStart:
        """Return a start at the end of the sent track. If nothing of the track was sent, start at its next unit."""
        end = self.sent.end_of(pair.sent)
        if end is None:
            return TrackStart()
        if pair.sent.codec is Codec.AUDIO:
            return TrackStart(pts=(end.due - offset) % WRAP, codec=codec_name(pair.sent))
        return TrackStart(pts=(end.pts + 1 - offset) % WRAP)

    def _first_needed_offset(self, starts: dict[int, TrackStart]) -> int:
        """Return an offset before which no track begins."""
        needed = [self.new.size]
        searched = _MAX_SEARCHED_UNITS
        for pid, start in starts.items():
            starts_of_pid = self.new.starts.get(pid, [])
            if start.number is not None:
                needed += starts_of_pid[start.number : start.number + 1]
            elif start.pts is not None:
                number = self._last_before(pid, start.pts, searched)
                searched -= self.new.count(pid) - number
                needed += starts_of_pid[number:][:1]
        return max(min(needed), self.new.base)

    def _last_before(self, pid: int, pts: int, searched: int) -> int:
        """Return the number of the last unit due by ``pts``; the first unit if it is not among the last units."""
        first = self.new.first_kept(pid)
        for number in range(self.new.count(pid) - 1, max(self.new.count(pid) - searched, first) - 1, -1):
            unit_pts = self._pts(pid, number)
            if unit_pts is not None and ahead(unit_pts, pts) <= 0:
                return number
        return first

    # no overlap: the source begins at a random access point

    def _shift(
        self,
        mapping: TrackMapping,
        tables: PsiTables,
        waited: float,
        may_wait: bool,
        last_chance: bool,
        allowance: Allowance,
    ) -> SplicePlan | None:
        main = self._main_pair(mapping)
        if main is None:
            return None
        # If the timestamps of pictures are unreadable (all scrambled), the pictures continue with the audio.
        ends = (self.sent.end_of(pair.sent) for pair in (main, *mapping.audio))
        end = next((each for each in ends if each is not None), None)
        if end is None:
            return None
        self._points.follow(main.new.pid, main.new.codec)
        self.is_busy = not self._points.examine(allowance)
        if self.is_busy:
            return None
        number = self._start_unit(main, end.pts, waited, may_wait, last_chance)
        header = None if number is None else self.new.header(main.new.pid, number)
        if number is None or header is None or header.pts is None:
            return None
        offset = (end.due - header.pts) % WRAP
        is_video = main.sent.codec.is_video
        starts = {
            main.new.pid: TrackStart(number=number, drop_leading=is_video, break_link=main.new.codec is Codec.HEVC)
        }
        for pair in mapping.pairs:
            if pair is not main:
                by_time = pair.sent.codec is Codec.AUDIO
                starts[pair.new.pid] = self._start_by_time(pair, offset) if by_time else TrackStart()
        kind = (
            SpliceKind.CODEC_CHANGE
            if mapping.changed
            else SpliceKind.LATER
            if self._shares_clock(main, end.pts) and ahead(header.pts, end.pts) > 0
            else SpliceKind.SHIFTED
        )
        return SplicePlan(kind, mapping, tables, starts, offset, self._first_needed_offset(starts), after_dts=end.dts)

    def _main_pair(self, mapping: TrackMapping) -> TrackPair | None:
        """Return the track whose time decides: the first video of which units were sent, else the first audio."""
        pairs = [pair for pair in (mapping.video, *mapping.audio) if pair is not None]
        return next((pair for pair in pairs if self.sent.pes.count(pair.sent.pid)), None)

    def _shares_clock(self, main: TrackPair, sent: int) -> bool:
        """Return True if the source has the sent clock and begins with what was sent: ``sent`` is its last PTS."""
        timestamps = self._first_and_last_pts(main)
        return len(timestamps) == 2 and 0 < ahead(sent, timestamps[0]) < _SAME_CLOCK

    def _catches_up(self, main: TrackPair, sent: int, waited: float) -> bool:
        """Return True if a source with the sent clock arrives fast enough to pass what was sent."""
        first, last = self._first_and_last_pts(main)
        return ahead(sent, last) < TICKS / 2 or ahead(last, first) >= 2 * waited * TICKS

    def _start_unit(self, main: TrackPair, sent: int, waited: float, may_wait: bool, last_chance: bool) -> int | None:
        """Return the number of the unit to begin with, the nearest to what was sent; None if there is none yet.

        A source that shares the clock and catches up begins behind what was sent, so that nothing is shown twice. If no
        unit behind it comes in time, the last one before it is used.
        """
        follows = self._shares_clock(main, sent) and self._catches_up(main, sent, waited)
        units = self._points.choose(sent if follows else None)
        needs_idr = may_wait and not self._points.lacks_idr
        later = self._prefer(units.later_clean, units.later, needs_idr)
        if later is not None:
            return later.number
        earlier = self._prefer(units.earlier_clean, units.earlier, needs_idr)
        if follows and not last_chance:
            repeated = 0 if earlier is None or earlier.pts is None else ahead(sent, earlier.pts)
            if may_wait or (repeated > _MAX_REPEATED and waited < _REPEAT_TIMEOUT):
                self._note_seen(main)
                return None
        if earlier is not None:
            return earlier.number
        first = self.new.first_kept(main.new.pid)
        return first if last_chance and self.new.count(main.new.pid) > first + 1 else None

    def _prefer(self, clean: AccessUnit | None, any_unit: AccessUnit | None, needs_idr: bool) -> AccessUnit | None:
        """Return the unit with an IDR picture if it is needed or one has come, else any unit."""
        if needs_idr:
            return clean
        return any_unit if self._points.lacks_idr else clean or any_unit
