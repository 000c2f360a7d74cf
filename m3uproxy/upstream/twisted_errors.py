"""From failures of Twisted to :class:`m3uproxy.errors.SourceError`.

The exception of Twisted and the end of the socket together tell the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as neterror
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from ..core.http.redact import redact
from ..errors import Reason, SourceError
from ..log import make_logger
from .connection import ProviderConnection

log = make_logger()


class Unexpected(Exception):
    """Stands in the log for an unexpected exception. The text is the name of its class."""


def source_error(failure: Failure, logger: Any, event: str, **fields: object) -> SourceError:
    """
    Return the failure of a step as a :class:`SourceError`. An exception of another class is a fault of this program.

    :param logger: logs such a fault, as ``event`` with ``fields``.
    """
    error = failure.value
    if isinstance(error, SourceError):
        return error
    logger.failure(event, failure=failure, **fields)
    return SourceError(Reason.INTERNAL, type(error).__name__)


def on_failure(
    step: Deferred[Any], failed: Callable[[SourceError], None], logger: Any, event: str, **fields: object
) -> None:
    """
    Report the failure of a step. The cancellation of a step is not reported.

    :param failed: called with the failure, as :func:`source_error` returns it.
    """

    def report(failure: Failure) -> None:
        if not failure.check(CancelledError):
            failed(source_error(failure, logger, event, **fields))

    step.addErrback(report)


def timeout_error(connection: ProviderConnection | None, after: str) -> SourceError:
    """
    Return the error of a timeout. It depends on the state of the connection.

    :param after: the time, for people, such as ``4 s``.
    """
    if connection is None or not connection.resolved:
        return SourceError(Reason.DNS, f"host name not resolved after {after}")
    if not connection.connected:
        return SourceError(Reason.CONNECT_TIMEOUT, f"not connected after {after}")
    return SourceError(Reason.FIRST_BYTE_TIMEOUT, f"no answer after {after}")


#: OpenSSL's text for a certificate that no trusted authority has signed, or that has expired.
_UNVERIFIED = "certificate verify failed"
#: The keys and the setting that accept any certificate.
_TLS_SETTING = "verify_tls of the stream or its provider table, VERIFY_TLS"

#: The meaning of exceptions before TCP is connected. Later classes are base classes of earlier ones.
_CONNECTING: tuple[tuple[type[BaseException], Reason, str], ...] = (
    (neterror.DNSLookupError, Reason.DNS, "the host name has no address"),
    (neterror.ConnectionRefusedError, Reason.REFUSED, "connection refused"),
    (neterror.TimeoutError, Reason.CONNECT_TIMEOUT, "the network timed out"),
    (neterror.TCPTimedOutError, Reason.CONNECT_TIMEOUT, "the network timed out"),
    (neterror.ConnectError, Reason.UNREACHABLE, "host unreachable"),
    (UnicodeError, Reason.DNS, "invalid host name"),
)


def connect_error(error: BaseException, connection: ProviderConnection | None) -> SourceError:
    """
    Return the error of a request that failed before its response.

    Twisted wraps the cause (``ResponseFailed`` and similar) and hides the end of the socket. The connection keeps it.
    """
    if isinstance(error, SourceError):
        return error
    if connection is not None and connection.problem is not None:
        return connection.problem
    causes = list(_causes(error))
    if connection is not None and connection.connected:
        return _error_of_connected(causes, connection)
    for kind, reason, detail in _CONNECTING:
        if any(isinstance(cause, kind) for cause in causes):
            return SourceError(reason, detail)
    if not isinstance(error, CancelledError):
        # The text of an exception may hold a URL. Its class and its traceback do not.
        failure = Failure(Unexpected(type(error).__name__), Unexpected, error.__traceback__)
        url = redact(connection.location.url) if connection is not None else "a provider"
        log.failure("a request to {url} failed unexpectedly", failure=failure, url=url)
    return SourceError(Reason.INTERNAL, type(error).__name__)


def _error_of_connected(causes: list[BaseException], connection: ProviderConnection) -> SourceError:
    tls = _tls_detail(causes)
    if tls or (connection.location.scheme == "https" and not connection.handshaken):
        return SourceError(Reason.TLS, tls or "connection closed during the handshake")
    if isinstance(connection.lost, neterror.ConnectionDone):
        return SourceError(Reason.BAD_HEAD, "closed without a complete response head")
    if isinstance(connection.lost, neterror.ConnectionLost):
        return SourceError(Reason.RESET, "before a complete response head")
    return SourceError(Reason.BAD_HEAD, "malformed response header")


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    for failure in getattr(error, "reasons", ()):
        yield from _causes(failure.value)


def _tls_detail(causes: list[BaseException]) -> str:
    """Return OpenSSL's text for a failure of the handshake or the certificate; '' if TLS did not fail."""
    for cause in causes:
        if isinstance(cause, VerificationError):
            return f"the certificate is for another host ({_TLS_SETTING})"
        if isinstance(cause, SSL.Error):
            stack = cause.args[0] if cause.args and isinstance(cause.args[0], list) else []
            detail: str = next((entry[2] for entry in stack if entry[2]), "") or "TLS connection broken off"
            return f"{detail} ({_TLS_SETTING})" if detail == _UNVERIFIED else detail
    return ""


def body_end_error(reason: BaseException | None, connection: ProviderConnection) -> SourceError:
    """
    Return the end of a body that this program did not close.

    Twisted reports FIN, RST and an undecodable body without a stated length alike (``PotentialDataLoss``). The end of
    the socket tells the difference. If the socket is still open, Twisted could not decode the body.
    """
    if isinstance(reason, ResponseDone):
        return SourceError(Reason.ENDED, "the response is complete")
    tls = _tls_detail(list(_causes(reason)) if reason is not None else [])
    if tls:
        return SourceError(Reason.TLS, tls)
    if connection.lost is None:
        return SourceError(Reason.TRUNCATED, "the body cannot be decoded")
    if not isinstance(connection.lost, neterror.ConnectionDone):
        return SourceError(Reason.RESET)
    if isinstance(reason, PotentialDataLoss):
        return SourceError(Reason.ENDED, "the provider closed the connection")
    return SourceError(Reason.TRUNCATED, "closed in the middle of the body")
