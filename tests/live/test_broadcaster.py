"""Many players of one source: one dial, no player slows another one, all get whole packets."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from fakes import FakePlayer, Programme, Relay, check_segments
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from m3uproxy.core.mpegts.timestamps import read_timestamp
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IStreamSink
from m3uproxy.live.pump import PumpState


def test_interface() -> None:
    verifyObject(IStreamSink, Relay().stream().broadcaster)


def test_fifty_viewers_in_one_turn_open_one_source() -> None:
    relay = Relay()
    stream = relay.stream()
    players = [relay.player(stream) for _ in range(50)]
    assert len(relay.dialler.dials) == 1
    body = relay.dialler.last.answer()
    relay.play(body, 3)
    assert len(relay.dialler.dials) == 1
    relay.settle()
    for player in players:
        assert check_segments(player.media, relay.source) == 1
        assert player.media.endswith(relay.whole[-188:])
        assert player.heads == 1
    assert len({player.media for player in players}) == 1


def test_all_at_the_edge_get_the_same_object() -> None:
    relay = Relay()
    stream = relay.stream()
    players = [relay.player(stream) for _ in range(3)]
    body = relay.dialler.last.answer()
    relay.play(body, 1)
    seen: list[list[int]] = []
    for player in players:
        assert player.pump.state is PumpState.EDGE
        taken: list[int] = []
        seen.append(taken)
        send = player.writer.send
        player.writer.send = lambda data, taken=taken, send=send: (taken.append(id(data)), send(data))[1]
        stream.broadcaster.caught_up(player.pump)
    relay.play(body, 0.3)
    assert seen[0]
    assert seen[0] == seen[1] == seen[2]


def test_source_is_closed_after_the_last_player() -> None:
    relay = Relay()
    stream = relay.stream()
    first, second = relay.player(stream), relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 1)
    first.transport.leave()
    relay.clock.advance(0)
    assert not body.closed
    second.transport.leave()
    relay.clock.advance(0)
    assert body.closed
    assert stream.broadcaster.ring.size == 0
    relay.nothing_left()


def test_last_player_leaving_cancels_the_dial() -> None:
    relay = Relay()
    player = relay.player(relay.stream())
    player.transport.leave()
    relay.clock.advance(0)
    assert relay.dialler.last.cancelled
    relay.nothing_left()


def test_the_next_viewer_starts_with_nothing_old() -> None:
    relay = Relay()
    stream = relay.stream()
    first = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    first.transport.leave()
    relay.clock.advance(0)
    body.vanish()
    relay.source = b""
    second = relay.player(stream)
    relay.play(relay.dialler.last.answer(), 2)
    relay.settle()
    assert check_segments(second.media, relay.source) == 1


def test_lingers() -> None:
    relay = Relay(linger=5)
    stream = relay.stream()
    player = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    player.transport.leave()
    relay.play(body, 4.8)
    assert not body.closed
    again = relay.player(stream)
    assert again.heads == 1
    relay.play(body, 10)
    assert not body.closed
    again.transport.leave()
    relay.play(body, 4.9)
    assert not body.closed
    relay.pass_time(0.2)
    assert body.closed
    assert len(relay.dialler.dials) == 1
    relay.nothing_left()


def test_only_an_open_source_lingers() -> None:
    relay = Relay(linger=5, stream_retry_attempts=1)
    stream = relay.stream()
    relay.player(stream)
    relay.dialler.last.fail()
    relay.nothing_left()


def test_exhausted_sources_while_lingering_leave_nothing() -> None:
    relay = Relay(linger=500, stream_retry_attempts=1, stream_total_timeout=0)
    player = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    player.transport.leave()
    relay.clock.advance(0)
    body.end()
    relay.dialler.last.fail()
    relay.pass_time(1)
    assert not relay.registry.streams()[0].broadcaster.session.active
    assert relay.clock.getDelayedCalls() == []


def test_stalled_player_does_not_affect_the_others() -> None:
    relay = Relay(tick=0.4)
    stream = relay.stream()
    stuck = relay.player(stream, speed=0)
    good = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 3)
    before = len(good.media)
    relay.play(body, 60)
    per_second = 5 * 4000 * 2
    assert (len(good.media) - before) / 60 >= per_second * 0.95
    assert good.pump.skips == 0
    assert good.pump.state is PumpState.EDGE
    assert check_segments(good.media, relay.source) == 1
    assert not stuck.transport.aborted
    assert stuck.transport.queued <= 100_000 + 65_536
    stuck.speed = None
    relay.play(body, 2)
    relay.settle()
    assert stuck.pump.state is PumpState.EDGE
    assert stuck.pump.skips == 1
    assert check_segments(stuck.media, relay.source) == 2
    assert stuck.media.endswith(good.media[-10_000:])
    assert stuck.pump.bytes_sent == len(stuck.media)


def test_stalled_player_is_aborted_after_two_minutes() -> None:
    relay = Relay(tick=0.4)
    relay.registry.start()
    stream = relay.stream()
    stuck = relay.player(stream, kernel=50_000, speed=0)
    relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    since = stuck.pump.blocked_since
    assert since is not None
    while relay.clock.seconds() < since + 119:
        relay.play(body, 0.5)
    assert not stuck.transport.aborted
    relay.play(body, 3)
    assert stuck.transport.aborted
    assert stuck.pump.state is PumpState.GONE
    assert stream.broadcaster.players == 1


def test_slow_player_that_reads_is_never_aborted() -> None:
    relay = Relay(viewer_stall_timeout=10, tick=0.4)
    relay.registry.start()
    stream = relay.stream()
    slow = relay.player(stream, speed=5_000)
    body = relay.dialler.last.answer()
    relay.play(body, 60)
    assert not slow.transport.aborted
    assert slow.pump.skips > 0


def test_evict_policy() -> None:
    relay = Relay(lag_policy="evict", tick=0.4)
    stream = relay.stream()
    slow = relay.player(stream, speed=5_000)
    good = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 60)
    assert slow.transport.aborted
    assert not good.transport.aborted


def test_no_tables_no_access_points_still_plays() -> None:
    """Scrambled or unparsable input passes through, aligned, after two seconds."""
    relay = Relay()
    player = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    packet = b"G\x01\x00\x10" + bytes(184)
    for _ in range(30):
        body.bring(packet * 20)
        relay.pass_time(0.1)
        if relay.clock.seconds() < 1001.9:
            assert player.heads == 0
    relay.settle()
    assert player.heads == 1
    assert player.media
    assert player.media == packet * (len(player.media) // 188)


@pytest.mark.parametrize("after", [1, 4, 7])
@pytest.mark.parametrize("bursts", [1, 3])
def test_player_between_bursts_gets_all_until_the_next_one(after: float, bursts: int) -> None:
    """Bursts of eight seconds: what a late player gets must last until the next one, and continue without a break."""
    relay = Relay()
    stream = relay.stream()
    relay.player(stream)
    body = relay.dialler.last.answer()
    for _ in range(bursts):
        for _ in range(40):
            body.bring(relay.programme.group())
        relay.pass_time(after)
        late = relay.player(stream)
        relay.pass_time(7.9 - after)
    relay.settle()
    before = late.media
    assert len(times_of(before)) * 0.04 >= 8 - after + (0 if bursts == 1 and after == 1 else 2.5)
    body.bring(relay.programme.group() + relay.programme.picture())
    relay.pass_time(0.5)
    relay.settle()
    steps = {later - earlier for earlier, later in pairwise(times_of(late.media))}
    assert steps == {3600}, "whole, and nothing twice"
    assert len(late.media) > len(before)


def times_of(media: bytes) -> list[int]:
    """Return the timestamps of the pictures."""
    return [
        read_timestamp(media, at + media[at + 4] + 5 + 9 if media[at + 3] & 0x20 else at + 13)
        for at in range(0, len(media), 188)
        if media[at + 1] & 0x40 and (media[at + 1] & 0x1F) << 8 | media[at + 2] == Programme.VIDEO_PID
    ]


def test_late_program_map_starts_players_at_the_picture_before_it() -> None:
    """The PAT is alone at the beginning, and its program map comes after a second of pictures."""
    relay = Relay()
    player = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    programme = Programme()
    tables = programme.tables()
    pat, pmt = tables[:188], tables[188:]
    key = programme.picture(key=True)
    body.bring(pat + key)
    for _ in range(10):
        body.bring(programme.picture())
        relay.pass_time(0.1)
        assert player.heads == 0
    body.bring(pmt + programme.picture() + programme.picture())
    relay.pass_time(0.5)
    relay.settle()
    assert [player.media[at + 1 : at + 3] for at in (0, 188)] == [pat[1:3], pmt[1:3]]
    assert player.media[376:].startswith(key)


def test_exhausted_sources_refuse_or_abort_players() -> None:
    relay = Relay(stream_retry_attempts=1, stream_total_timeout=0)
    stream = relay.stream()
    viewer = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    body.end()
    late = [relay.player(stream) for _ in range(2)]
    relay.dialler.last.fail(Reason.BAD_HEAD)
    assert viewer.transport.aborted
    assert viewer.refused is None
    # A late one found the ring warm, and had a byte already.
    for player in late:
        assert (player.refused is None) == (player.heads == 1)
    assert stream.broadcaster.players == 0
    relay.clock.advance(0)
    assert relay.clock.getDelayedCalls() == []


def test_redial_continues_the_response() -> None:
    relay = Relay()
    viewer = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    body.bring(relay.programme.picture(size=1000)[:700])
    relay.pass_time(0.1)
    body.end()
    second = relay.dialler.last.answer()
    assert second is not body
    relay.play(second, 2)
    relay.settle()
    assert viewer.heads == 1
    assert len(viewer.media) % 188 == 0
    assert viewer.media.endswith(relay.whole[-180:])  # but for the header: counters go on over the seam


def test_filler_is_sent_while_no_data_come() -> None:
    relay = Relay()
    stream = relay.stream()
    begun = relay.player(stream)
    relay.play(relay.dialler.last.answer(), 3)
    relay.settle()
    received, rate = len(begun.media), stream.broadcaster.ring.bitrate
    stream.broadcaster.bridge()
    assert len(begun.media) == received, "something came just now"
    relay.clock.advance(1.5)
    late = relay.player(stream)
    for _ in range(100):
        stream.broadcaster.bridge()
        relay.clock.advance(0.01)
    relay.settle()
    filler = begun.media[received:]
    assert filler[::188] == b"\x47" * 7, "once in a second"
    assert {filler[at + 1 : at + 4] for at in range(0, len(filler), 188)} == {b"\x1f\xff\x10"}
    assert begun.pump.bytes_sent == len(begun.media)
    assert late.media.endswith(filler), "a late one has begun with what there was"
    assert stream.broadcaster.ring.bitrate == rate


def test_no_player_starts_at_filler() -> None:
    relay = Relay()
    stream = relay.stream()
    player = relay.player(stream)
    relay.dialler.last.answer()
    relay.clock.advance(1.5)
    stream.broadcaster.bridge()
    assert player.media == b""
    assert player.heads == 0


def test_no_player_starts_in_the_rest_of_a_dead_source() -> None:
    """Its blocks grow old while the next source is dialled. No player may start in the middle of a picture."""
    relay = Relay()
    viewer = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    body.bring(relay.programme.picture(size=3000) * 2)
    relay.pass_time(0.1)
    body.end()
    relay.clock.advance(5)
    second = relay.dialler.last.answer()
    second.bring(relay.programme.picture(size=3000))
    relay.pass_time(0.5)
    assert viewer.media == b""
    relay.source = b""
    relay.play(second, 2)
    relay.settle()
    assert check_segments(viewer.media, relay.source) == 1


def test_send_errors_in_the_hot_loop_end_only_their_viewer() -> None:
    relay = Relay()
    stream = relay.stream()
    players = [relay.player(stream) for _ in range(5)]
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    players[1].transport.fail_sends()
    players[3].transport.fail_sends()
    relay.play(body, 2)
    assert [player.pump.state is PumpState.GONE for player in players] == [False, True, False, True, False]
    relay.settle()
    for player in players:
        assert check_segments(player.media, relay.source) == 1
    assert stream.broadcaster.players == 3


def test_a_failed_send_is_not_counted_as_sent() -> None:
    relay = Relay()
    stream = relay.stream()
    player, _ = relay.player(stream), relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    relay.settle()
    player.transport.fail_sends()
    relay.play(body, 0.2)
    assert player.pump.state is PumpState.GONE
    assert player.pump.bytes_sent == player.taken


def test_the_last_viewer_lost_in_the_hot_loop_leaves_an_empty_ring() -> None:
    """One read may bring several blocks. Those after the failed one have no player."""
    relay = Relay()
    stream = relay.stream()
    player = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    player.transport.fail_sends()
    body.bring(relay.programme.group() + relay.programme.group() + relay.programme.group())
    relay.pass_time(0.2)
    assert player.pump.state is PumpState.GONE
    assert body.closed
    assert stream.broadcaster.ring.size == 0
    body.vanish()
    relay.pass_time(30)
    relay.source = b""
    again = relay.player(stream)
    assert again.heads == 0, "started with video of the last run"
    relay.play(relay.dialler.last.answer(), 2)
    relay.settle()
    assert check_segments(again.media, relay.source) == 1


def test_the_last_viewer_lost_at_a_change_of_source() -> None:
    relay = Relay()
    stream = relay.stream()
    player = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    body.bring(relay.programme.picture(size=13_000))
    relay.clock.advance(0)
    player.transport.fail_sends()
    body.end()
    if relay.dialler.last.pending:
        second = relay.dialler.last.answer()
        if second.consumer is not None:
            second.bring(relay.programme.group())
        relay.clock.advance(0)
    relay.pass_time(0.1)
    assert stream.broadcaster.players == 0
    assert not stream.broadcaster.session.active
    assert relay.clock.getDelayedCalls() == []
    assert stream.history.error_count <= 1


def test_last_player_may_be_lost_with_the_first_bytes_of_a_redial() -> None:
    relay = Relay()
    stream = relay.stream()
    player = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    body.end()
    second = relay.dialler.last.answer()
    player.transport.fail_sends()
    errors = stream.history.error_count
    second.bring(relay.programme.group() + relay.programme.group())
    relay.pass_time(0.1)
    assert player.pump.state is PumpState.GONE
    assert second.closed
    relay.pass_time(10)
    assert stream.history.error_count == errors
    assert relay.clock.getDelayedCalls() == []


@pytest.mark.parametrize("seed", range(4))
def test_bytes_add_up(seed: int) -> None:
    rng = random.Random(seed)
    relay = Relay()
    stream = relay.stream()
    body = None
    for _ in range(30):
        relay.player(stream, kernel=rng.choice([5_000, 60_000]), speed=rng.choice([None, 3_000, 40_000, 60_000]))
        body = body or relay.dialler.last.answer()
        relay.play(body, 0.5)
        if rng.random() < 0.4:
            rng.choice(relay.players).transport.leave()
            relay.clock.advance(0)
        for player in relay.players:
            assert player.pump.bytes_sent == player.taken or player.transport.queued > player.transport.in_kernel
    assert stream.bytes_served == sum(player.pump.bytes_sent for player in relay.players)


@settings(max_examples=80, deadline=None, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 15),
            st.sampled_from([2_000, 20_000, 200_000]),
            st.one_of(st.none(), st.integers(0, 60_000)),
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.tuples(st.integers(1, 8), st.integers(200, 9_000), st.integers(0, 3000)), min_size=5, max_size=16),
    st.randoms(use_true_random=False),
)
def test_each_player_gets_whole_runs_from_access_points(
    viewers: list[tuple[int, int, int | None]],
    groups: list[tuple[int, int, int]],
    rng: random.Random,
) -> None:
    relay = Relay(ring_seconds=3, join_seconds=1, tick=0.1)
    stream = relay.stream()
    relay.player(stream)
    body = relay.dialler.last.answer()
    tail = b""
    for turn, (pictures, size, cut) in enumerate(groups):
        for start, kernel, speed in viewers:
            if start == turn:
                relay.player(stream, kernel, speed)
        data = relay.programme.group(pictures, size)
        relay.source += data
        tail += data
        cut = min(cut, len(tail))
        at = 0
        while at < len(tail) - cut:
            end = min(at + rng.choice([188, 1316, 8_000, 30_000]), len(tail) - cut)
            body.bring(tail[at:end])
            at = end
            if rng.random() < 0.1:
                relay.pass_time(0.01)
        tail = tail[at:]
        relay.pass_time(0.2)
        if rng.random() < 0.2:
            for player in relay.players:
                if player.speed is not None:
                    player.speed = rng.choice([0, 1_000, 100_000])
    body.bring(tail)
    relay.pass_time(0.5)
    for player in relay.players:
        player.speed = None
    relay.pass_time(0.1)
    relay.settle()
    for player in relay.players:
        segments = check_segments(player.media, relay.source)
        assert segments <= player.pump.skips + 1
        assert player.pump.bytes_sent == len(player.media)
        assert player.pump.state is PumpState.EDGE or not player.heads


def test_refused_and_attached_again_from_within() -> None:
    """A keep-alive connection may bring the next request while the first is being refused."""
    relay = Relay(stream_retry_attempts=1)
    stream = relay.stream()
    first = FakePlayer(relay.clock)
    second = FakePlayer(relay.clock)
    refuse = first.refuse

    def refuse_and_come_again(error: SourceError) -> None:
        refuse(error)
        second.join(stream)

    first.refuse = refuse_and_come_again  # type: ignore[method-assign]
    first.join(stream)
    relay.players += [first, second]
    relay.dialler.last.fail()
    assert second.refused is None
    relay.clock.advance(1.3)
    assert len(relay.dialler.dials) == 2
    relay.play(relay.dialler.last.answer(), 1)
    relay.settle()
    assert check_segments(second.media, relay.source) == 1


def test_start_timeout_ends_with_the_first_block() -> None:
    """Otherwise each read would be flushed for this player, and all players would get small blocks."""
    relay = Relay()
    stream = relay.stream()
    stuck = relay.player(stream, kernel=1_000, speed=0)
    relay.player(stream)
    relay.play(relay.dialler.last.answer(), 2)
    assert stuck.heads == 1
    assert not stream.broadcaster.waiting


def test_full_socket_is_waited_for() -> None:
    relay = Relay()
    player = relay.player(relay.stream(), kernel=50_000)
    body = relay.dialler.last.answer()
    relay.play(body, 1)
    assert player.pump.state is PumpState.EDGE
    player.speed = 0
    player.transport.kernel_send(bytes(50_000 - player.transport.in_kernel))
    relay.play(body, 0.5)
    assert player.pump.state is PumpState.DRAINING
    assert player.pump.blocked_since is not None
    player.speed = None
    relay.play(body, 0.5)
    assert player.pump.state is PumpState.EDGE
    assert not player.transport.aborted
