"""``make test-players``: real players, seen through the proxy, at each kind of seam. Not a part of ``make test``.

What each did is printed as a table; the exit status is 1 if one that is to play on did not, 2 if none is installed.
Run it with ``PYTHONPATH=tests``. ``--install`` installs what is missing (Debian, as root).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
from clips import H264, HEVC, MPEG2, SOUND, TICKS, Recipe, clip_of
from loopback_rig import Rig
from on_air import FAR
from programs import PACKAGES, PLAYERS, Playing
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall, react

from m3uproxy.provider.site import Provider

BEFORE, AFTER = 6.0, 9.0
#: So that no clock wraps at the beginning.
BEGIN = 3600 * TICKS


@attrs.frozen
class Seam:
    """A change from one source to another.

    :ivar stays: names of the players that must play on.
    :ivar still: seconds for which the picture may stand still.
    """

    name: str
    old: Recipe
    new: Recipe
    fault: str = "close=0"
    agents: tuple[str, ...] = ()
    stays: tuple[str, ...] = tuple(player.name for player in PLAYERS)
    still: float = 0.5


SEAMS = (
    Seam("closes, H.264 + AAC", H264, H264.backup()),
    Seam("resets, HEVC + AC-3", HEVC, HEVC.backup(), "reset=0"),
    Seam("closes, MPEG-2 + MP2", MPEG2, MPEG2.backup()),
    Seam("stalls, H.264 + AAC", H264, H264.backup(), "stall=0", still=1.5),
    Seam("closes, sound only", SOUND, SOUND.backup()),
    Seam("other size", H264, H264.backup(width=320, height=192)),
    Seam("other picture rate", H264, H264.backup(rate=50)),
    Seam("open groups without IDR", H264, H264.backup(video="h264 open"), still=1.0),
    Seam("other codecs, default", H264, HEVC.backup(), stays=()),
    Seam("other codecs, CARRY_ON_AGENTS", H264, HEVC.backup(), agents=("VLC", "GStreamer"), stays=("VLC", "GStreamer")),
)


async def watch(reactor, seam: Seam, folder: Path) -> list[Playing]:
    """All players, one stream, one seam."""
    rig = Rig(reactor, folder)
    await rig.start(live_chunk_timeout_seconds=3, carry_on_agents=seam.agents)
    first, second = (
        Provider(reactor, origin=BEGIN, clip=clip_of(seam.old)),
        Provider(reactor, origin=FAR, clip=clip_of(seam.new)),
    )
    await first.listen()
    await second.listen()
    burst = "?burst=0" if "open" in seam.name else "?burst=2"
    stream = rig.register(first.url("/live/x.ts?burst=3"), second.url(f"/live/x.ts{burst}"))
    url = f"http://127.0.0.1:{rig.port}/stream/{stream.id}"
    running = [start(reactor, player, url, folder) for player in PLAYERS if player.installed]
    asking = LoopingCall(lambda: [each.ask() for each in running])
    asking.start(0.25)
    await rig.sleep(BEFORE)
    first.control("x", f"{seam.fault}&status=404")
    await rig.sleep(AFTER)
    asking.stop()
    for each in running:
        each.kill()
    await rig.until(lambda: all(each.ended for each in running), 5)
    await rig.stop()
    await first.stop()
    await second.stop()
    return running


def start(reactor, player, url: str, folder: Path) -> Playing:
    playing = Playing(player)
    arguments = player.arguments(url)
    reactor.spawnProcess(
        playing,
        arguments[0],
        arguments,
        {**os.environ, "HOME": str(folder), "GST_DEBUG": "2", "GST_DEBUG_NO_COLOR": "1"},
    )
    return playing


def verdict(seam: Seam, playing: Playing) -> tuple[str, bool]:
    """What it did, in words, and whether that is right."""
    gained, still = playing.gained(), playing.still(playing.killed or playing.ended)
    on = playing.killed is not None and gained > BEFORE and still < seam.still + playing.player.grain
    did = "plays on" if on else "ends" if playing.killed is None else "stands still"
    words = f"{did}; {gained:.1f} s shown, longest still {still:.2f} s, {len(playing.complaints())} complaints"
    return words, on or playing.player.name not in seam.stays


async def run(reactor, chosen: argparse.Namespace) -> None:
    wrong = 0
    print(f"| seam | {' | '.join(each.name for each in PLAYERS if each.installed)} |", flush=True)
    for seam in SEAMS:
        if chosen.only and chosen.only not in seam.name:
            continue
        with tempfile.TemporaryDirectory(prefix="m3uproxy-players-") as name:
            folder = Path(name)
            folder.chmod(0o777)
            running = await watch(reactor, seam, folder)
        words = [verdict(seam, each) for each in running]
        wrong += sum(not right for _, right in words)
        print(
            f"| {seam.name} | {' | '.join(('' if right else 'WRONG: ') + text for text, right in words)} |", flush=True
        )
        for each in running:
            for line in list(dict.fromkeys(each.complaints()))[: chosen.lines]:
                print(f"    {each.player.name}: {line[:160]}", file=sys.stderr, flush=True)
            if chosen.logs:
                Path(chosen.logs, f"{seam.name}-{each.player.name}.log".replace(" ", "_")).write_text(each.text)
    raise SystemExit(1 if wrong else 0)


def prepare(install: bool) -> None:
    """Say what is missing, or install it."""
    missing = [package for player in PLAYERS if not player.installed for package in PACKAGES[player.program]]
    if missing and install:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *missing], check=True)
    elif missing:
        print("missing, see --install:", *missing, file=sys.stderr)
    if not any(player.installed for player in PLAYERS):
        raise SystemExit(2)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="tests/players/run.py", description=__doc__)
    parser.add_argument("--install", action="store_true", help="apt-get install what is missing")
    parser.add_argument("--only", default="", help="seams with this in their name")
    parser.add_argument("--lines", type=int, default=3, help="complaints of each player to print (3)")
    parser.add_argument("--logs", default="", help="a folder for the logs of the players")
    chosen = parser.parse_args()
    prepare(chosen.install)
    react(lambda reactor: ensureDeferred(run(reactor, chosen)))


if __name__ == "__main__":
    main()
