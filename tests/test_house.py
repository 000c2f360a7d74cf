"""Structure of the package: direction of imports, a core without I/O, no import cycle."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: From top to bottom. A package imports from lower rows only; packages in one row do not import each other.
#: A row may name packages that do not exist yet: front, metrics, transcode, events, store.
ROWS = (
    "tap cli demo __main__",
    "web daemon",
    "front metrics transcode",
    "events store",
    "registry",
    "stream_factory",
    "hls vod",
    "live",
    "streams",
    "upstream downstream",
    "interfaces",
    "settings",
    "timers waiting",
    "log",
    "core",
    "errors",
    "_version",
)
RANK = {name: number for number, row in enumerate(ROWS) for name in row.split()}
#: Stricter than the row: the only packages that these import.
ONLY = {"cli": {"core", "errors", "_version"}, "core": {"errors"}, "__main__": {"cli"}}
#: Stricter than the row: packages that these do not import.
NEVER = {"vod": {"live"}}
#: Modules outside the package that ``core/`` may import. They neither read a clock nor do I/O.
PURE = set(
    "__future__ abc attrs base64 bisect collections cryptography datetime email enum functools hashlib hmac idna "
    "ipaddress itertools json math re statistics typing urllib zlib".split()
)
#: Calls that read a clock, do I/O, or load a module behind the back of this test.
IMPURE_CALLS = set("now utcnow today open print input __import__ import_module".split())


def module_paths() -> dict[str, Path]:
    """Return the path of each module by its dotted name, without the test provider."""
    paths = {}
    for path in sorted((ROOT / "m3uproxy").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not name.startswith("m3uproxy.provider"):
            paths[name] = path
    return paths


PATHS = module_paths()


def imports(name: str) -> Iterator[tuple[str, int]]:
    """Yield each module that a module imports, anywhere in its text, with the line."""
    path = PATHS[name]
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            target = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                yield (inner if inner in PATHS else target), node.lineno


def package_of(module: str) -> str:
    """Return the package below ``m3uproxy``, or the module where there is none; ``_version`` for the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "_version"


def is_allowed(importer: str, imported: str) -> bool:
    """Return whether the import rule lets one package import another one."""
    if importer == imported:
        return True
    if importer in ONLY:
        return imported in ONLY[importer]
    return RANK[imported] > RANK[importer] and imported not in NEVER.get(importer, ())


def test_every_package_has_a_row() -> None:
    assert {package_of(name) for name in PATHS} <= set(RANK) | {"_version"}


@pytest.mark.parametrize("name", [name for name in PATHS if name != "m3uproxy"])
def test_imports_point_downwards(name: str) -> None:
    importer = package_of(name)
    wrong = [
        f"{PATHS[name].relative_to(ROOT)}:{line} imports {imported}"
        for imported, line in imports(name)
        if imported.split(".")[0] == "m3uproxy" and not is_allowed(importer, package_of(imported))
    ]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in PATHS if package_of(name) == "core"])
def test_core_is_pure(name: str) -> None:
    foreign = {imported.split(".")[0] for imported, _ in imports(name)} - {"m3uproxy"}
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(PATHS[name].read_text()))
        if isinstance(node, ast.Call)
    }
    assert foreign <= PURE
    assert called & IMPURE_CALLS == set()


def test_modules_do_not_import_each_other() -> None:
    graph = {name: {imported for imported, _ in imports(name) if imported in PATHS} for name in PATHS}
    assert cycles(graph) == []


def test_packages_have_a_docstring() -> None:
    packages = [path for path in PATHS.values() if path.stem == "__init__"]
    assert [str(path) for path in packages if not ast.get_docstring(ast.parse(path.read_text()))] == []


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other (strongly connected components, Tarjan 1972)."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 4 * len(graph)))
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def test_cycles_are_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert cycles({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("web", "hls", True),
        ("hls", "web", False),
        ("vod", "live", False),
        ("hls", "live", True),
        ("hls", "vod", False),
        ("cli", "settings", False),
        ("cli", "core", True),
        ("core", "log", False),
        ("store", "registry", True),
        ("registry", "events", False),
    ],
)
def test_import_rule(importer: str, imported: str, allowed: bool) -> None:
    assert is_allowed(importer, imported) is allowed
