"""Which addresses we may connect to on behalf of others."""

from __future__ import annotations


def refused_literal(host: str) -> str | None:
    """Why a host that is an IP address in any notation is never connected to; None if it may be, or is a name.

    :param host: as in a URL, IPv6 with or without brackets.
    """
    return None
