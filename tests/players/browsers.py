"""Chromium with a library for web pages, as a player with a URL that reports its time.

No program controls Chromium. The page (``player.html``) plays by itself and writes to its console, and Chromium copies
the console to standard error. The tests therefore need no browser library and no second protocol.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import attrs
from packages import LIBRARIES, library
from pages import Pages
from programs import Player

#: Share of pictures that may be dropped on a busy machine.
MOST_DROPPED = 0.02
#: Line that the function ``tell`` of the page writes.
_REPORT = re.compile(r"@time ([\d.]+) pictures (\d+) dropped (\d+) corrupted (\d+) sound (\d+) cues (\d+)@")
_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--enable-logging=stderr",
)


@attrs.frozen
class PageReport:
    """The last report of a page: counts since its start."""

    pictures: int
    dropped: int
    corrupted: int
    sound: int
    cues: int


def page_report(text: str) -> PageReport | None:
    """Return the last report of a page, or None if the page showed no picture."""
    found = _REPORT.findall(text)
    return PageReport(*map(int, found[-1][1:])) if found else None


def _command(pages: Pages, name: str, url: str, folder: Path) -> list[str]:
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return ["chromium", *_OPTIONS, *root, f"--user-data-dir={folder / name}", pages.url(name, url)]


def _faults(text: str) -> list[str]:
    """Return errors that end the playback, and signs of an incomplete decode."""
    found = re.findall(r"@(FATAL .*?)@", text)
    last = page_report(text)
    if last is None:
        return [*found, "shows nothing"]
    if not last.sound:
        found.append("no sound")
    if last.dropped > MOST_DROPPED * last.pictures or last.corrupted:
        found.append(f"{last.dropped} pictures dropped, {last.corrupted} corrupted")
    return found


def browsers(pages: Pages) -> tuple[Player, ...]:
    """Return a player for each installed library."""
    return tuple(
        Player(
            name,
            "chromium",
            partial(_command, pages, name),
            re.compile(r"@time ([\d.]+) "),
            re.compile(r"@((?:error|waiting) .*?)@"),
            faults=_faults,
        )
        for name in LIBRARIES
        if library(name).exists()
    )
