"""Players: start, displayed time, and complaints in the log."""

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

#: Largest step of the displayed time in seconds. After a discontinuity VLC displays the clock of the new source.
MAX_STEP = 10.0


def _clock(text: str) -> float:
    """Parse ``h:mm:ss.fraction`` or seconds."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


@attrs.frozen
class Player:
    """A player program.

    :ivar command: returns the arguments for a URL and an empty folder.
    :ivar time_pattern: finds the displayed time in the output.
    :ivar complaint_pattern: finds complaints in the output.
    :ivar time_lag: seconds by which the reported time may lag.
    :ivar time_query: input that requests the time, written four times a second.
    :ivar unprivileged: the program refuses to run as root.
    :ivar faults: returns further errors in the output.
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
        """Return the command line. An unprivileged program runs as user ``nobody``."""
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
    """A running player, with its output and the times that it displayed."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.text = ""
        self.times: list[tuple[float, float]] = []
        self.ended: float | None = None
        self.killed: float | None = None
        self._rest = ""

    def outReceived(self, data: bytes) -> None:
        """Record output, and each displayed time with the current time."""
        more = data.decode("utf-8", "replace").replace("\r", "\n")
        self.text += more
        *lines, self._rest = (self._rest + more).split("\n")
        for found in self.player.time_pattern.finditer("\n".join([*lines, ""])):
            shown = _clock(found[1])
            # Some players report 0 before the first picture.
            if shown or self.times:
                self.times.append((time.monotonic(), shown))

    errReceived = outReceived

    def processEnded(self, reason) -> None:
        """Record the end of the process."""
        self.ended = time.monotonic()

    def kill(self) -> None:
        """Kill the process if it still runs."""
        if self.ended is None:
            self.killed = time.monotonic()
            self.transport.signalProcess("KILL")

    @property
    def began(self) -> bool:
        """Flag: the player displays a picture, or has ended."""
        return bool(self.times) or self.ended is not None

    def ask(self) -> None:
        """Request the time."""
        if self.player.time_query and self.ended is None:
            self.transport.write(self.player.time_query)

    def still(self, until: float) -> float:
        """Return the longest time in seconds without a change of the displayed time, up to ``until``."""
        longest, since, shown = 0.0, None, None
        for at, value in [*self.times, (until, -1.0)]:
            if shown is None or value != shown:
                longest = max(longest, at - since) if since is not None else 0.0
                since, shown = at, value
        return longest

    def gained(self) -> float:
        """Return the displayed seconds. Jumps to another clock do not count."""
        shown = [value for _, value in self.times]
        return sum(later - sooner for sooner, later in pairwise(shown) if 0 < later - sooner < MAX_STEP)

    def complaints(self) -> list[str]:
        """Return the complaints in the log."""
        return [found[0].strip() for found in self.player.complaint_pattern.finditer(self.text)]
