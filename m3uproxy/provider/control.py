"""Pages of the provider itself: ``/stats``, ``/control``, ``/reset`` and the list of faults at ``/``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from m3uproxy.provider.answers import Answer, short_answer
from m3uproxy.provider.faults import ROWS, BadFault, parse_faults
from m3uproxy.provider.file_faults import ROWS as FILE_ROWS
from m3uproxy.provider.hls.options import OPTIONS
from m3uproxy.provider.requests import Request
from m3uproxy.provider.station import EVERY, Station


def json_answer(content: Any, status: int = 200) -> Answer:
    """Return an answer in JSON."""
    return short_answer(status, "application/json", (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def set_faults(station: Station, channel: str, pairs: list[tuple[str, str]]) -> int:
    """Replace the faults of a channel. ``fault=none`` is ignored, so alone it removes all faults.

    :return: number of current bodies that the faults were applied to.
    :raises BadFault: an unknown name or an invalid value; the faults are unchanged.
    """
    given = parse_faults([pair for pair in pairs if pair != ("fault", "none")], strict=True)
    return station.control(channel, given)


def _stats(station: Station, request: Request) -> Answer:
    return json_answer(station.report())


def _reset(station: Station, request: Request) -> Answer:
    station.reset()
    return json_answer({"reset": True})


def _control(station: Station, request: Request) -> Answer:
    pairs = request.query
    name = next((value for key, value in pairs if key == "channel"), EVERY)
    wanted = [pair for pair in pairs if pair[0] != "channel"]
    try:
        affected = set_faults(station, name, wanted)
    except BadFault as error:
        return json_answer({"error": str(error)}, 400)
    return json_answer({"channel": name, "faults": [list(pair) for pair in wanted], "bodies": affected})


def _index(station: Station, request: Request) -> Answer:
    lines = ["Channels: /live/NAME.ts, /live/USER/PASS/ID, /live/USER/PASS/ID.ts", "Own pages: /stats /control /reset"]
    lines += [f"{name:18} {row.metadata['text']}" for name, row in ROWS.items()]
    lines += ["", "Films: /movie/…, /series/…, /timeshift/…, /file/…"]
    lines += [f"{name:18} {row.metadata['text']}" for name, row in FILE_ROWS.items()]
    lines += ["HLS: /hls/NAME/master.m3u8, and what its playlists name"]
    lines += [f"{name:18} {row.metadata['text']}" for name, row in OPTIONS.items()]
    return short_answer(200, "text/plain; charset=utf-8", ("\n".join(lines) + "\n").encode("utf-8"))


PAGES: dict[str, Callable[[Station, Request], Answer]] = {
    "/": _index,
    "/stats": _stats,
    "/control": _control,
    "/reset": _reset,
}
