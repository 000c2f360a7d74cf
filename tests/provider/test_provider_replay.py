"""Start of a connection: replays, unchanged, restamped or with a new multiplex; tokens."""

from itertools import pairwise

import pytest
from decoding import decode_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import from_first_units, units_of
from test_provider_connection import HERE, StationRig, body, place, status, tally
from ts_programme import distance

from m3uproxy.provider.clip import PACKET, WRAP, load_clip, pcr_offset, read_pcr
from m3uproxy.provider.multiplex import Layout
from m3uproxy.provider.remux import Remux, Restamp
from m3uproxy.provider.timeline import Timeline
from m3uproxy.provider.tokens import KEPT, Tokens

CLIP = load_clip()
TIMELINE = Timeline(CLIP)
LOOP = CLIP.packets * PACKET


@pytest.fixture
def rig():
    made = StationRig()
    yield made
    for channel in made.station.channels.values():
        for each in list(channel.bodies):
            each.abort()
    assert made.clock.getDelayedCalls() == []


def clocks(data):
    return [read_pcr(data, at) for start in range(0, len(data), PACKET) if (at := pcr_offset(data, start))]


def units(data, layout):
    """Return pictures and audio frames of a remuxed body."""
    return units_of(data, layout.pids[0], layout.pids[1], layout.clock or layout.pids[0])


def run_of(part, whole):
    """Return the offset of a part in the whole. Assert that the part continues without a gap."""
    at = whole.index(part[0])
    assert whole[at : at + len(part)] == part[: len(whole) - at]
    return at


@given(st.integers(-3 * CLIP.packets, 3 * CLIP.packets))
def test_seconds_at_is_the_inverse_of_due_at(packet):
    """Tolerate rounding, and the packets before the first PCR of a loop, which are due together."""
    due = TIMELINE.due_at(TIMELINE.seconds_at(packet * PACKET))
    assert abs(due - packet * PACKET) <= 5 * PACKET


def test_clock_at_matches_the_next_pcr():
    timeline = Timeline(CLIP, origin=777)
    for moment in (0.0, 0.5, 9.0, -3.2):
        data = timeline.span(timeline.due_at(moment - 0.001), timeline.due_at(moment + 1))
        assert 0 <= distance(clocks(data)[0], timeline.clock_at(moment) % WRAP) <= 3600


# Unchanged replay


def test_replay_in_real_time_begins_before_now(rig):
    due, timeline = rig.station.timeline.due_at, rig.station.timeline
    first = rig.ask("/live/a.ts?replay=3&close=2s")
    rig.run(2.5)
    assert first.closed
    rig.run(1.5)
    now = rig.station.uptime()
    second = rig.ask("/live/a.ts?replay=3&close=2s")
    assert body(second) == timeline.span(due(now - 3), due(now))


def test_replay_of_a_fast_channel_begins_before_its_reached_place(rig):
    timeline = rig.station.timeline
    start = timeline.due_at(3.21 - 3)
    transports = [rig.ask("/live/a.ts?rate=8&replay=3&close=400001")]
    rig.run(3)
    assert body(transports[0]) == timeline.span(start, start + 400_001)
    transports.append(rig.ask("/live/a.ts?rate=8&replay=3&close=400001"))
    reached = timeline.seconds_at((start + 400_001) // PACKET * PACKET)
    assert body(transports[1]) == timeline.span(timeline.due_at(reached - 3), timeline.due_at(reached))
    rig.run(3)
    again = timeline.due_at(reached - 3)
    assert body(transports[1]) == timeline.span(again, again + 400_001)
    other = rig.ask("/live/b.ts?replay=3")
    assert len(body(other)) < 300_000, "another channel has its own replay"


def test_body_closed_within_a_burst_sets_reached_to_its_end(rig):
    transport = rig.ask("/live/a.ts?rate=8&replay=3&close=100001")
    assert transport.closed
    reached = rig.station.channel("a").reached
    assert reached == rig.station.timeline.due_at(0.21) + 100_001


def test_torn_ends_within_a_packet(rig):
    for end in ("close=1s", "reset=1s"):
        transport = rig.ask(f"/live/a.ts?{end}&torn=100")
        rig.run(1.2)
        assert transport.closed
        assert len(body(transport)) % PACKET == 100
        assert len(body(transport)) == pytest.approx(len(body(rig.ask("/live/a.ts?burst=1"))), rel=0.3)


def test_torn_does_not_delay_the_end_of_a_stalled_body(rig):
    transport = rig.ask("/live/a.ts?stall=100&close=1s&torn=100")
    rig.run(1.2)
    assert transport.closed


# Restamped


def test_restamp_shifts_all_clocks(rig):
    bodies = []
    for number in range(3):
        transport = rig.ask(f"/live/a.ts?replay=1&restamp=1000&close={50_000 + number}")
        rig.run(1)
        bodies.append(body(transport)[: -(len(body(transport)) % PACKET)])
        later = Restamp(-number * 90_000_000).feed(bodies[-1])
        begin = rig.station.timeline.due_at(3.21 + number - 1)
        assert later == rig.station.timeline.span(begin, begin + len(later))


def test_restamp_wrap_wraps_within_the_replay(rig):
    data = body(rig.ask("/live/a.ts?replay=3&restamp=wrap"))
    ticks = clocks(data)
    (wrapped,) = [number for number, (sooner, later) in enumerate(pairwise(ticks)) if later < sooner]
    assert wrapped == pytest.approx(len(ticks) / 2, abs=2)
    assert {(later - sooner) % WRAP for sooner, later in pairwise(ticks)} == {3600}


# New multiplex


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.integers(0, 2 * CLIP.packets), st.integers(1, 90))
def test_remux_keeps_the_units(number, cut, first, chunk):
    layout = Layout.from_number(number, cut)
    source = TIMELINE.span(first * PACKET, (first + 600) * PACKET)
    remux = Remux(layout)
    made = b"".join(remux.feed(source[at : at + chunk * PACKET]) for at in range(0, len(source), chunk * PACKET))
    pictures, sounds = units(made, layout)
    source_pictures, source_sounds = units_of(from_first_units(source, {0x100, 0x101}), 0x100, 0x101, 0x100)
    assert run_of(pictures, source_pictures) <= 4
    assert len(pictures) >= len(source_pictures) - 6
    # The remuxed audio has a PTS for each frame, the source a PTS for each unit.
    at = run_of([data for _, data in sounds], [data for _, data in source_sounds])
    assert at <= 20
    assert len(sounds) >= len(source_sounds) - 40
    known = [
        (made, expected)
        for (made, _), (expected, _) in zip(sounds, source_sounds[at:], strict=False)
        if made and expected
    ]
    assert known
    assert all(made == expected for made, expected in known)


@pytest.mark.media
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("number", range(3))
def test_remux_decodes_to_the_same(number, cut):
    source = TIMELINE.span(0, LOOP)
    original, seen = decode_samples(source), decode_samples(Remux(Layout.from_number(number, cut)).feed(source))
    assert seen.complaints == []
    assert seen.pictures == original.pictures[: len(seen.pictures)]
    assert seen.sounds == original.sounds[: len(seen.sounds)]
    assert len(seen.pictures) > 190
    assert len(seen.sounds) > 350


def test_each_connection_has_its_own_pids(rig):
    pids = []
    for _ in range(3):
        data = body(rig.ask("/live/a.ts?replay=3&remux=1&restamp=5"))
        pids.append(frozenset((data[at + 1] & 0x1F) << 8 | data[at + 2] for at in range(0, len(data), PACKET)))
    assert len(set(pids)) == 3
    assert len(frozenset.intersection(*pids) - {0, 0x1FFF}) == 0


def test_remuxed_body_resumes_after_a_stall_without_loss(rig):
    stalled = rig.ask("/live/a.ts?replay=3&remux=1&stall=70001&stall_for=1")
    assert len(body(stalled)) == 70_001
    rig.run(2)
    plain = rig.ask("/live/b.ts?replay=5&remux=1")
    rig.run(1)
    layout = Layout.from_number(0)
    shorter, longer = units(drop_torn(body(stalled)), layout), units(drop_torn(body(plain)), layout)
    assert shorter[0]
    assert shorter[0] == longer[0][: len(shorter[0])]
    assert len(shorter[0]) > 100


def drop_torn(data):
    return data[: len(data) - len(data) % PACKET]


# Tokens


def target_of(rig, query):
    transport = rig.ask(f"/live/a.ts?redirect=same&{query}")
    rig.run(0.1)
    assert status(transport) == 302
    return place(transport).removeprefix(HERE)


def test_token_expires_after_a_use(rig):
    target = target_of(rig, "expire=once")
    assert "&token=" in target
    assert status(rig.ask(target)) == 200
    assert status(rig.ask(target)) == 403
    fresh = target_of(rig, "expire=once")
    assert fresh != target
    assert status(rig.ask(fresh)) == 200
    assert tally(rig).total == 2


def test_token_expires_after_seconds(rig):
    target = target_of(rig, "expire=5&expire_answer=404")
    assert status(rig.ask(target)) == 200
    rig.run(4)
    assert status(rig.ask(target)) == 200
    rig.run(1.2)
    assert status(rig.ask(target)) == 404
    assert status(rig.ask(target_of(rig, "expire=5"))) == 200


def test_each_redirect_has_its_own_token(rig):
    first = target_of(rig, "hops=2&expire=once")
    transport = rig.ask(first)
    rig.run(0.1)
    second = place(transport).removeprefix(HERE)
    assert first.count("token=") == second.count("token=") == 1
    assert status(rig.ask(first)) == 403
    assert status(rig.ask(second.rpartition("&")[0])) == 403
    assert status(rig.ask(second + "0")) == 403
    assert status(rig.ask(second)) == 200


def test_oldest_tokens_are_removed():
    tokens = Tokens()
    first, second = tokens.issue(0), tokens.issue(0)
    for _ in range(KEPT - 1):
        tokens.issue(0)
    assert not tokens.accept(first, 0, None)
    assert tokens.accept(second, 0, None)
