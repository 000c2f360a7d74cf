"""How a new source goes on from what was sent: decided from the first packets of the one and the last of the other.

Either the new source brings again what was sent: then every track goes on after its last unit. Or it does not:
then it begins at a random access point, and all of it is moved on the timeline so that its first picture follows
the last one by as much as pictures do.
"""

from __future__ import annotations

from enum import Enum

import attrs

from m3uproxy.core.mpegts.access_index import AccessIndex
from m3uproxy.core.mpegts.pes import PesIndex
from m3uproxy.core.mpegts.psi import Codec
from m3uproxy.core.mpegts.psi_tables import PsiTables, tables_in_force
from m3uproxy.core.mpegts.random_access import NAL_UNITS, AccessKind, first_picture
from m3uproxy.core.mpegts.timestamps import TICKS, WRAP, ahead
from m3uproxy.core.splice.audio_overlap import AudioOverlap
from m3uproxy.core.splice.splice_in import TrackStart
from m3uproxy.core.splice.splice_out import SpliceOut
from m3uproxy.core.splice.track_mapping import TrackMapping, TrackPair, codec_name, map_tracks
from m3uproxy.core.splice.video_overlap import OverlapMatch, OverlapSearch, VideoOverlap

#: Seconds that an overlap is waited for in any case.
_MIN_BURST_WAIT = 1.0
#: Two sources whose stamps are nearer than this are taken to have the same clock, ticks.
_SAME_CLOCK = 30 * TICKS


class SpliceKind(Enum):
    """How a source was joined to what was sent."""

    OVERLAP = "goes on exactly where the last source ended"
    SHIFTED = "begins at a random access point, moved on the timeline"
    LATER = "has the last source's clock; begins at the first random access point not sent yet"
    FRAME = "begins at a whole frame"
    CODEC_CHANGE = "has other codecs"
    FORMAT_CHANGE = "is of another format"
    PLAIN = "passes as it is: nothing to go on from, or nothing that can be read"


@attrs.frozen
class SplicePlan:
    """A way to go on.

    :ivar starts: where each track begins, by PID of the new source, the main track first.
    :ivar offset: ticks to add to PTS and DTS.
    :ivar begin: offset of the first packet that any track needs.
    :ivar repeated: units of the main track that were sent before and are not sent again.
    :ivar after_dts: DTS that the main track's first one must follow, if that is not certain.
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
    """Packets of a new source, until it is known how it goes on from what was sent.

    :param since: when its first packets came, monotonic seconds.
    """

    def __init__(self, sent: SpliceOut, since: float) -> None:
        self.sent = sent
        self.since = since
        self.new = PesIndex()
        self._index = AccessIndex()
        self._points: list[tuple[int, AccessKind]] = []
        self._mapping: TrackMapping | None = None
        self._tables: PsiTables | None = None
        self._video_overlap: VideoOverlap | None = None
        self._audio_overlaps: dict[TrackPair, AudioOverlap] = {}
        self._overlap_possible = True

    def append(self, packets: bytes) -> None:
        """Take more of the source."""
        base = len(self.new.data)
        self.new.append(packets)
        known = self._index.program_map is not None
        points = self._index.scan(packets)
        if not known and self._index.program_map is not None:
            base, points = 0, self._index.scan(bytes(self.new.data))
        self._points += [(base + point.offset, point.kind) for point in points]

    def plan(self, now: float, may_wait: bool, last_chance: bool) -> SplicePlan | None:
        """Decide, if that is possible by now.

        :param now: monotonic seconds.
        :param may_wait: whether to wait for a better access point than there is.
        :param last_chance: no more may be waited for.
        :return: None if more is needed; after the last chance: if it cannot be joined.
        """
        tables = tables_in_force(self._index)
        if tables is None or self.sent.tables is None:
            return None
        if self._tables is None or self._tables.program != tables.program:
            self._tables = tables
            self._mapping = map_tracks(self.sent.tables.program, tables.program)
            self._video_overlap = None
            self._audio_overlaps = {}
        mapping = self._mapping
        if mapping is None or not mapping.pairs:
            return None
        if self._overlap_possible and not mapping.changed:
            overlap = self._find_overlap(mapping, tables, last_chance)
            if overlap is OverlapSearch.WAITING and not last_chance:
                if self._arrives_in_burst(mapping, now - self.since):
                    return None
                overlap = self._find_overlap(mapping, tables, True)
            if isinstance(overlap, SplicePlan):
                return overlap
            self._overlap_possible = False
        return self._shift(mapping, tables, now - self.since, may_wait, last_chance)

    # overlap

    def _find_overlap(self, mapping: TrackMapping, tables: PsiTables, last_chance: bool) -> SplicePlan | OverlapSearch:
        main = mapping.video
        if main is None:
            return self._find_audio_overlap(mapping, tables)
        if self._video_overlap is None:
            self._video_overlap = VideoOverlap(self.sent.pes, main.sent.pid, self.new, main.new.pid)
        match = self._video_overlap.search(last_chance)
        if isinstance(match, OverlapSearch):
            return match
        starts = {main.new.pid: TrackStart(number=match.number)}
        for pair in mapping.pairs:
            if pair is main:
                continue
            start = self._start_after(pair, match.offset)
            if start is None and not last_chance:
                return OverlapSearch.WAITING
            starts[pair.new.pid] = start or self._start_by_time(pair, match.offset)
        return SplicePlan(
            SpliceKind.OVERLAP, mapping, tables, starts, match.offset, self._first_needed_offset(starts), match.units
        )

    def _arrives_in_burst(self, mapping: TrackMapping, waited: float) -> bool:
        """Whether to wait for the end of an overlap: replays come much faster than they are played.

        What comes as it is played is a loop's next lap, or would keep the players waiting for as long as they have
        seen it before.
        """
        main = self._main_pair(mapping)
        if waited < _MIN_BURST_WAIT or main is None:
            return True
        timestamps = self._first_and_last_pts(main)
        return len(timestamps) == 2 and ahead(timestamps[1], timestamps[0]) >= 2 * waited * TICKS

    def _first_and_last_pts(self, main: TrackPair) -> list[int]:
        """PTS of the first and of the last unit of a track that have come, as far as they have any."""
        count = self.new.count(main.new.pid)
        headers = [self.new.header(main.new.pid, number) for number in (0, count - 1)] if count else []
        return [header.pts for header in headers if header is not None and header.pts is not None]

    def _find_audio_overlap(self, mapping: TrackMapping, tables: PsiTables) -> SplicePlan | OverlapSearch:
        main = next(iter(mapping.audio), None)
        if main is None:
            return OverlapSearch.NONE
        match = self._match_audio(main, None)
        if isinstance(match, OverlapSearch):
            return match
        starts = {main.new.pid: TrackStart(number=match.number, skip=match.skip)}
        for pair in mapping.pairs:
            if pair is not main:
                starts[pair.new.pid] = self._start_by_time(pair, match.offset)
        return SplicePlan(
            SpliceKind.OVERLAP, mapping, tables, starts, match.offset, self._first_needed_offset(starts), match.units
        )

    def _match_audio(self, pair: TrackPair, offset: int | None) -> OverlapMatch | OverlapSearch:
        overlap = self._audio_overlaps.get(pair)
        if overlap is None:
            sent, name = self.sent.pes, codec_name(pair.sent)
            overlap = self._audio_overlaps[pair] = AudioOverlap(sent, pair.sent.pid, self.new, pair.new.pid, name)
        return overlap.search(offset)

    def _start_after(self, pair: TrackPair, offset: int) -> TrackStart | None:
        """Where a further track goes on; None if that has not come yet."""
        if pair.sent.codec is not Codec.AUDIO:
            return self._start_by_time(pair, offset)
        match = self._match_audio(pair, offset)
        if match is OverlapSearch.WAITING:
            return None
        if isinstance(match, OverlapMatch):
            return TrackStart(number=match.number, skip=match.skip)
        return self._start_by_time(pair, offset)

    def _start_by_time(self, pair: TrackPair, offset: int) -> TrackStart:
        """At the end of what was sent of a track; if nothing was, at its next unit."""
        end = self.sent.end_of(pair.sent)
        if end is None:
            return TrackStart()
        if pair.sent.codec is Codec.AUDIO:
            return TrackStart(pts=(end.due - offset) % WRAP, codec=codec_name(pair.sent))
        return TrackStart(pts=(end.pts + 1 - offset) % WRAP)

    def _first_needed_offset(self, starts: dict[int, TrackStart]) -> int:
        """Offset before which no track begins."""
        needed = [len(self.new.data)]
        for pid, start in starts.items():
            starts_of_pid = self.new.starts.get(pid, [])
            if start.number is not None:
                needed += starts_of_pid[start.number : start.number + 1]
            elif start.pts is not None:
                needed += starts_of_pid[self._last_before(pid, start.pts) :][:1]
        return min(needed)

    def _last_before(self, pid: int, pts: int) -> int:
        """Number of the last unit that is due by then; the first unit if none is."""
        for number in reversed(range(self.new.count(pid))):
            header = self.new.header(pid, number)
            if header is not None and header.pts is not None and ahead(header.pts, pts) <= 0:
                return number
        return 0

    # no overlap

    def _shift(
        self, mapping: TrackMapping, tables: PsiTables, waited: float, may_wait: bool, last_chance: bool
    ) -> SplicePlan | None:
        main = self._main_pair(mapping)
        if main is None:
            return None
        # Pictures whose stamps cannot be read (all are scrambled) go on where the sound does.
        ends = (self.sent.end_of(pair.sent) for pair in (main, *mapping.audio))
        end = next((each for each in ends if each is not None), None)
        if end is None:
            return None
        after = end.pts if may_wait and self._catches_up(main, end.pts, waited) else None
        number = self._start_unit(main, after, may_wait, last_chance)
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
            if after is not None
            else SpliceKind.SHIFTED
        )
        return SplicePlan(kind, mapping, tables, starts, offset, self._first_needed_offset(starts), after_dts=end.dts)

    def _main_pair(self, mapping: TrackMapping) -> TrackPair | None:
        """The track whose time counts: the first video of which something was sent, else the first audio."""
        pairs = [pair for pair in (mapping.video, *mapping.audio) if pair is not None]
        return next((pair for pair in pairs if self.sent.pes.count(pair.sent.pid)), None)

    def _catches_up(self, main: TrackPair, sent: int, waited: float) -> bool:
        """Whether the source has the clock of what was sent, is behind it, and comes fast enough to get beyond."""
        timestamps = self._first_and_last_pts(main)
        if len(timestamps) < 2 or not 0 < ahead(sent, timestamps[0]) < _SAME_CLOCK:
            return False
        return ahead(sent, timestamps[1]) < TICKS / 2 or ahead(timestamps[1], timestamps[0]) >= 2 * waited * TICKS

    def _start_unit(self, main: TrackPair, after: int | None, may_wait: bool, last_chance: bool) -> int | None:
        """Number of the unit to begin with."""
        starts = self.new.starts.get(main.new.pid, [])
        fallback: int | None = None
        for offset, kind in self._points:
            if offset not in starts:
                continue
            number = starts.index(offset)
            if not self.new.is_whole(main.new.pid, number) or not self._is_after(main, number, after):
                continue
            if self._access_kind(main, number, kind) is AccessKind.IDR or main.new.codec is not Codec.H264:
                return number
            fallback = number if fallback is None else fallback
        if fallback is not None and (not may_wait or last_chance):
            return fallback
        return 0 if last_chance and len(starts) > 1 else None

    def _is_after(self, main: TrackPair, number: int, after: int | None) -> bool:
        header = self.new.header(main.new.pid, number)
        return after is None or header is None or header.pts is None or ahead(header.pts, after) > 0

    def _access_kind(self, main: TrackPair, number: int, kind: AccessKind) -> AccessKind:
        """What the first picture is, looked up in the whole unit if its first packet does not show it."""
        units = NAL_UNITS.get(main.new.codec)
        if kind is not AccessKind.UNKNOWN or units is None:
            return kind
        content = self.new.content(main.new.pid, number)
        return first_picture(content, 0, len(content), units, True) or kind
