"""Table of faults: parsing, and completeness of the documentation."""

import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.faults import ROWS, BadFault, Faults, When, make_faults, parse_faults
from m3uproxy.provider.heads import ODDITIES
from m3uproxy.provider.hls.options import OPTIONS
from m3uproxy.provider.playout import Playout
from m3uproxy.provider.schedule import SCHEDULED_FAULTS

GUIDE = Path(__file__).parents[2] / "docs" / "provider.md"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("close", "5s", When(seconds=5.0)),
        ("close", "0.5s", When(seconds=0.5)),
        ("close", "188", When(octets=188)),
        ("reset", "100k", When(octets=100_000)),
        ("stall", "2M", When(octets=2_000_000)),
        ("stall", "1.5k", When(octets=1500)),
        ("cut", "0", When(octets=0)),
        ("delay", "1.5", 1.5),
        ("status", "458", 458),
        ("json", "1", True),
        ("json", "0", False),
        ("limit", "0", 0),
        ("limit_answer", "html", "html"),
        ("limit_answer", "509", 509),
        ("head", "icy,lf", ("icy", "lf")),
        ("redirect", "chain", "chain"),
        ("ctype", "", ""),
        ("html", "video", "video"),
    ],
)
def test_values(name, text, value):
    assert parse_faults([(name, text)], strict=True) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("close", "soon"),
        ("close", "-1s"),
        ("close", "5m"),
        ("close", ""),
        ("delay", "-1"),
        ("delay", "nan"),
        ("delay", "inf"),
        ("delay", "1s"),
        ("status", "45"),
        ("json", "yes"),
        ("limit", "-1"),
        ("limit", "1.5"),
        ("limit_answer", "page"),
        ("head", "icy,odd"),
        ("redirect", "away"),
        ("times", "x"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_invalid_values_raise_bad_fault(name, text, strict):
    with pytest.raises(BadFault, match=name):
        parse_faults([(name, text)], strict)


def test_unknown_names_are_ignored_in_urls_only():
    assert parse_faults([("token", "abc"), ("close", "1")], strict=False) == {"close": When(octets=1)}
    with pytest.raises(BadFault, match="token"):
        parse_faults([("token", "abc")], strict=True)


@given(st.sampled_from(sorted(ROWS)), st.text(max_size=20))
def test_any_text_is_a_value_or_raises_bad_fault(name, text):
    try:
        given = parse_faults([(name, text)], strict=True)
    except BadFault:
        return
    assert getattr(make_faults(given), name) == given[name]


def test_later_sets_override_earlier_ones():
    assert make_faults() == Faults()
    assert make_faults({"delay": 1.0, "status": 503}, {"delay": 2.0}) == Faults(delay=2.0, status=503)


def test_playout_can_apply_every_scheduled_fault():
    for name in SCHEDULED_FAULTS:
        assert name in ROWS
        assert callable(getattr(Playout, f"_apply_{name}"))
    assert {row.name for row in attrs.fields(Faults) if "When" in str(row.type)} == set(SCHEDULED_FAULTS)


def test_documentation_has_exactly_the_faults_and_odd_heads():
    keys, section = {}, ""
    for line in GUIDE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("| `head=`"):
            section = "odd"
        elif match := re.match(r"\| `(\w+)` \|", line):
            keys.setdefault(section, set()).add(match[1])
    assert keys.pop("odd") == set(ODDITIES)
    keys.pop("Films")  # has a table of its own
    assert keys.pop("HLS") == {*OPTIONS, "stale"}
    assert set().union(*keys.values()) == set(ROWS) - {"stale"}
