"""The header Retry-After."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.retry_after import MAX_SECONDS, parse_retry_after

DATE = "Mon, 30 Nov 2026 04:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("8", "", 8),
        (" 120 ", "", 120),
        ("0", "", 0),
        ("9" * 50, "", MAX_SECONDS),
        ("Mon, 30 Nov 2026 04:00:08 GMT", DATE, 8),
        ("Mon, 30 Nov 2026 03:00:00 GMT", DATE, 0),
        ("Mon, 30 Nov 2026 04:00:08 GMT", "", None),
        ("soon", DATE, None),
        ("-5", "", None),
        ("", "", None),
    ],
)
def test_retry_after(value: str, date: str, seconds: float | None) -> None:
    assert parse_retry_after(value, date) == seconds


@given(st.text(), st.text())
def test_any_text(value: str, date: str) -> None:
    seconds = parse_retry_after(value, date)
    assert seconds is None or 0 <= seconds <= MAX_SECONDS
