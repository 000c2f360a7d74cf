"""``make test-players``: real players behind the proxy. Not a part of ``make test``.

The program prints the results as tables. The exit status is 1 if a player that must continue did not, 2 if no player is
installed. Missing players are installed if possible. Run it with ``PYTHONPATH=tests``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

from browsers import browsers, page_report
from cases import TABLES, Case
from clip_provider import BACKUP_ORIGIN
from clips import TICKS, clip_of
from loopback_rig import LoopbackRig
from packages import install
from pages import Pages
from programs import PLAYERS, Player, RunningPlayer
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall, react

from m3uproxy.provider.site import Provider

#: Seconds before the change of source, seconds after it, and timeout for the start of all players.
BEFORE, AFTER, BEGINNING = 6.0, 9.0, 30.0
#: Clock of the first provider in ticks. It does not wrap during the case.
BEGIN = 3600 * TICKS


async def watch(reactor, case: Case, players: list[Player], folder: Path) -> list[RunningPlayer]:
    """Run all players on a stream of the case."""
    rig = LoopbackRig(reactor, folder)
    await rig.start(live_chunk_timeout_seconds=3, carry_on_agents=case.agents)
    clips = [clip_of(recipe) for recipe in case.clips] if case.clips else [None, None]
    first, second = (
        Provider(reactor, origin=at, clip=clip) for at, clip in zip((BEGIN, BACKUP_ORIGIN), clips, strict=True)
    )
    await first.listen()
    await second.listen()
    backups = [second.url(case.backup)] if case.backup else []
    stream = rig.register(first.url(case.primary), *backups)
    url = f"http://127.0.0.1:{rig.port}{case.path.format(stream.id)}"
    running = [start(reactor, player, url, folder) for player in players]
    asking = LoopingCall(lambda: [each.ask() for each in running])
    asking.start(0.25)
    await wait_until_all_began(rig, running)
    await rig.sleep(BEFORE)
    if case.fault:
        first.control("x", case.fault)
    await rig.sleep(AFTER)
    asking.stop()
    for each in running:
        each.kill()
    await rig.until(lambda: all(each.ended for each in running), 20)
    await rig.stop()
    await first.stop()
    await second.stop()
    return running


async def wait_until_all_began(rig: LoopbackRig, running: list[RunningPlayer]) -> None:
    """Wait for the start of all players, up to the timeout."""
    try:
        await rig.until(lambda: all(each.began for each in running), BEGINNING)
    except AssertionError:
        pass


def start(reactor, player: Player, url: str, folder: Path) -> RunningPlayer:
    """Start a player."""
    playing = RunningPlayer(player)
    arguments = player.arguments(url, folder)
    reactor.spawnProcess(
        playing,
        arguments[0],
        arguments,
        {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "GST_DEBUG": "2", "GST_DEBUG_NO_COLOR": "1"},
    )
    return playing


def verdict(case: Case, playing: RunningPlayer) -> tuple[str, bool]:
    """Return the result of a player as text, and whether it is as expected."""
    gained, still = playing.gained(), playing.still(playing.killed or playing.ended)
    on = playing.killed is not None and gained > 10 and still < case.still + playing.player.time_lag
    faults, page = playing.player.faults(playing.text), page_report(playing.text)
    if page and not re.search(case.page_pattern, playing.text):
        faults.append(f"no report matches {case.page_pattern}")
    if page and page.pictures < case.pictures:
        faults.append(f"{page.pictures} pictures only")
    did = "plays on" if on else "ends" if playing.killed is None else "stands still"
    words = f"{did}; {gained:.1f} s shown, longest still {still:.2f} s, {len(playing.complaints())} complaints"
    if page:
        words += f", {page.dropped} of {page.pictures} pictures dropped"
    return "; ".join([words, *faults]), (on and not faults) or playing.player.name not in case.must_continue


async def try_one(reactor, case: Case, players: list[Player], chosen: argparse.Namespace) -> int:
    """Run a case and print its row.

    :return: number of players with a wrong result.
    """
    with tempfile.TemporaryDirectory(prefix="m3uproxy-players-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o777)
        running = await watch(reactor, case, [each for each in players if each.name in case.players], folder)
    words = {each.player.name: verdict(case, each) for each in running}
    cells = [words.get(each.name, ("", True)) for each in players]
    print(f"| {case.name} | {' | '.join(('' if right else 'WRONG: ') + text for text, right in cells)} |", flush=True)
    for each in running:
        for line in list(dict.fromkeys(each.complaints()))[: chosen.lines]:
            print(f"    {each.player.name}: {line[:160]}", file=sys.stderr, flush=True)
        if chosen.logs:
            Path(chosen.logs, f"{case.name}-{each.player.name}.log".replace(" ", "_")).write_text(each.text)
    return sum(not right for _, right in cells)


async def run(reactor, chosen: argparse.Namespace) -> None:
    """Run all tables.

    :raises SystemExit: at the end, with the exit status.
    """
    pages, wrong = Pages(reactor), 0
    wanted = [each for each in (*PLAYERS, *browsers(pages)) if each.name in (chosen.players or each.name).split(",")]
    installed = [each for each in wanted if each.installed]
    if not installed:
        raise SystemExit(2)
    for title, cases in TABLES.items():
        tried = [case for case in cases if chosen.only in f"{title}: {case.name}"]
        players = [each for each in installed if any(each.name in case.players for case in tried)]
        picked = [case for case in tried if any(each.name in case.players for each in players)]
        if picked:
            print(f"\n| {title} | {' | '.join(each.name for each in players)} |", flush=True)
        for case in picked:
            wrong += await try_one(reactor, case, players, chosen)
    await pages.stop()
    raise SystemExit(1 if wrong else 0)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="tests/players/run.py", description=__doc__)
    parser.add_argument("--no-install", action="store_true", help="skip missing players")
    parser.add_argument("--only", default="", help="cases with this text in their name or in the name of their table")
    parser.add_argument("--players", default="", help="names of players, separated by commas (all)")
    parser.add_argument("--lines", type=int, default=3, help="complaints to print for each player (3)")
    parser.add_argument("--logs", default="", help="folder for the logs of the players")
    chosen = parser.parse_args()
    if not chosen.no_install:
        install()
    react(lambda reactor: ensureDeferred(run(reactor, chosen)))


if __name__ == "__main__":
    main()
