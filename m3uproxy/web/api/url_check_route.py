"""``POST /test-connection``: whether we reach a URL, in words for whoever sets up a network."""

from __future__ import annotations

from http import HTTPStatus

from ...errors import Reason, SourceError
from ...interfaces import IUrlChecker
from .endpoint import Route
from .request_models import TestConnection, check_url
from .response_types import ConnectionTested

#: Seconds within which a URL must answer.
TIMEOUT = 5.0

_WORDS = {
    Reason.DNS: "The name of the host is not known here.",
    Reason.REFUSED: "The host is there, but nothing listens on that port.",
    Reason.UNREACHABLE: "There is no way from here to the host.",
    Reason.CONNECT_TIMEOUT: "The host did not answer in time. A firewall may be in between.",
    Reason.FIRST_BYTE_TIMEOUT: "The host accepted the connection but did not answer the request in time.",
    Reason.TLS: "No secure connection could be made. The certificate may be wrong.",
    Reason.BAD_HEAD: "Something answered, but not in HTTP.",
    Reason.BAD_REDIRECT: "This is not a URL that can be fetched.",
    Reason.RESET: "The host closed the connection without an answer.",
    Reason.ENDED: "The host closed the connection without an answer.",
    Reason.FORBIDDEN: "The settings of the proxy do not allow this address.",
}


def tested(url: str) -> str:
    """What is fetched for ``url``: base URLs are written with and without a slash."""
    return url.strip().rstrip("/")


def answered(url: str, status: int) -> ConnectionTested:
    """The URL answered. Only 200 is a success: a redirect leads somewhere that we were not told of."""
    success = status == HTTPStatus.OK
    words = "The URL answers." if success else f"The URL answers, but with status {status}{_phrase(status)}."
    if 300 <= status < 400:
        words += " Redirects are not followed; use the URL it leads to."
    return {"success": success, "message": words, "status_code": status, "url_tested": url}


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def failed(url: str, error: SourceError) -> ConnectionTested:
    """The URL did not answer."""
    words = _WORDS.get(error.reason, "The URL could not be fetched.")
    return {"success": False, "message": words, "error": str(error), "url_tested": url}


def unusable(url: str, why: str) -> ConnectionTested:
    """The URL cannot be asked."""
    words = f"This cannot be fetched: {why}."
    return {"success": False, "message": words, "error": why, "url_tested": url}


class ConnectionTestApi:
    """Fetches what it is asked to and says how that went."""

    def __init__(self, probe: IUrlChecker) -> None:
        self._probe = probe

    def routes(self) -> list[Route]:
        """What is answered here."""
        return [
            Route(
                method="POST",
                path="/test-connection",
                view=self.test,
                summary="Fetch a URL from here and say how that went",
                description=f"Within {TIMEOUT:g} seconds, following no redirect. Slashes at the end of the URL are "
                "dropped. The status of the answer is always 200; `success` says more.",
                tag="server",
                body=TestConnection,
                answer=ConnectionTested,
            )
        ]

    async def test(self, body: TestConnection) -> ConnectionTested:
        """Fetch a URL."""
        url = tested(body.url)
        try:
            check_url(url)
        except ValueError as error:
            return unusable(url, str(error))
        try:
            return answered(url, await self._probe.status(url, TIMEOUT))
        except SourceError as error:
            return failed(url, error)
