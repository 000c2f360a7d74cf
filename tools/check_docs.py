"""Check the documentation: linked files, settings and routes must exist.

``python tools/check_docs.py CHECKOUT``; needs m3uproxy to be installed. Prints the errors and ends with status 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from m3uproxy.settings import FOR_NEW_STREAMS, NEED_RESTART, NO_EFFECT, Settings, display_value

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SETTING = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`")
_ROUTE = re.compile(r"`(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^`?\s]*)[^`]*`")
#: Other names of that form which are not settings.
_FOREIGN = {"LISTEN_FDS", "SO_SNDBUF", "PYTHONPATH", "CAP_NET_BIND_SERVICE"}


def main(root: Path) -> int:
    """Print all errors; return the exit status."""
    faults = [fault for document in documents(root) for fault in faults_in(document)]
    faults += settings_table(root / "docs" / "settings.md")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def documents(root: Path) -> list[Path]:
    """Return the documents."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "newsfragments").glob("*.md"))]


def faults_in(document: Path) -> Iterator[str]:
    """Yield an error for each link, setting or route that does not exist."""
    known = {name.upper() for name in (*Settings.model_fields, *NO_EFFECT)} | _FOREIGN
    for number, line in enumerate(document.read_text().splitlines(), 1):
        place = f"{document}:{number}"
        for link in _LINK.findall(line):
            path, _, _ = link.partition("#")
            if path and "://" not in path and not (document.parent / path).exists():
                yield f"{place}: no such file: {path}"
        for name in _SETTING.findall(line):
            if name not in known:
                yield f"{place}: no such setting: {name}"
        for method, path in _ROUTE.findall(line):
            if not any(known_method == method and fits(path, route) for known_method, route in routes()):
                yield f"{place}: no such route: {method} {path}"


def routes() -> set[tuple[str, str]]:
    """Return method and path of each route, with parameters in braces."""
    from m3uproxy.web.api.app import Api

    # The API uses its parts only when a request arrives.
    nothing: object = object()
    api = Api(nothing, Settings(), nothing, nothing, nothing, None)  # type: ignore[arg-type]
    return {(operation.method, operation.path) for operation in api.operations}


def fits(path: str, route: str) -> bool:
    """Return whether a documented path matches a route; parameters may have other names or a value."""
    parts = re.split(r"\{[^}]*\}", route)
    return re.fullmatch(r"[^/]+".join(map(re.escape, parts)), path) is not None


def settings_table(document: Path) -> Iterator[str]:
    """Yield an error for each setting without its row: name, default, effect of a reload."""
    rows = {}
    for line in document.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if line.startswith("| `") and len(cells) >= 4:
            rows[cells[0].strip("`").lower()] = cells[1:3]
    defaults = Settings()
    for name in Settings.model_fields:
        default = display_value(name, getattr(defaults, name))
        wanted = [f"`{default}`" if default else "", when(name)]
        if name == "state_dir":
            wanted[0] = rows.get(name, [""])[0]
        if rows.pop(name, None) != wanted:
            yield f"{document}: the row of {name.upper()} should begin: | `{name.upper()}` | {' | '.join(wanted)} |"
    for name in rows:
        yield f"{document}: no such setting: {name.upper()}"
    for name in NO_EFFECT:
        if f"`{name.upper()}`" not in document.read_text():
            yield f"{document}: {name.upper()} is not mentioned as one without effect"


def when(name: str) -> str:
    """Return when a reload changes a setting."""
    if name in NEED_RESTART:
        return "restart"
    return "new streams" if name in FOR_NEW_STREAMS else "at once"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
