"""The listening ports: host and port, or any number of Twisted endpoints.

An endpoint is a text such as ``tcp:8085:interface=127.0.0.1``, ``tcp6:8085``, ``unix:/run/m3uproxy.sock``,
``ssl:443:privateKey=key.pem:certKey=cert.pem`` or ``systemd:domain=INET:index=0``. Twisted parses the text and opens
the port. A wrapper of the reactor adds certificates that can be replaced while the port is open: new connections use
the new certificate, open connections keep the old one.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError, VerifyError
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from ..downstream.tls_transport import TlsTransport
from ..log import make_logger

log = make_logger()

#: Connections that may wait to be accepted, for the start of a popular programme.
BACKLOG = 1024

#: Errors of key and certificate files.
_UNREADABLE = (SSL.Error, crypto.Error, VerifyError)
# Errors of an endpoint: invalid text, missing files, a number too large for the system (OverflowError), or a backslash
# at the end (StopIteration in a generator of Twisted, so RuntimeError).
_INVALID = (ValueError, TypeError, LookupError, AttributeError, OSError, OverflowError, RuntimeError, *_UNREADABLE)

#: The positional arguments of each kind of endpoint.
_POSITIONAL = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": ("port", "privateKey", "certKey", "sslmethod", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
#: The numeric arguments: base, maximum, and description of the allowed values.
_NUMBERS = {
    "port": (10, 65535, "a number from 0 to 65535"),
    "backlog": (10, 65535, "a number from 0 to 65535"),
    "mode": (8, 0o777, "an octal number from 0 to 777"),
    "lockfile": (10, 1, "0 or 1"),
    "index": (10, 65535, "a number from 0 to 65535"),
}


class ListenError(Exception):
    """A port cannot be opened. The text is one line."""


@attrs.define(eq=False)
class Certificate:
    """Key and certificate of a TLS port: an old-style context factory, which Twisted calls for each connection."""

    context_factory: Any

    def getContext(self) -> Any:
        """Return the TLS context for a new connection."""
        return self.context_factory.getContext()


class _PortReactor:
    """Reactor for an endpoint that opens its port: makes the certificate replaceable."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.certificate: Certificate | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: Any) -> Any:
        """Listen with a certificate that can be replaced."""
        self.certificate = Certificate(contextFactory)
        listening = self._reactor.listenSSL(port, factory, self.certificate, **more)
        listening.factory.protocol = TlsTransport
        return listening


class _CertificateReader(_PortReactor):
    """Reactor for an endpoint that only reads key and certificate and opens no port."""

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: Any) -> Any:
        """Store the certificate. A key that does not match the certificate raises here."""
        contextFactory.getContext()
        self.certificate = Certificate(contextFactory)


@attrs.define(eq=False)
class OpenPort:
    """An open port."""

    port: Any
    endpoint: str = ""
    certificate: Certificate | None = None

    @property
    def url(self) -> str:
        """The URL of the port, for people."""
        address = self.port.getHost()
        if isinstance(address, UNIXAddress):
            return f"unix:{(address.name or b'').decode(errors='replace')}"
        scheme = "https" if self.certificate is not None else "http"
        return f"{scheme}://{authority(address.host, address.port)}/"

    def renew_certificate(self) -> None:
        """Read key and certificate again.

        :raises ListenError: if they cannot be used; then the old ones stay in use.
        """
        if self.certificate is not None:
            reader = _CertificateReader(None)
            _open_endpoint(reader, self.endpoint, Factory())
            assert reader.certificate is not None
            self.certificate.context_factory = reader.certificate.context_factory


def open_ports(
    reactor: Any, host: str, port: int, endpoints: Sequence[str], factory: IProtocolFactory
) -> list[OpenPort]:
    """Open all endpoints, or ``port`` on ``host`` if there are none.

    :raises ListenError: if a port cannot be opened; then all are closed.
    """
    opened: list[OpenPort] = []
    try:
        if not endpoints:
            opened.append(OpenPort(_open_tcp(reactor, host, port, factory)))
        for endpoint in endpoints:
            opening = _PortReactor(reactor)
            listening = _open_endpoint(opening, endpoint, factory)
            opened.append(OpenPort(listening, endpoint, opening.certificate))
    except ListenError:
        close_ports(opened)
        # The reactor will not run again, but it removes sockets from the file system in its next turn.
        reactor.iterate()
        raise
    return opened


def close_ports(ports: Sequence[OpenPort]) -> Deferred[Any]:
    """Stop listening. The Deferred always succeeds; failures are logged."""

    def closing_failed(failure: Failure, port: OpenPort) -> None:
        log.warn("closing {port} failed: {why}", port=port.endpoint or port.url, why=failure.getErrorMessage())

    return DeferredList([maybeDeferred(port.port.stopListening).addErrback(closing_failed, port) for port in ports])


def authority(host: str, port: int) -> str:
    """Return host and port in the form of a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open_tcp(reactor: Any, host: str, port: int, factory: IProtocolFactory) -> Any:
    try:
        return reactor.listenTCP(port, factory, backlog=BACKLOG, interface=host)
    except CannotListenError as error:
        raise ListenError(f"cannot listen on {authority(host, port)}: {_why(error)}") from None


def _open_endpoint(reactor: Any, endpoint: str, factory: IProtocolFactory) -> Any:
    """Open the port of an endpoint. All supported kinds open it before ``listen`` returns."""
    try:
        _check_numbers(endpoint)
        text = _with_backlog(endpoint)
        outcome: list[Any] = []
        serverFromString(reactor, text).listen(factory).addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]
    except CannotListenError as error:
        raise ListenError(f"cannot listen on {endpoint}: {_why(error)}") from None
    except _INVALID as error:
        raise ListenError(f"LISTEN: {endpoint!r} cannot be used: {_why(error)}") from None


def _check_numbers(endpoint: str) -> None:
    """Check the numeric arguments, because Twisted reports errors in them late or not clearly.

    :raises ValueError: if a numeric argument is invalid or too large.
    """
    kind, *arguments = re.findall(r"(?:^|:)((?:\\.|[^:\\])*)", endpoint, re.DOTALL)
    unnamed = iter(_POSITIONAL.get(kind, ()))
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            name, value = next(unnamed, ""), argument
        if name not in _NUMBERS:
            continue
        base, largest, allowed = _NUMBERS[name]
        digits = "[0-7]{1,9}" if base == 8 else "[0-9]{1,9}"
        if not re.fullmatch(digits, value) or int(value, base) > largest:
            raise ValueError(f"{name} must be {allowed}")


def _with_backlog(endpoint: str) -> str:
    """Return an endpoint with our backlog, if its kind has a backlog and it sets none."""
    kind = endpoint.partition(":")[0]
    if kind == "systemd":
        # When it stops, Twisted would remove the socket of systemd from the file system.
        if "domain=UNIX" in endpoint:
            raise ValueError("domain must be INET or INET6")
        return endpoint
    return endpoint if ":backlog=" in endpoint else f"{endpoint}:backlog={BACKLOG}"


def _why(error: Exception) -> str:
    """Return the reason of an error in words, on one line."""
    if isinstance(error, CannotListenError):
        why = getattr(error.socketError, "strerror", None) or error.socketError
    elif isinstance(error, OSError):
        # The lock file of a Unix socket has a process id in place of the file name.
        names_file = str(error.filename or "").startswith("/")
        why = f"{error.filename}: {error.strerror}" if names_file else error.strerror
    elif isinstance(error, TypeError):
        why = "an argument is unknown or missing (a colon in a value is written \\:)"
    elif isinstance(error, (OverflowError, RuntimeError)):
        why = "an argument is out of range, or ends in a backslash"
    elif isinstance(error, LookupError):
        why = "the socket or the argument does not exist"
    elif isinstance(error, _UNREADABLE):
        why = "key and certificate cannot be read, or do not belong together"
    else:
        why = error
    return " ".join(str(why).split())
