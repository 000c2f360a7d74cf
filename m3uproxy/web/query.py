"""Parameters of a URL."""

# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.web.server import Request


def query_value(request: Request, name: bytes) -> str | None:
    """A parameter of the URL; the last one counts. What is not UTF-8 in it is replaced."""
    values: list[bytes] = request.args.get(name, [])
    return values[-1].decode("utf-8", "replace") if values else None
