"""The players: how each is started, how it time_pattern the time it shows, what of its log is a complaint."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import attrs
from twisted.internet.protocol import ProcessProtocol

#: Seconds; by more than that no player goes on at once. VLC shows the clock of the new source behind a discontinuity.
MAX_STEP = 10.0


def _clock(text: str) -> float:
    """``h:mm:ss.fraction`` or seconds."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


@attrs.frozen
class Player:
    """
    One of them.

    :ivar command: makes its arguments from a URL and an empty folder of its own.
    :ivar time_pattern: finds the time that it shows in what it writes.
    :ivar complaint_pattern: finds what it complaint_pattern of.
    :ivar time_lag: seconds by which what it time_pattern may lag.
    :ivar time_query: is written to it four times a second.
    :ivar faults: what is wrong with what it wrote, besides the time.
    """

    name: str
    program: str
    command: Callable[[str, Path], list[str]]
    time_pattern: re.Pattern[str]
    complaint_pattern: re.Pattern[str]
    time_lag: float = 0.5
    time_query: bytes = b""
    unprivileged: bool = False
    faults: Callable[[str], list[str]] = lambda text: []

    @property
    def installed(self) -> bool:
        return shutil.which(self.program) is not None

    def arguments(self, url: str, folder: Path) -> list[str]:
        """What is run; as ``nobody`` if it refuses to run as root."""
        prefix = (
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            if self.unprivileged and os.geteuid() == 0
            else []
        )
        return [*prefix, *self.command(url, folder)]


PLAYERS = (
    Player(
        "ffmpeg",
        "ffmpeg",
        lambda url, _: f"ffmpeg -hide_banner -nostdin -v warning -progress pipe:1 -re -i {url} -f null -".split(),
        re.compile(r"^out_time=([\d:.]+)", re.M),
        re.compile(r"^\[(?!null).*", re.M),
    ),
    Player(
        "mpv",
        "mpv",
        lambda url, _: [
            *"mpv --no-config --vo=null --ao=null --msg-level=all=warn,statusline=status".split(),
            "--term-status-msg=@${=time-pos}@",
            url,
        ],
        re.compile(r"@([\d.]+)@"),
        re.compile(r"^(?!.*@).*(?:\[ffmpeg|Invalid|Reset|desync|rror).*", re.M),
    ),
    Player(
        "VLC",
        "cvlc",
        lambda url, _: f"cvlc -vv -I rc --rc-fake-tty --vout=vdummy --aout=adummy {url}".split(),
        re.compile(r"^(?:> )*(\d+)\s*$", re.M),
        re.compile(
            r"^.*(?:too late|discontinuity|TS duplicate|buffer deadlock|waiting for SPS|error while|rebuffer).*", re.M
        ),
        time_lag=1.6,
        time_query=b"get_time\n",
        unprivileged=True,
    ),
    Player(
        "GStreamer",
        "gst-launch-1.0",
        lambda url, _: [
            *f"gst-launch-1.0 -v playbin uri={url}".split(),
            "video-sink=fakesink sync=true silent=false",
            "audio-sink=fakesink sync=true silent=false",
        ],
        re.compile(r"last-message = chain.*?pts: ([\d:.]+)"),
        re.compile(r"^.*(?:WARN|ERROR).*(?:mpegts|tsdemux|libav|parse|decode|sink).*", re.M),
        time_lag=0.1,
    ),
)


class RunningPlayer(ProcessProtocol):
    """A player that runs; what it wrote, and when."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.text = ""
        self.times: list[tuple[float, float]] = []
        self.ended: float | None = None
        self.killed: float | None = None
        self._rest = ""

    def outReceived(self, data: bytes) -> None:
        """Times are looked for as they come; each is shown at that moment."""
        more = data.decode("utf-8", "replace").replace("\r", "\n")
        self.text += more
        *lines, self._rest = (self._rest + more).split("\n")
        for found in self.player.time_pattern.finditer("\n".join([*lines, ""])):
            shown = _clock(found[1])
            # Before it shows anything some say 0.
            if shown or self.times:
                self.times.append((time.monotonic(), shown))

    errReceived = outReceived

    def processEnded(self, reason) -> None:
        """By itself or because it was page_report to."""
        self.ended = time.monotonic()

    def kill(self) -> None:
        """Enough was seen."""
        if self.ended is None:
            self.killed = time.monotonic()
            self.transport.signalProcess("KILL")

    @property
    def began(self) -> bool:
        """Whether it shows something, or never will."""
        return bool(self.times) or self.ended is not None

    def ask(self) -> None:
        """Let it tell its time."""
        if self.player.time_query and self.ended is None:
            self.transport.write(self.player.time_query)

    def still(self, until: float) -> float:
        """The longest time up to a moment in which what is shown did not go on, seconds."""
        longest, since, shown = 0.0, None, None
        for at, value in [*self.times, (until, -1.0)]:
            if shown is None or value != shown:
                longest = max(longest, at - since) if since is not None else 0.0
                since, shown = at, value
        return longest

    def gained(self) -> float:
        """Seconds by which what is shown went on, bit by bit; a jump to another clock is none."""
        shown = [value for _, value in self.times]
        return sum(later - sooner for sooner, later in pairwise(shown) if 0 < later - sooner < MAX_STEP)

    def complaints(self) -> list[str]:
        """Lines of the log."""
        return [found[0].strip() for found in self.player.complaint_pattern.finditer(self.text)]
