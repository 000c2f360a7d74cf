"""The players: how each is started, how it tells the time it shows, what of its log is a complaint."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable

import attrs
from twisted.internet.protocol import ProcessProtocol

#: Debian's packages for each program.
PACKAGES = {
    "ffmpeg": ["ffmpeg"],
    "mpv": ["mpv"],
    "cvlc": ["vlc-bin", "vlc-plugin-base"],
    "gst-launch-1.0": [
        "gstreamer1.0-tools",
        "gstreamer1.0-plugins-base",
        "gstreamer1.0-plugins-good",
        "gstreamer1.0-plugins-bad",
        "gstreamer1.0-plugins-ugly",
        "gstreamer1.0-libav",
    ],
}


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

    :ivar command: makes its arguments from a URL.
    :ivar tells: finds the time that it shows in what it writes.
    :ivar complains: finds what it complains of.
    :ivar grain: seconds by which what it tells may lag.
    :ivar asks: is written to it four times a second.
    """

    name: str
    program: str
    command: Callable[[str], list[str]]
    tells: re.Pattern[str]
    complains: re.Pattern[str]
    grain: float = 0.5
    asks: bytes = b""
    unprivileged: bool = False

    @property
    def installed(self) -> bool:
        return shutil.which(self.program) is not None

    def arguments(self, url: str) -> list[str]:
        """What is run; as ``nobody`` if it refuses to run as root."""
        prefix = (
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            if self.unprivileged and os.geteuid() == 0
            else []
        )
        return [*prefix, *self.command(url)]


PLAYERS = (
    Player(
        "ffmpeg",
        "ffmpeg",
        lambda url: f"ffmpeg -hide_banner -nostdin -v warning -progress pipe:1 -re -i {url} -f null -".split(),
        re.compile(r"^out_time=([\d:.]+)", re.M),
        re.compile(r"^\[(?!null).*", re.M),
    ),
    Player(
        "mpv",
        "mpv",
        lambda url: [
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
        lambda url: f"cvlc -vv -I rc --rc-fake-tty --vout=vdummy --aout=adummy {url}".split(),
        re.compile(r"^(?:> )*(\d+)\s*$", re.M),
        re.compile(
            r"^.*(?:too late|discontinuity|TS duplicate|buffer deadlock|waiting for SPS|error while|rebuffer).*", re.M
        ),
        grain=1.6,
        asks=b"get_time\n",
        unprivileged=True,
    ),
    Player(
        "GStreamer",
        "gst-launch-1.0",
        lambda url: [
            *f"gst-launch-1.0 -v playbin uri={url}".split(),
            "video-sink=fakesink sync=true silent=false",
            "audio-sink=fakesink sync=true silent=false",
        ],
        re.compile(r"last-message = chain.*?pts: ([\d:.]+)"),
        re.compile(r"^.*(?:WARN|ERROR).*(?:mpegts|tsdemux|libav|parse|decode|sink).*", re.M),
        grain=0.1,
    ),
)


class Playing(ProcessProtocol):
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
        for found in self.player.tells.finditer("\n".join([*lines, ""])):
            self.times.append((time.monotonic(), _clock(found[1])))

    errReceived = outReceived

    def processEnded(self, reason) -> None:
        """By itself or because it was told to."""
        self.ended = time.monotonic()

    def kill(self) -> None:
        """Enough was seen."""
        if self.ended is None:
            self.killed = time.monotonic()
            self.transport.signalProcess("KILL")

    def ask(self) -> None:
        """Let it tell its time."""
        if self.player.asks and self.ended is None:
            self.transport.write(self.player.asks)

    def still(self, until: float) -> float:
        """The longest time up to a moment in which what is shown did not go on, seconds."""
        longest, since, shown = 0.0, None, None
        for at, value in [*self.times, (until, -1.0)]:
            if shown is None or value != shown:
                longest = max(longest, at - since) if since is not None else 0.0
                since, shown = at, value
        return longest

    def gained(self) -> float:
        """Seconds by which what is shown went on."""
        return self.times[-1][1] - self.times[0][1] if self.times else 0.0

    def complaints(self) -> list[str]:
        """Lines of the log."""
        return [found[0].strip() for found in self.player.complains.finditer(self.text)]
