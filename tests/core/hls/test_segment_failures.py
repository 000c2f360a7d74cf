"""Failed segments: which of them count against the source."""

import pytest

from m3uproxy.core.hls.segment_failures import SegmentFailures
from m3uproxy.core.hls.uri_rewriter import ResourceKind, ResourceRole
from m3uproxy.core.hls.url_tokens import TokenTarget

MAIN, SOUND, SIDE = ResourceRole


def segment(name: str, rung: int = 0, role: ResourceRole = MAIN) -> TokenTarget:
    return TokenTarget(f"http://a.example/{name}.ts", role=role, rung=rung)


@pytest.mark.parametrize("role", [MAIN, SOUND])
def test_second_different_segment_counts(role: ResourceRole) -> None:
    failures = SegmentFailures()
    assert not failures.failed(segment("1", role=role), 0, 0.0)
    assert not failures.failed(segment("1", role=role), 0, 0.0)
    assert failures.failed(segment("2", role=role), 0, 0.0)
    failures.clear()
    assert not failures.failed(segment("3", role=role), 0, 0.0)


def test_resources_beside_the_programme_neither_count_nor_help() -> None:
    failures = SegmentFailures()
    assert not any(failures.failed(segment(name, role=SIDE), 0, 0.0) for name in "123")
    assert not failures.failed(segment("4"), 0, 0.0)
    failures.succeeded(segment("5", role=SIDE), 1.0)
    assert failures.failed(segment("6"), 0, 0.0)


def test_failures_of_different_variants_count_together() -> None:
    failures = SegmentFailures()
    assert not failures.failed(segment("1", 1), 0, 0.0)
    assert failures.failed(segment("2", 2), 0, 0.0)


def test_variant_does_not_count_while_another_one_works() -> None:
    failures = SegmentFailures()
    failures.succeeded(segment("a", 2), 10.0)
    assert not any(failures.failed(segment(name, 1), 0, 5.0) for name in "1234")
    # One failure of the variant that works is tolerated as before; the second one leaves none that works.
    assert not failures.failed(segment("b", 2), 0, 5.0)
    assert failures.failed(segment("c", 2), 0, 5.0)


@pytest.mark.parametrize(
    ("other", "since"),
    [
        (segment("a", 2), 11.0),
        (segment("a", 2, SOUND), 5.0),
        (segment("a", 2, SIDE), 5.0),
        (segment("a", 0), 5.0),
        (segment("a", 1), 5.0),
    ],
    ids=["long ago", "sound", "beside", "no variant", "itself"],
)
def test_evidence_that_does_not_excuse_a_variant(other: TokenTarget, since: float) -> None:
    failures = SegmentFailures()
    failures.succeeded(other, 10.0)
    failures.failed(segment("x/1", 1), 0, since)
    assert failures.failed(segment("x/2", 1), 0, since)


def test_keys_of_the_programme_count_although_segments_come() -> None:
    failures = SegmentFailures()
    failures.succeeded(segment("a", 2), 10.0)
    keys = [TokenTarget(f"http://a.example/{n}.key", kind=ResourceKind.KEY) for n in "12"]
    assert [failures.failed(key, 0, 5.0) for key in keys] == [False, True]


def test_variant_that_recovers_is_tolerated_once_more() -> None:
    failures = SegmentFailures()
    failures.succeeded(segment("a", 2), 10.0)
    assert not any(failures.failed(segment(name, 1), 0, 5.0) for name in "12")
    failures.succeeded(segment("3", 1), 20.0)
    assert not failures.failed(segment("4", 1), 0, 100.0)
    assert failures.failed(segment("5", 1), 0, 100.0)
