"""The header Retry-After (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

#: The longest time that is obeyed, in seconds. Some servers state hours for what is over in a minute.
MAX_SECONDS = 300.0


def parse_retry_after(value: str, date: str = "") -> float | None:
    """
    Return the seconds for which a provider asks not to be requested again; None if it does not say.

    :param value: the value of the header: seconds, or a date.
    :param date: the value of the response's ``Date``, which a date in ``value`` is compared with.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(MAX_SECONDS, float(value[:9]))
    try:
        seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(MAX_SECONDS, max(0.0, seconds))
