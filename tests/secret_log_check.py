"""Words that stand for secrets in the tests, and an ear on the log that knows them."""

from __future__ import annotations

from typing import Any

from twisted.logger import eventAsText

USER = "wilhelmine7531"
PASSWORD = "posaune9042"
TOKEN = "xylophon6617"
API_TOKEN = "kontrabass2208"
SECRETS = (USER, PASSWORD, TOKEN, API_TOKEN)


class LogEar:
    """Hears every event of the log, as text, tracebacks included."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.leaks: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event; only what leaks is kept for ever."""
        text = eventAsText(event)
        del self.heard[:-1000]
        self.heard.append(text)
        if any(secret in text for secret in SECRETS):
            self.leaks.append(text)
