"""Where the daemon listens: host and port, or any number of Twisted endpoints.

An endpoint is a line such as ``tcp:8085:interface=127.0.0.1``, ``tcp6:8085``, ``unix:/run/m3uproxy.sock``,
``ssl:443:privateKey=key.pem:certKey=cert.pem`` or ``systemd:domain=INET:index=0``. Twisted reads the line and opens
the port. What it does not offer stands between it and the reactor: a TLS port that asks anew for its certificate for
each connection, so that a renewed one can be taken while open connections go on with the old one.
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

from ..log import make_logger

log = make_logger()

#: Connections that may wait to be accepted, for when a popular programme begins.
BACKLOG = 1024

#: What reading an endpoint raises: its text, the files it names, and keys and certificates in them may be wrong.
_UNREADABLE = (SSL.Error, crypto.Error, VerifyError)
# A number may be too large for the system, and a backslash at the end is a StopIteration within Twisted's generator.
_WRONG = (ValueError, TypeError, LookupError, AttributeError, OSError, OverflowError, RuntimeError, *_UNREADABLE)

#: The arguments of each kind of endpoint as far as they may be given without their names.
_POSITIONS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": ("port", "privateKey", "certKey", "sslmethod", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
#: Those that are numbers: in what base, the largest, and how that is said.
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
    """Key and certificate of a TLS port, for Twisted an old-style context factory: asked at each connection."""

    context_factory: Any

    def getContext(self) -> Any:
        """What a new connection is to use."""
        return self.context_factory.getContext()


class _Opening:
    """The reactor as an endpoint sees it while it opens its port."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.certificate: Certificate | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: Any) -> Any:
        """Listen with a certificate that can be replaced."""
        self.certificate = Certificate(contextFactory)
        return self._reactor.listenSSL(port, factory, self.certificate, **more)


class _Reading(_Opening):
    """The same, to read key and certificate and open nothing."""

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: Any) -> Any:
        """Only keep what was read; a key that does not fit the certificate fails here."""
        contextFactory.getContext()
        self.certificate = Certificate(contextFactory)


@attrs.define(eq=False)
class OpenPort:
    """A port that is open."""

    port: Any
    endpoint: str = ""
    certificate: Certificate | None = None

    @property
    def url(self) -> str:
        """Where it is, for people."""
        address = self.port.getHost()
        if isinstance(address, UNIXAddress):
            return f"unix:{(address.name or b'').decode(errors='replace')}"
        scheme = "https" if self.certificate is not None else "http"
        return f"{scheme}://{authority(address.host, address.port)}/"

    def renew_certificate(self) -> None:
        """Read key and certificate again.

        :raises ListenError: if they cannot be used; the old ones stay.
        """
        if self.certificate is not None:
            reading = _Reading(None)
            _open_endpoint(reading, self.endpoint, Factory())
            assert reading.certificate is not None
            self.certificate.context_factory = reading.certificate.context_factory


def open_ports(
    reactor: Any, host: str, port: int, endpoints: Sequence[str], factory: IProtocolFactory
) -> list[OpenPort]:
    """Open all endpoints, or ``port`` on ``host`` if there are none.

    :raises ListenError: if one cannot be opened; then none is open.
    """
    opened: list[OpenPort] = []
    try:
        if not endpoints:
            opened.append(OpenPort(_open_tcp(reactor, host, port, factory)))
        for endpoint in endpoints:
            opening = _Opening(reactor)
            listening = _open_endpoint(opening, endpoint, factory)
            opened.append(OpenPort(listening, endpoint, opening.certificate))
    except ListenError:
        close_ports(opened)
        # Nobody will run this reactor any more, and a socket in the file system is removed in its next turn.
        reactor.iterate()
        raise
    return opened


def close_ports(ports: Sequence[OpenPort]) -> Deferred[Any]:
    """Let nobody in any more. Always succeeds; what fails is logged."""

    def failed(failure: Failure, one: OpenPort) -> None:
        log.warn("closing {port}: {why}", port=one.endpoint or one.url, why=failure.getErrorMessage())

    return DeferredList([maybeDeferred(one.port.stopListening).addErrback(failed, one) for one in ports])


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open_tcp(reactor: Any, host: str, port: int, factory: IProtocolFactory) -> Any:
    try:
        return reactor.listenTCP(port, factory, backlog=BACKLOG, interface=host)
    except CannotListenError as error:
        raise ListenError(f"cannot listen on {authority(host, port)}: {_why(error)}") from None


def _open_endpoint(reactor: Any, endpoint: str, factory: IProtocolFactory) -> Any:
    """The open port; the kinds that we take open theirs before ``listen`` returns."""
    try:
        _check_numbers(endpoint)
        text = _completed(endpoint)
        outcome: list[Any] = []
        serverFromString(reactor, text).listen(factory).addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]
    except CannotListenError as error:
        raise ListenError(f"cannot listen on {endpoint}: {_why(error)}") from None
    except _WRONG as error:
        raise ListenError(f"LISTEN: {endpoint!r} cannot be used: {_why(error)}") from None


def _check_numbers(endpoint: str) -> None:
    """Twisted would take what Python's ``int`` takes, say what that says, or fail when it is too late.

    :raises ValueError: if an argument that is to be a number is none.
    """
    kind, *arguments = re.findall(r"(?:^|:)((?:\\.|[^:\\])*)", endpoint, re.DOTALL)
    unnamed = iter(_POSITIONS.get(kind, ()))
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


def _completed(endpoint: str) -> str:
    """An endpoint with our backlog, where it has one and says nothing else."""
    kind = endpoint.partition(":")[0]
    if kind == "systemd":
        # At the end Twisted would remove a socket of systemd from the file system.
        if "domain=UNIX" in endpoint:
            raise ValueError("domain must be INET or INET6")
        return endpoint
    return endpoint if ":backlog=" in endpoint else f"{endpoint}:backlog={BACKLOG}"


def _why(error: Exception) -> str:
    """The reason in words, on one line."""
    if isinstance(error, CannotListenError):
        why = getattr(error.socketError, "strerror", None) or error.socketError
    elif isinstance(error, OSError):
        # Twisted's lock beside a Unix socket names a process as the file.
        names_file = str(error.filename or "").startswith("/")
        why = f"{error.filename}: {error.strerror}" if names_file else error.strerror
    elif isinstance(error, TypeError):
        why = "an argument is unknown or missing (a colon in a value is written \\:)"
    elif isinstance(error, (OverflowError, RuntimeError)):
        why = "an argument is out of range, or ends in a backslash"
    elif isinstance(error, LookupError):
        why = "there is no such socket, or no such part"
    elif isinstance(error, _UNREADABLE):
        why = "key and certificate cannot be read, or do not belong together"
    else:
        why = error
    return " ".join(str(why).split())
