"""Requirements of the players: Debian packages, and two libraries for web pages from npm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

#: Debian packages of each program.
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
    "chromium": ["chromium"],
    "npm": ["npm"],
}
#: Versions of the libraries for web pages, as in ``docs/players.md``, and the file that a page loads.
LIBRARIES = {"hls.js": ("1.7.4", "dist/hls.js"), "mpegts.js": ("1.8.2", "dist/mpegts.js")}
#: Folder of the libraries. It is ignored by git, and ``make clean`` removes it.
CACHE = Path(__file__).parents[2] / ".run" / "players"


def library(name: str) -> Path:
    """Return the file of a library that a page loads."""
    return CACHE / "node_modules" / name / LIBRARIES[name][1]


def _has_library(name: str) -> bool:
    description = CACHE / "node_modules" / name / "package.json"
    return description.exists() and json.loads(description.read_text())["version"] == LIBRARIES[name][0]


def install() -> None:
    """Install missing requirements, or print them if this user cannot install them."""
    missing = [package for program, packages in PACKAGES.items() if not shutil.which(program) for package in packages]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], check=False)
        subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], check=True)
    elif missing:
        print("missing (root on Debian gets them by itself):", *missing, file=sys.stderr)
    wanted = [f"{name}@{version}" for name, (version, _) in LIBRARIES.items() if not _has_library(name)]
    if wanted and shutil.which("npm"):
        CACHE.mkdir(parents=True, exist_ok=True)
        quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(["npm", "install", "--prefix", str(CACHE), *quiet, *wanted], check=True)
