"""Secrets of the tests, and a log observer that finds them."""

from __future__ import annotations

from typing import Any

from twisted.logger import eventAsText

USER = "wilhelmine7531"
PASSWORD = "posaune9042"
TOKEN = "xylophon6617"
API_TOKEN = "kontrabass2208"
SECRETS = (USER, PASSWORD, TOKEN, API_TOKEN)


class SecretLogCheck:
    """Log observer that collects the events that contain a secret, tracebacks included.

    :ivar lines: the last thousand events as text.
    :ivar leaks: all events with a secret.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.leaks: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        """Check an event."""
        text = eventAsText(event)
        del self.lines[:-1000]
        self.lines.append(text)
        if any(secret in text for secret in SECRETS):
            self.leaks.append(text)
