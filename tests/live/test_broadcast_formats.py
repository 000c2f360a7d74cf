"""Broadcasting of radio, FLV and scrambled streams to fast and slow players."""

from __future__ import annotations

import pytest
from fakes import FakeBody, Programme, Relay, packets
from radiobuild import adts_frames, configuration, header, metadata, mpeg_frames, programme
from tsbuild import AAC, H264, IDR, Mux, pes

from m3uproxy.core.ingest.flv_tags import FlvReader
from m3uproxy.core.ingest.parser import Format
from m3uproxy.core.mpegts.packets import null_packet
from m3uproxy.live.pump import PumpState
from m3uproxy.live.stream import PlayerInfo


def play(relay: Relay, body: FakeBody, units: list[bytes], pace: float = 0.04) -> None:
    for unit in units:
        body.bring(unit)
        relay.pass_time(pace)


def test_skipping_flv_player_gets_no_second_header() -> None:
    relay = Relay(ring_seconds=2, join_seconds=1, tick=0.1)
    stream = relay.stream("http://provider/live/1.flv")
    fast, slow = relay.player(stream), relay.player(stream, kernel=4_000, speed=2_000)
    body = relay.dialler.last.answer()
    play(relay, body, programme(500))
    slow.speed = None
    play(relay, body, programme(40, origin=20_000)[2:])
    relay.settle()
    assert fast.pump.skips == 0
    assert slow.pump.skips > 0
    for player in (fast, slow):
        media = player.media
        assert media.startswith(header())
        tags = FlvReader().feed(media)
        assert b"".join(tag.data for tag in tags) == media[13:]
        assert b"FLV\x01" not in media[1:]
        assert player.pump.bytes_sent == len(media)
    assert stream.broadcaster.format is Format.FLV


@pytest.mark.parametrize("make", [adts_frames, mpeg_frames])
def test_skipping_radio_player_continues_at_a_frame(make) -> None:
    relay = Relay(ring_seconds=2, join_seconds=1, tick=0.1)
    fast = relay.player(relay.stream())
    slow = relay.player(relay.registry.streams()[0], kernel=4_000, speed=1_000)
    frames = make(1, 600)
    body = relay.dialler.last.answer()
    play(relay, body, frames)
    slow.speed = None
    relay.pass_time(0.5)
    relay.settle()
    assert fast.media == b"".join(frames[:-1])
    assert slow.pump.skips > 0
    at = sent = 0
    while at < len(slow.media):
        number = next((n for n, frame in enumerate(frames) if slow.media.startswith(frame, at)), None)
        assert number is not None, "torn"
        sent, at = sent + 1, at + len(frames[number])
    assert sent < len(frames)


@pytest.mark.parametrize("agent", ["VLC/3", "Kodi"])
def test_another_audio_layer_ends_players_that_cannot_change_codecs(agent: str) -> None:
    relay = Relay(carry_on_agents="vlc")
    stream = relay.stream()
    viewer = relay.player(stream, player=PlayerInfo(user_agent=agent))
    body = relay.dialler.last.answer()
    play(relay, body, mpeg_frames(1, 60))
    body.end()
    play(relay, relay.dialler.last.answer(), mpeg_frames(2, 40, layer=2))
    assert (viewer.pump.state is PumpState.GONE) == (agent == "Kodi")


LEADS = {
    "padding": null_packet() * 7,
    "tables": Programme().tables(),
    "line ends": b"\r\n",
    "flv header": header() + metadata() + configuration(9),
}


@pytest.mark.parametrize("lead", LEADS)
def test_response_begins_with_the_first_media(lead: str) -> None:
    relay = Relay(first_byte_timeout=10)
    viewer = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    body.bring(LEADS[lead])
    for _ in range(50):
        relay.pass_time(0.1)
        body.bring(LEADS[lead] if lead != "flv header" else metadata())
    assert viewer.heads == 0
    if lead == "flv header":
        play(relay, body, programme(3)[3:])
    else:
        relay.play(body, 1)
    relay.settle()
    assert viewer.heads == 1
    media = viewer.media
    assert null_packet() not in media
    assert media.startswith(header() if lead == "flv header" else b"\x47\x40\x00")


@pytest.mark.parametrize("seconds", [6, 15])
@pytest.mark.parametrize("kind", ["adts", "mpeg", "flv"])
def test_bursts_of_radio_and_flv_are_no_silence(kind: str, seconds: int) -> None:
    """All units of some seconds come at once, the first ones before the format is known."""
    relay = Relay()
    stream = relay.stream()
    viewer = relay.player(stream)
    body = relay.dialler.last.answer()
    if kind == "flv":
        units, count = programme(seconds * 25 * 3)[4:], seconds * 75
        body.bring(b"".join(programme(1)[:4]))
    else:
        units = (adts_frames if kind == "adts" else mpeg_frames)(1, 3 * seconds * 47)
        count = seconds * 47
    for at in range(0, len(units), count):
        body.bring(b"".join(units[at : at + count]))
        relay.pass_time(seconds)
    relay.settle()
    assert not body.closed
    assert len(relay.dialler.dials) == 1
    assert len(viewer.media) > 0.9 * sum(map(len, units))


def test_another_format_ends_all_started_players() -> None:
    relay = Relay(carry_on_agents="vlc")
    stream = relay.stream()
    viewer = relay.player(stream, player=PlayerInfo(user_agent="VLC/3"))
    body = relay.dialler.last.answer()
    frames = mpeg_frames(1, 60)
    play(relay, body, frames)
    body.end()
    play(relay, relay.dialler.last.answer(), [b"".join(adts_frames(1, 40))])
    assert viewer.transport.aborted
    assert b"".join(frames).startswith(viewer.media)
    assert stream.history.entries()[-1]["bridged_ms"] is not None
    assert stream.broadcaster.ring.size == 0
    relay.clock.advance(0)
    assert relay.clock.getDelayedCalls() == []


def test_player_during_linger_starts_with_the_new_format() -> None:
    relay = Relay(linger=5)
    stream = relay.stream("http://provider/live/1.ts")
    relay.player(stream)
    body = relay.dialler.last.answer()
    play(relay, body, mpeg_frames(1, 100))
    assert stream.content_type == "audio/mpeg"
    body.end()
    frames = adts_frames(1, 60)
    second = relay.dialler.last.answer()
    play(relay, second, frames)
    assert stream.clients() == []
    late = relay.player(stream)
    relay.settle()
    assert stream.content_type == "audio/aac"
    assert late.media
    assert b"".join(frames).startswith(late.media)
    late.transport.leave()
    relay.pass_time(6)
    assert second.closed
    relay.nothing_left()


def test_no_packets_are_sent_where_there_are_none() -> None:
    """Null packets are filler for transport streams only. In a radio stream they would be damage."""
    relay = Relay()
    stream = relay.stream()
    viewer = relay.player(stream)
    frames = mpeg_frames(1, 100)
    play(relay, relay.dialler.last.answer(), frames)
    for _ in range(20):
        stream.broadcaster.bridge()
        relay.pass_time(0.1)
    relay.settle()
    assert b"".join(frames).startswith(viewer.media)


def test_content_checks_do_not_apply_to_radio() -> None:
    relay = Relay(health_interval=5, leave_suspect_sources=True, enable_bitrate_monitoring=True, tick=0.4)
    stream = relay.stream("http://provider/1.mp3", "http://provider/2.mp3")
    relay.player(stream)
    play(relay, relay.dialler.last.answer(), mpeg_frames(1, 1200), pace=0.1)
    assert len(relay.dialler.dials) == 1
    assert stream.history.entries() == []
    condition = stream.health()
    assert condition is None or (condition["fault"], condition["signs"]) == (None, [])


def test_slow_picture_is_sent_in_pieces() -> None:
    """An incomplete PES packet is held for half a second at most, so that a slow source does not freeze."""
    relay = Relay()
    viewer = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    relay.settle()
    slow = relay.programme.picture(size=188 * 60)
    size = len(viewer.media)
    for at in range(0, len(slow), 188):
        body.bring(slow[at : at + 188])
        relay.pass_time(0.05)
    relay.settle()
    assert len(viewer.media) > size + 188 * 55
    assert slow[: 188 * 50] in viewer.media
    packets(viewer.media)


def scrambled(seconds: int, first: int = 0) -> list[bytes]:
    """Return a scrambled programme with clear tables."""
    mux = Mux()
    made = []
    for number in range(first, first + seconds * 10):
        unit = pes(IDR + bytes([number % 250 + 1]) * 1500, pts=number * 9000)
        tables = mux.pat({1: 0x100}) + mux.pmt(0x100, 1, [(H264, 0x101), (AAC, 0x102)])
        made.append(tables + mux.unit(0x101, unit, scrambling=2) + mux.unit(0x102, pes(b"\xff" * 300), scrambling=3))
    return made


def test_scrambled_packets_pass_aligned_and_over_a_reconnect() -> None:
    relay = Relay()
    viewer = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    play(relay, body, scrambled(4), pace=0.1)
    relay.settle()
    size = len(viewer.media)
    assert size > 50_000
    body.bring(scrambled(1)[0][:-90])
    body.end()
    play(relay, relay.dialler.last.answer(), scrambled(1, 60), pace=0.1)
    relay.settle()
    assert len(viewer.media) > size + 10_000, "nothing to go on from is nothing to wait for"
    packets(viewer.media)
