"""The house check (``tools/check_house.py``): findings and limits on a small tree."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_TOOL = Path(__file__).parents[1] / "tools" / "check_house.py"


def load_tool():
    spec = importlib.util.spec_from_file_location("check_house", _TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check(tmp_path, capsys):
    """Return a function that checks modules (path, text) and returns the exceeded limits and the printed lines."""

    def run(modules: dict[str, str], *prefixes: str) -> tuple[list[str], list[str]]:
        for name, text in modules.items():
            path = tmp_path / "m3uproxy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        exceeded = load_tool().check(tmp_path, prefixes or ("",))
        return exceeded, capsys.readouterr().out.splitlines()

    return run


def test_plain_tree_exceeds_no_limit(check):
    exceeded, lines = check({"a.py": '"""A module."""\n\n\nclass Ring:\n    """The last seconds of a stream."""\n'})
    assert exceeded == []
    assert not [line for line in lines if line.startswith("m3uproxy/")]


@pytest.mark.parametrize("word", ["What", "Who", "Whether", "Nobody", "One", "It", "Such"])
def test_docstring_that_hides_its_subject_is_found(check, word):
    exceeded, lines = check({"a.py": f'"""A module."""\n\n\ndef f() -> None:\n    """{word} is done."""\n'})
    assert f"m3uproxy/a.py:4: begins with {word!r}" in lines
    assert exceeded[0] == "50.0% of docstrings begin with a word that hides the subject"


def test_pronouns_inside_a_docstring_are_counted(check):
    exceeded, lines = check({"a.py": '"""Return the player, whoever asks for what."""\n'})
    assert "m3uproxy/a.py:1: whoever, what" in lines
    assert any("of who, nobody, somebody, what in 100 words" in text for text in exceeded)


def test_class_defined_twice_is_found(check):
    text = '"""A module."""\n\n\nclass Owner:\n    """An owner."""\n'
    exceeded, lines = check({"a.py": text, "b/c.py": text})
    assert "class Owner is defined at m3uproxy/a.py:4, m3uproxy/b/c.py:4" in lines
    assert exceeded == ["1 class names defined twice"]


def test_nested_class_counts(check):
    exceeded, _ = check({"a.py": "class A:\n    class B:\n        pass\n", "b.py": "class B:\n    pass\n"})
    assert exceeded == ["1 class names defined twice"]


def test_long_module_is_found(check):
    exceeded, lines = check({"a.py": "pass\n" * 501})
    assert "m3uproxy/a.py: 501 lines, limit 500" in lines
    assert exceeded == ["1 modules over 500 lines"]


def test_short_modules_are_counted(check):
    exceeded, lines = check({f"m{number}.py": "pass\n" * 44 for number in range(13)})
    assert "m3uproxy/m0.py: 44 lines" in lines
    assert exceeded == ["13 modules under 45 lines"]


def test_packages_and_modules_of_constants_are_no_short_modules(check):
    _, lines = check({"p/__init__.py": "pass\n" * 44, "tiny.py": "pass\n" * 8})
    assert "0 modules under 45 lines" in lines


def test_test_provider_is_not_checked(check):
    exceeded, _ = check({"a.py": '"""A module."""\n', "provider/x.py": '"""What is this."""\n'})
    assert exceeded == []


def test_prefix_limits_the_findings_but_not_the_limits(check):
    text = '"""What is this."""\n'
    exceeded, lines = check({"a.py": text, "b/c.py": text}, "m3uproxy/b/")
    assert [line for line in lines if "begins with" in line] == ["m3uproxy/b/c.py:1: begins with 'What'"]
    assert exceeded[0].startswith("100.0%")
