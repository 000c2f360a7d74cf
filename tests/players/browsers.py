"""Chromium with a library for web pages, as a player like the others: it plays a URL and reports the time.

Nothing drives it: the page (``player.html``) plays by itself and writes to its console, which Chromium copies to its
standard error. So no library for browsers is needed, and no second protocol.
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

#: Part of the pictures that a busy machine may be too late for.
MOST_DROPPED = 0.02
#: As given by :func:`tell` of the page.
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
    """What a page page_report last: counts from its beginning on."""

    pictures: int
    dropped: int
    corrupted: int
    sound: int
    cues: int


def page_report(text: str) -> PageReport | None:
    """The last that a page page_report; None if it never showed anything."""
    found = _REPORT.findall(text)
    return PageReport(*map(int, found[-1][1:])) if found else None


def _command(pages: Pages, name: str, url: str, folder: Path) -> list[str]:
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return ["chromium", *_OPTIONS, *root, f"--user-data-dir={folder / name}", pages.url(name, url)]


def _faults(text: str) -> list[str]:
    """What is wrong: an error that ends it, or a decoder that did not do all of its work."""
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
    """One for each library that is there."""
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
