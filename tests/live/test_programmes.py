"""Programmes in live streams: bodies that end, and bodies that come faster than real time."""

from __future__ import annotations

import re

import pytest
from fakes import FakeBody, Programme, Relay

from m3uproxy.core.body_kind import KindMismatch
from m3uproxy.core.stream_kind import StreamKind
from m3uproxy.errors import Reason, SourceError
from m3uproxy.live.read_gate import ENOUGH
from m3uproxy.live.stream import LiveStream
from m3uproxy.streams.base import Stream

RESET = SourceError(Reason.RESET)
HINTED = "http://provider/streaming/timeshift.php?stream=1"
PLAIN = "http://provider/live/1.ts"
BACKUP = "http://backup/live/1.ts"


def programme(seconds: int, name: bytes = b"A", size: int = 4000) -> list[bytes]:
    """Return a programme in parts of one second: 25 pictures of 40 ms, the first one a key picture."""
    made = Programme(name)
    return [made.group(25, size) for _ in range(seconds)]


def pictures(media: bytes) -> list[int]:
    """Return the numbers of the pictures in their order."""
    numbers = [int(number) for number in re.findall(rb"A(\d{8})\.", media)]
    return [number for at, number in enumerate(numbers) if not at or numbers[at - 1] != number]


def deliver(relay: Relay, body: FakeBody, parts: list[bytes], pace: float = 0.0) -> None:
    """Deliver parts of a programme, with ``pace`` seconds for each."""
    for part in parts:
        body.bring(part)
        if pace:
            relay.pass_time(pace)


class ProgrammeRig(Relay):
    """A stream with a player, whose first source has been dialled."""

    def __init__(self, *urls: str, length: int | None = None, speed: float | None = None, joined: bool = False) -> None:
        super().__init__()
        self.live = self.live_stream(*urls)
        self.viewer = self.player(self.live, speed=speed)
        body = FakeBody()
        body.joined = joined
        self.body = self.dialler.last.answer(body, length)

    def live_stream(self, url: str, *failover: str) -> LiveStream:
        """Return a live stream, also if its URL has a hint for a file."""
        stream: Stream = self.stream(url, *failover)
        if not isinstance(stream, LiveStream):
            changed = self.registry.change_kind(stream, KindMismatch(Reason.OTHER_KIND, kind=StreamKind.LIVE, url=url))
            assert isinstance(changed, LiveStream)
            stream = changed
        return stream

    def finish(self, seconds: float = 5.0) -> None:
        """Let the players read what is left."""
        self.settle()
        self.pass_time(seconds)


# the end


@pytest.mark.parametrize(("url", "length"), [(HINTED, None), (PLAIN, 1_000_000), (HINTED, 1_000_000)])
def test_a_known_programme_ends_with_its_body(url: str, length: int | None) -> None:
    parts = programme(8)
    rig = ProgrammeRig(url, length=length)
    deliver(rig, rig.body, parts, 0.2)
    rig.body.end()
    rig.finish()
    assert rig.viewer.finished
    assert rig.viewer.media == b"".join(parts), "also the tables before the first picture, and the last picture"
    assert rig.dialler.urls == [url]
    assert not rig.live.session.active
    assert rig.live.clients() == []
    rig.nothing_left()


def test_the_next_player_starts_the_programme_anew() -> None:
    parts = programme(8)
    rig = ProgrammeRig(HINTED)
    for _ in range(2):
        deliver(rig, rig.dialler.last.body, parts, 0.2)
        rig.dialler.last.body.end()
        rig.finish()
        assert rig.viewer.media == b"".join(parts)
        rig.viewer = rig.player(rig.live)
        rig.dialler.last.answer()
    assert len(rig.dialler.urls) == 3


def test_a_programme_of_unknown_length_is_asked_for_twice_and_played_once() -> None:
    parts = programme(70)
    rig = ProgrammeRig(PLAIN)
    deliver(rig, rig.body, parts, 0.2)
    rig.body.end()
    rig.settle()
    again = rig.dialler.last.answer()
    assert again is not rig.body
    assert not rig.viewer.finished
    deliver(rig, again, parts[:3], 0.2)
    rig.finish()
    assert rig.viewer.finished
    assert rig.viewer.media == b"".join(parts)
    assert rig.dialler.urls == [PLAIN, PLAIN]
    assert again.closed


def test_a_short_programme_is_compared_to_its_end() -> None:
    parts = programme(4, size=300)
    rig = ProgrammeRig(PLAIN)
    deliver(rig, rig.body, parts, 0.5)
    rig.body.end()
    rig.settle()
    again = rig.dialler.last.answer()
    deliver(rig, again, parts, 0.5)
    assert not rig.viewer.finished
    again.end()
    rig.finish()
    assert rig.viewer.finished
    assert rig.viewer.media == b"".join(parts)
    assert len(rig.dialler.urls) == 2


def test_other_bytes_after_a_clean_end_are_a_live_stream() -> None:
    rig = ProgrammeRig(PLAIN)
    parts = programme(60)
    for number in range(6):
        deliver(rig, rig.dialler.last.body, parts[number * 10 : number * 10 + 10], 1)
        rig.dialler.last.body.end()
        rig.pass_time(0.1)
        rig.dialler.last.answer()
    rig.finish()
    assert not rig.viewer.finished
    numbers = pictures(rig.viewer.media)
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= 1500 - 6, "an incomplete picture for each connection"
    assert len(rig.dialler.urls) == 7


def test_a_part_of_the_beginning_is_never_played_again() -> None:
    parts = programme(20)
    rig = ProgrammeRig(PLAIN)
    deliver(rig, rig.body, parts, 1)
    size = len(rig.viewer.media)
    rig.body.end()
    rig.pass_time(0.1)
    again = rig.dialler.last.answer()
    again.bring(parts[0][:9400])
    again.end(RESET)
    rig.pass_time(2)
    assert rig.viewer.media[size:] == b"".join(parts)[size : len(rig.viewer.media)]
    assert rig.dialler.urls == [PLAIN, PLAIN, PLAIN]
    assert not rig.viewer.finished
    deliver(rig, rig.dialler.last.answer(), parts[:3], 0.2)
    rig.finish()
    assert rig.viewer.media == b"".join(parts)
    assert rig.viewer.finished


def test_a_reset_is_not_the_end_of_a_programme() -> None:
    rig = ProgrammeRig(PLAIN, length=10_000_000)
    deliver(rig, rig.body, programme(5), 0.5)
    rig.body.end(RESET)
    rig.finish()
    assert rig.viewer.transport.aborted
    assert not rig.viewer.finished
    assert rig.dialler.urls == [PLAIN], "the provider would send it from its beginning"


def test_a_programme_that_broke_off_is_not_played_from_its_beginning() -> None:
    parts = programme(20)
    rig = ProgrammeRig(HINTED)
    deliver(rig, rig.body, parts, 1)
    rig.body.end(RESET)
    rig.pass_time(0.1)
    size = len(rig.viewer.media)
    deliver(rig, rig.dialler.last.answer(), parts[:3], 0.2)
    rig.finish()
    assert len(rig.viewer.media) == size
    assert rig.viewer.transport.aborted
    assert rig.dialler.urls == [HINTED, HINTED]


def test_a_source_that_breaks_off_at_the_same_place_twice_is_given_up() -> None:
    parts = programme(5)
    rig = ProgrammeRig(PLAIN)
    for body in (rig.body, None, None):
        deliver(rig, body or rig.dialler.last.answer(), parts, 0.3)
        assert not rig.viewer.transport.aborted or body is None
        if not rig.viewer.transport.aborted:
            rig.dialler.last.body.end(RESET)
            rig.pass_time(0.1)
    rig.finish()
    assert rig.viewer.transport.aborted
    assert rig.dialler.urls == [PLAIN] * 3
    assert pictures(rig.viewer.media) in ([*range(1, 125)], [*range(1, 126)]), "played once"


@pytest.mark.parametrize("length", [None, 1_000_000])
def test_a_clip_in_place_of_a_channel_is_left_for_the_backup(length: int | None) -> None:
    clip = programme(50, b"C", 200)
    rig = ProgrammeRig(PLAIN, BACKUP, length=length)
    deliver(rig, rig.body, clip, 1)
    rig.body.end()
    rig.pass_time(0.1)
    if length is None:
        again = rig.dialler.last.answer()
        deliver(rig, again, clip[:20], 0.01)
        again.vanish()
        rig.pass_time(0.1)
    deliver(rig, rig.dialler.last.answer(), programme(5), 1)
    rig.finish(0.5)
    assert rig.dialler.urls == ([PLAIN, PLAIN, BACKUP] if length is None else [PLAIN, BACKUP])
    assert not rig.viewer.finished
    assert not rig.viewer.transport.aborted
    assert rig.live.sources()[0]["last_cause"] == "a programme, not a channel"


def test_a_long_programme_ends_although_there_is_a_backup() -> None:
    rig = ProgrammeRig(PLAIN, BACKUP, length=1_000_000)
    deliver(rig, rig.body, programme(62, size=200), 0.1)
    rig.body.end()
    rig.finish()
    assert rig.viewer.finished
    assert rig.dialler.urls == [PLAIN]


def test_a_player_without_a_byte_is_refused_at_the_end() -> None:
    rig = ProgrammeRig(HINTED)
    rig.body.bring(b"\x47\x1f\xff\x10" + bytes(184))
    rig.body.end()
    rig.finish()
    assert rig.viewer.heads == 0 or rig.viewer.finished


def test_a_silent_programme_is_not_dialled_a_second_time() -> None:
    rig = ProgrammeRig(HINTED)
    deliver(rig, rig.body, programme(5), 1)
    rig.pass_time(5)
    assert rig.dialler.urls == [HINTED]


def test_a_playlist_that_ends_is_a_programme() -> None:
    rig = ProgrammeRig(PLAIN, joined=True)
    deliver(rig, rig.body, programme(8), 0.2)
    rig.body.end()
    rig.finish()
    assert rig.viewer.finished
    assert rig.dialler.urls == [PLAIN]


# the pace


def send_all(rig: ProgrammeRig, parts: list[bytes], seconds: float) -> int:
    """
    Let a provider send a programme as fast as it is read, then end the body.

    :return: the most bytes that waited for the first player.
    """
    deliver(rig, rig.body, parts, 0.002)
    most = 0
    for _ in range(round(seconds * 10)):
        rig.pass_time(0.1)
        most = max(most, rig.viewer.pump.backlog)
        if not rig.body.held and not rig.body.ended:
            rig.body.end()
    return most


def test_a_slow_player_gets_all_of_a_fast_programme() -> None:
    parts = programme(60)
    rig = ProgrammeRig(HINTED, speed=200_000)
    assert send_all(rig, parts, 40) < 2 * ENOUGH
    assert rig.viewer.finished
    assert rig.viewer.media == b"".join(parts)
    assert rig.dialler.urls == [HINTED]
    rig.nothing_left()


def test_all_players_get_a_fast_programme_at_their_own_pace() -> None:
    parts = programme(40)
    rig = ProgrammeRig(PLAIN, length=1 << 30, speed=200_000)
    others = [rig.player(rig.live, speed=speed) for speed in (None, 1_000_000)]
    send_all(rig, parts, 30)
    for viewer in (rig.viewer, *others):
        assert viewer.finished
        assert viewer.media == b"".join(parts)


def test_a_paused_player_pauses_a_programme() -> None:
    parts = programme(30)
    rig = ProgrammeRig(HINTED, speed=0)
    send_all(rig, parts, 200)
    assert not rig.body.ended
    assert not rig.viewer.transport.aborted, "it may pause, as with a film"
    rig.viewer.speed = None
    send_all(rig, [], 10)
    assert rig.viewer.media == b"".join(parts)
    assert rig.viewer.finished
    assert rig.dialler.urls == [HINTED]


def test_a_paused_player_of_several_does_not_pause_a_programme() -> None:
    parts = programme(60)
    rig = ProgrammeRig(HINTED, speed=0)
    other = rig.player(rig.live, speed=1_000_000)
    send_all(rig, parts, 40)
    assert other.finished
    assert other.media == b"".join(parts)


def test_an_unknown_source_that_stays_ahead_of_real_time_is_read_at_the_pace_of_its_player() -> None:
    parts = programme(90)
    rig = ProgrammeRig(PLAIN, speed=150_000)
    most = send_all(rig, parts, 30)
    assert most < 5_000_000
    assert rig.viewer.pump.backlog < 2 * ENOUGH
    assert not rig.body.ended
    rig.viewer.speed = None
    send_all(rig, [], 2)
    assert rig.viewer.media == b"".join(parts)[: len(rig.viewer.media)]
    assert len(rig.viewer.media) > 90 * 25 * 4000


def test_a_slow_player_slows_no_other_one_below_real_time() -> None:
    parts = programme(60)
    rig = ProgrammeRig(HINTED, speed=20_000)
    other = rig.player(rig.live, speed=150_000)
    send_all(rig, parts, 50)
    assert len(other.media) > 45 * 100_000
    assert other.media == b"".join(parts)[: len(other.media)]


def test_a_live_source_does_not_wait_for_a_paused_player() -> None:
    rig = ProgrammeRig(PLAIN, speed=0)
    deliver(rig, rig.body, programme(60), 1)
    assert not rig.body.held
    assert rig.viewer.pump.backlog == 0 or rig.live.broadcaster.ring.size < 15 * 125_000


def test_a_live_source_with_a_burst_never_waits() -> None:
    parts = programme(40, size=8000)
    rig = ProgrammeRig(PLAIN, speed=1000)
    deliver(rig, rig.body, parts[:15], 0.002)
    rig.pass_time(1)
    assert not rig.body.held
    assert rig.viewer.pump.backlog > 14 * 25 * 8000, "the burst is kept for the player"
    deliver(rig, rig.body, parts[15:], 1)
    assert not rig.body.held
