"""The choice of the program that is followed, among those that a PAT names, and of the stream to start at.

A PAT may name programs that are not sent: tuners and relays filter PIDs, but keep the PAT. A program counts if its PMT
comes, and its streams. Programs whose video comes are preferred, then the order of the PAT decides. All of this becomes
known packet by packet, so the choice may change until it is settled. It is settled if

- there is no other program, or
- its video comes, and no program before it in the PAT has video, or
- its PMT has come again since its streams came. Until then the other programs had the time to come, too.

A program that players know already is preferred as soon as its streams come. A settled choice changes if the PAT no
longer names the program, or if its streams stop while those of another program come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from .psi import Codec, ProgramMap

#: Repetitions of the PMT after which a program is settled: with video, and without.
_REPEATS_WITH_VIDEO, _REPEATS_WITHOUT_VIDEO = 1, 3
#: Repetitions of the PAT without a stream of the program, but with one of another, after which it is left.
_ABSENT_ROUNDS = 50
#: Repetitions of the PAT after which a later stream replaces the first one, and audio video, if these do not come.
_ROUNDS_FOR_FIRST, _ROUNDS_FOR_VIDEO = 2, 20


@attrs.frozen
class _Candidate:
    """A program whose PMT is known, with the PIDs of its video and audio in order."""

    program_map: ProgramMap
    video: tuple[int, ...]
    audio: tuple[int, ...]


class ProgramChoice:
    """The choice for one source.

    :ivar programs: program number -> PID of its PMT, in the order of the PAT.
    :ivar followed: number of the program that is followed; None before the first PMT.
    :ivar settled: True if the choice does not depend on packets that are yet to come.
    :ivar main_pid: PID of the stream to start at.
    :ivar recent: PIDs on which units have started since the last PAT.
    """

    __slots__ = (
        "_absent_rounds",
        "_candidates",
        "_is_certain",
        "_preferred",
        "_repeats",
        "_rounds",
        "_seen",
        "followed",
        "main_pid",
        "programs",
        "recent",
        "settled",
    )

    def __init__(self, preferred: int | None = None, is_certain: bool = False) -> None:
        """Start without programs.

        :param preferred: number of the program that players know.
        :param is_certain: True to follow that program as soon as its PMT is known.
        """
        self._preferred = preferred
        self._is_certain = is_certain
        self.programs: dict[int, int] = {}
        self._candidates: dict[int, _Candidate] = {}
        self._seen: set[int] = set()
        self.recent: set[int] = set()
        self._repeats = self._rounds = self._absent_rounds = 0
        self.followed: int | None = None
        self.main_pid: int | None = None
        self.settled = False

    @property
    def needs_units(self) -> bool:
        """True if :meth:`unit_started` must be called for units whose PID is not among the recent ones."""
        if not self.settled or len(self.programs) > 1:
            return True
        streams = self._followed_streams()
        return bool(streams) and (streams[0] != self.main_pid or self.main_pid not in self._seen)

    @property
    def program_map(self) -> ProgramMap | None:
        """The PMT of the program that is followed."""
        candidate = None if self.followed is None else self._candidates.get(self.followed)
        if candidate is None or candidate.program_map.main_pid == self.main_pid:
            return None if candidate is None else candidate.program_map
        return attrs.evolve(candidate.program_map, main_pid=self.main_pid)

    @property
    def sent_programs(self) -> list[int]:
        """The numbers of the programs of which streams have come."""
        return [program for program in self.programs if self._arrival(program)]

    def set_programs(self, programs: Mapping[int, int]) -> None:
        """Take a new PAT. Programs that stay on their PID keep their maps."""
        known = {program for program in self._candidates if programs.get(program) == self.programs[program]}
        self._candidates = {program: self._candidates[program] for program in self._candidates if program in known}
        self.programs = dict(programs)
        self._seen = set(self.recent) | self._seen.intersection(self._all_pids())
        if self.followed not in known:
            self._open()
        self._choose()

    def set_map(self, program: int, program_map: ProgramMap | None) -> None:
        """Take a new PMT of a program of the PAT; None if it is unreadable."""
        if program_map is None:
            self._candidates.pop(program, None)
        else:
            streams = program_map.streams
            video = tuple(stream.pid for stream in streams if stream.codec.is_video)
            audio = tuple(stream.pid for stream in streams if stream.codec is Codec.AUDIO)
            first = next(iter(video + audio), None)
            self._candidates[program] = _Candidate(attrs.evolve(program_map, main_pid=first), video, audio)
        if program == self.followed:
            self._rounds = 0
            if program_map is None:
                self._open()
        self._choose()

    def pat_repeated(self) -> None:
        """Note that the PAT has come again: a round in which each program had the time to come."""
        self._rounds += 1
        if self.settled and len(self.programs) > 1:
            self._note_absence()
        self.recent.clear()
        self._choose()

    def map_repeated(self, program: int) -> None:
        """Note that the PMT of a program has come again."""
        if program != self.followed or self.settled or not self._arrival(program):
            return
        self._repeats += 1
        has_video = self._arrival(program) == 2
        self.settled = self._repeats >= (_REPEATS_WITH_VIDEO if has_video else _REPEATS_WITHOUT_VIDEO)

    def unit_started(self, pid: int) -> None:
        """Note that a unit has started on a PID that is not among the recent ones."""
        self.recent.add(pid)
        if pid not in self._seen:
            self._seen.add(pid)
            self._choose()

    def _open(self) -> None:
        """Begin to choose again."""
        self.followed = self.main_pid = None
        self.settled = False
        self._repeats = self._rounds = self._absent_rounds = 0

    def _choose(self) -> None:
        if not self.settled:
            known = [program for program in self.programs if program in self._candidates]
            best = max(known, key=self._rank, default=None)
            if best != self.followed:
                self._open()
            self.followed = best
            self.settled = best is not None and self._is_final(best)
        self.main_pid = self._choose_main()

    def _rank(self, program: int) -> tuple[bool, bool, bool, bool]:
        arrival = self._arrival(program)
        is_preferred = program == self._preferred and (arrival > 0 or self._is_certain)
        return is_preferred, arrival > 0, arrival == 2, bool(self._candidates[program].video)

    def _arrival(self, program: int) -> int:
        """Return 2 if video of a program has come, 1 if only audio has, else 0."""
        candidate = self._candidates.get(program)
        if candidate is None:
            return 0
        if not self._seen.isdisjoint(candidate.video):
            return 2
        return int(not self._seen.isdisjoint(candidate.audio))

    def _is_final(self, program: int) -> bool:
        """Return True if no other program can be better."""
        if len(self.programs) == 1 or (self._is_certain and program == self._preferred):
            return True
        candidate, arrival = self._candidates[program], self._arrival(program)
        if arrival < (2 if candidate.video else 1):
            return False
        if program == self._preferred or arrival < 2:
            return program == self._preferred
        if self._preferred in self.programs:
            return False
        numbers = list(self.programs)
        before = numbers[: numbers.index(program)]
        return all(each in self._candidates and not self._candidates[each].video for each in before)

    def _note_absence(self) -> None:
        """Begin to choose again if only streams of other programs have come for many rounds."""
        followed = self._followed_streams()
        if not self.recent.isdisjoint(followed):
            self._absent_rounds = 0
        elif not self.recent.isdisjoint(self._all_pids()):
            self._absent_rounds += 1
        if self._absent_rounds >= _ABSENT_ROUNDS:
            self._seen, self._preferred = set(self.recent), None
            self._open()

    def _followed_streams(self) -> tuple[int, ...]:
        """Return the PIDs of the program that is followed, video first."""
        candidate = None if self.followed is None else self._candidates.get(self.followed)
        return () if candidate is None else candidate.video + candidate.audio

    def _all_pids(self) -> set[int]:
        return {pid for each in self._candidates.values() for pid in each.video + each.audio}

    def _choose_main(self) -> int | None:
        """Return the PID of the first video that comes; of audio, if there is no video."""
        candidate = None if self.followed is None else self._candidates.get(self.followed)
        if candidate is None:
            return None
        video, audio = self._first_that_comes(candidate.video), self._first_that_comes(candidate.audio)
        if video is not None and (video in self._seen or audio not in self._seen or self._rounds < _ROUNDS_FOR_VIDEO):
            return video
        return audio

    def _first_that_comes(self, pids: Sequence[int]) -> int | None:
        """Return the first PID, or a later one that has come if the first one did not come in time."""
        if not pids or pids[0] in self._seen or self._rounds < _ROUNDS_FOR_FIRST:
            return pids[0] if pids else None
        if self.main_pid in pids and self.main_pid in self._seen:
            return self.main_pid
        return next((pid for pid in pids if pid in self._seen), pids[0])
