"""``POST /test-connection``: fetch a URL and explain the result to an operator."""

from __future__ import annotations

from http import HTTPStatus

from ...errors import Reason, SourceError
from ...interfaces import IUrlChecker
from .endpoint import Route
from .request_models import TestConnection, check_source_url
from .response_types import ConnectionTested

#: Timeout of the answer in seconds.
TIMEOUT = 5.0

_MESSAGES = {
    Reason.DNS: "The name of the host is not known here.",
    Reason.REFUSED: "The host is there, but nothing listens on that port.",
    Reason.UNREACHABLE: "The host is unreachable: there is no route to it.",
    Reason.CONNECT_TIMEOUT: "The host did not answer in time. A firewall may be in between.",
    Reason.FIRST_BYTE_TIMEOUT: "The host accepted the connection but did not answer the request in time.",
    Reason.TLS: "No secure connection could be made. The certificate may be wrong.",
    Reason.BAD_HEAD: "Something answered, but not in HTTP.",
    Reason.BAD_REDIRECT: "This is not a URL that can be fetched.",
    Reason.RESET: "The host closed the connection without an answer.",
    Reason.ENDED: "The host closed the connection without an answer.",
    Reason.FORBIDDEN: "The settings of the proxy do not allow this address.",
}


def normalised_url(url: str) -> str:
    """Return a URL without final slashes, because base URLs are written with and without them."""
    return url.strip().rstrip("/")


def status_result(url: str, status: int) -> ConnectionTested:
    """Return the result for a status. Only 200 is a success: the target of a redirect may be unwanted."""
    success = status == HTTPStatus.OK
    message = "The URL answers." if success else f"The URL answers, but with status {status}{_phrase(status)}."
    if 300 <= status < 400:
        message += " Redirects are not followed; use the target URL."
    return {"success": success, "message": message, "status_code": status, "url_tested": url}


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def failure_result(url: str, error: SourceError) -> ConnectionTested:
    """Return the result for a request that failed."""
    message = _MESSAGES.get(error.reason, "The URL could not be fetched.")
    return {"success": False, "message": message, "error": str(error), "url_tested": url}


def refused_result(url: str, why: str) -> ConnectionTested:
    """Return the result for a URL that the proxy does not fetch."""
    message = f"The URL cannot be fetched: {why}."
    return {"success": False, "message": message, "error": why, "url_tested": url}


class UrlCheckApi:
    """Route that fetches a URL and returns the result in words."""

    def __init__(self, url_checker: IUrlChecker) -> None:
        self._url_checker = url_checker

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                method="POST",
                path="/test-connection",
                view=self.test,
                summary="Fetch a URL and return the result",
                description=f"The timeout is {TIMEOUT:g} seconds. Redirects are not followed. Final slashes of the URL "
                "are removed. The status of this answer is always 200; see `success`.",
                tag="server",
                body=TestConnection,
                answer=ConnectionTested,
            )
        ]

    async def test(self, body: TestConnection) -> ConnectionTested:
        """Fetch a URL and return the result."""
        url = normalised_url(body.url)
        try:
            check_source_url(url)
        except ValueError as error:
            return refused_result(url, str(error))
        try:
            return status_result(url, await self._url_checker.status(url, TIMEOUT))
        except SourceError as error:
            return failure_result(url, error)
