"""Check the structure and the wording of the package: ``python tools/check_house.py CHECKOUT [PREFIX ...]``.

The limits keep later changes at the level that ``CONTRIBUTING.md`` describes. With prefixes (``m3uproxy/core/``) only
findings below these paths are listed. Ends with status 1 if a limit is exceeded.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import attrs

#: First words of docstrings that hide the subject.
RIDDLES = frozenset(
    "What Who Whose Whom Whether Where Why How When Of Those That None Nobody Nothing Somebody One It Such "
    "Which".split()
)
_PRONOUN = re.compile(r"\b(?:who|whoever|nobody|somebody|what)\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_SHORT_MODULE = 45
#: Modules up to this size may hold a constant or two; they are not counted as short.
_TINY_MODULE = 8

#: None today, so that the first one fails the check.
MAX_RIDDLE_SHARE = 0.0
MAX_PRONOUNS_PER_100_WORDS = 0.5
MAX_SHORT_MODULES = 12
MAX_MODULE_LINES = 500


@attrs.frozen
class Docstring:
    """A docstring and its place."""

    path: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """File and line, for an editor."""
        return f"{self.path}:{self.line}"


def modules(root: Path) -> Iterator[tuple[str, str, ast.Module]]:
    """Yield path, text and tree of each module of the package, without the test provider."""
    for path in sorted((root / "m3uproxy").rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith("m3uproxy/provider/"):
            text = path.read_text()
            yield name, text, ast.parse(text)


def docstrings(path: str, tree: ast.Module) -> Iterator[Docstring]:
    """Yield the docstrings of a module, its classes and its functions."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield Docstring(path, getattr(node, "lineno", 1), text)


def is_riddle(docstring: Docstring) -> bool:
    """Return whether a docstring begins with a word that hides its subject."""
    return docstring.text.split(maxsplit=1)[0].rstrip(",;:") in RIDDLES


def classes(path: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield name and place of each class, nested ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, f"{path}:{node.lineno}"


def check(root: Path, prefixes: tuple[str, ...] = ("",)) -> list[str]:
    """Return the limits that are exceeded, one line each, and print the findings below the prefixes."""
    found: list[Docstring] = []
    places: dict[str, list[str]] = defaultdict(list)
    short, long = [], []
    for path, text, tree in modules(root):
        found += docstrings(path, tree)
        for name, place in classes(path, tree):
            places[name].append(place)
        lines = text.count("\n")
        if _TINY_MODULE < lines < _SHORT_MODULE and not path.endswith("__init__.py"):
            short.append(f"{path}: {lines} lines")
        if lines > MAX_MODULE_LINES:
            long.append(f"{path}: {lines} lines, limit {MAX_MODULE_LINES}")
    twice = [f"class {name} is defined at {', '.join(at)}" for name, at in sorted(places.items()) if len(at) > 1]
    riddles = [item for item in found if is_riddle(item)]
    pronouns = [item for item in found if _PRONOUN.search(item.text)]
    for line in (
        *(f"{item.place}: begins with {item.text.split()[0]!r}" for item in riddles),
        *(f"{item.place}: {', '.join(_PRONOUN.findall(item.text))}" for item in pronouns),
        *twice,
        *short,
        *long,
    ):
        if any(prefix in line for prefix in prefixes):
            print(line)
    return _exceeded(found, riddles, twice, short, long)


def _exceeded(
    found: list[Docstring], riddles: list[Docstring], twice: list[str], short: list[str], long: list[str]
) -> list[str]:
    words = sum(len(_WORD.findall(item.text)) for item in found)
    pronouns = sum(len(_PRONOUN.findall(item.text)) for item in found)
    share, rate = len(riddles) / max(len(found), 1), 100 * pronouns / max(words, 1)
    figures = [
        (f"{share:.1%} of docstrings begin with a word that hides the subject", share > MAX_RIDDLE_SHARE),
        (f"{rate:.2f} of who, nobody, somebody, what in 100 words", rate > MAX_PRONOUNS_PER_100_WORDS),
        (f"{len(short)} modules under {_SHORT_MODULE} lines", len(short) > MAX_SHORT_MODULES),
        (f"{len(long)} modules over {MAX_MODULE_LINES} lines", bool(long)),
        (f"{len(twice)} class names defined twice", bool(twice)),
    ]
    for text, _ in figures:
        print(text)
    return [text for text, exceeded in figures if exceeded]


if __name__ == "__main__":
    exceeded = check(Path(sys.argv[1]), tuple(sys.argv[2:]) or ("",))
    for text in exceeded:
        print(f"limit exceeded: {text}")
    sys.exit(1 if exceeded else 0)
