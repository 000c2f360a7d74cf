"""The files of the web side: a fixed set, read once. No path of a request reaches the file system."""

from __future__ import annotations

from importlib.resources import files

from ..responses import RawAnswer

_TYPES = {"svg": "image/svg+xml", "png": "image/png", "ico": "image/x-icon"}
_NAMES = ("favicon.svg", "favicon.png", "favicon.ico", "logo.svg", "logo.png")
#: For a day; they have no version in their names. An SVG that is opened as a page may do nothing.
_HEADERS = {
    "Cache-Control": "public, max-age=86400",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def load_assets() -> dict[str, RawAnswer]:
    """All files by name, ready to be sent."""
    folder = files(__package__) / "static"
    return {name: RawAnswer((folder / name).read_bytes(), _TYPES[name[-3:]], _HEADERS) for name in _NAMES}
