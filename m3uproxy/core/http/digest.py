"""Digest authentication (RFC 7616, RFC 2617) with the user and the password of a URL.

A provider answers 401 with a challenge. The request is sent again with a response to it: a hash of password, nonce,
method and target. The nonce is used for further requests, which are numbered, until the provider calls it stale. The
algorithms are MD5, SHA-256 and their session variants. The quality of protection is ``auth``, or none as in RFC 2069.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import attrs

from .redirects import Credentials, Location, RequestHop

#: Servers and users whose nonces are kept.
MAX_SESSIONS = 1000
#: Challenges that are answered for one URL: the first one, and a stale nonce.
MAX_CHALLENGES = 2

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_WORD = re.compile(r"[^\s,]*[\s,]*")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
#: The supported algorithms, the preferred one first.
_ALGORITHMS = {
    "sha-256": hashlib.sha256,
    "sha-256-sess": hashlib.sha256,
    "md5": hashlib.md5,
    "md5-sess": hashlib.md5,
}


@attrs.frozen
class DigestChallenge:
    """
    A challenge that can be answered.

    :ivar algorithm: as the server wrote it; empty for the default, which is MD5.
    :ivar has_qop: whether the server supports ``qop=auth``.
    :ivar is_stale: whether only the nonce of the last request was refused, not its user or password.
    """

    realm: str
    nonce: str
    algorithm: str = ""
    opaque: str | None = None
    has_qop: bool = True
    is_stale: bool = False

    def authorization(self, credentials: Credentials, method: str, target: str, cnonce: str, count: int) -> str:
        """
        Return the value of ``Authorization`` for a request (RFC 7616 section 3.4).

        :param target: path and query as they are in the request line.
        :param cnonce: random text, the same for all requests with this nonce.
        :param count: the number of the request with this nonce, from 1.
        """
        numbered = (f"{count:08x}", cnonce, "auth") if self.has_qop else ()
        secret = self._secret(credentials, cnonce)
        response = self._hash(secret, self.nonce, *numbered, self._hash(method, target))
        quoted = {
            "username": credentials.user.decode("utf-8", "replace"),
            "realm": self.realm,
            "nonce": self.nonce,
            "uri": target,
            "response": response,
        }
        if self.opaque is not None:
            quoted["opaque"] = self.opaque
        parameters = [f"{name}={_quote(value)}" for name, value in quoted.items()]
        if self.algorithm:
            parameters.append(f"algorithm={self.algorithm}")
        if self.has_qop:
            parameters.append(f"qop=auth, nc={count:08x}")
        if self.has_qop or self._is_session:
            parameters.append(f"cnonce={_quote(cnonce)}")
        return "Digest " + ", ".join(parameters)

    def _secret(self, credentials: Credentials, cnonce: str) -> str:
        """Return H(A1) (RFC 7616 section 3.4.2)."""
        secret = self._hash(credentials.user, self.realm, credentials.password)
        return self._hash(secret, self.nonce, cnonce) if self._is_session else secret

    @property
    def _is_session(self) -> bool:
        return self.algorithm.lower().endswith("-sess")

    def _hash(self, *parts: str | bytes) -> str:
        algorithm = _ALGORITHMS[self.algorithm.lower() or "md5"]
        data = b":".join(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part for part in parts)
        return algorithm(data, usedforsecurity=False).hexdigest()


def read_challenges(values: Sequence[str]) -> DigestChallenge | None:
    """
    Return the strongest digest challenge that can be answered; None if there is none.

    :param values: values of all ``WWW-Authenticate`` headers. Each may hold several challenges.
    """
    found = [challenge for value in values for challenge in _challenges(value)]
    order = list(_ALGORITHMS)
    return min(found, key=lambda challenge: order.index(challenge.algorithm.lower() or "md5"), default=None)


def _challenges(value: str) -> list[DigestChallenge]:
    schemes: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        scheme = _SCHEME.match(value, at)
        if parameter is not None:
            name, quoted, plain = parameter.groups()
            if schemes:
                schemes[-1][1].setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            at = parameter.end()
        elif scheme is not None:
            schemes.append((scheme[1].lower(), {}))
            at = scheme.end()
        else:
            at = max(at + 1, _skipped(value, at))
    made = [_challenge(parameters) for name, parameters in schemes if name == "digest"]
    return [challenge for challenge in made if challenge is not None]


def _skipped(value: str, at: int) -> int:
    """Return the index behind a word that is neither scheme nor parameter, and behind the blanks after it."""
    word = _WORD.match(value, at)
    return at if word is None else word.end()


def _challenge(parameters: dict[str, str]) -> DigestChallenge | None:
    algorithm, qop = parameters.get("algorithm", ""), parameters.get("qop")
    qops = None if qop is None else {word.strip().lower() for word in qop.split(",")}
    if "nonce" not in parameters or (algorithm.lower() or "md5") not in _ALGORITHMS:
        return None
    if qops is not None and "auth" not in qops:
        return None
    return DigestChallenge(
        parameters.get("realm", ""),
        parameters["nonce"],
        algorithm,
        parameters.get("opaque"),
        qops is not None,
        parameters.get("stale", "").lower() == "true",
    )


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@attrs.define
class _Session:
    """A nonce in use: its challenge, and the requests that were sent with it."""

    challenge: DigestChallenge
    cnonce: str
    count: int = 0


class DigestSessions:
    """The nonces in use, by server and user."""

    def __init__(self, make_cnonce: Callable[[], str]) -> None:
        """
        Start without nonces.

        :param make_cnonce: returns random text of letters and digits.
        """
        self._make_cnonce = make_cnonce
        self._sessions: OrderedDict[tuple[str, Credentials], _Session] = OrderedDict()

    def begin(self, origin: str, credentials: Credentials, challenge: DigestChallenge) -> None:
        """Use the nonce of a challenge from now on."""
        key = (origin, credentials)
        self._sessions[key] = _Session(challenge, self._make_cnonce())
        self._sessions.move_to_end(key)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def forget(self, origin: str, credentials: Credentials) -> None:
        """Forget the nonce of a server that refuses user or password."""
        self._sessions.pop((origin, credentials), None)

    def authorization(self, hop: RequestHop, method: str) -> str | None:
        """Return the value of ``Authorization`` for a request; None if its server has sent no challenge."""
        if hop.credentials is None:
            return None
        session = self._sessions.get((hop.location.origin, hop.credentials))
        if session is None:
            return None
        session.count += 1
        return session.challenge.authorization(
            hop.credentials, method, hop.location.target, session.cnonce, session.count
        )


class DigestExchange:
    """The authentication of one request, over its redirects."""

    def __init__(self, sessions: DigestSessions) -> None:
        self._sessions = sessions
        self._location: Location | None = None
        self._challenges = 0

    def authorized(self, hop: RequestHop, method: str) -> RequestHop:
        """Return a hop with the ``Authorization`` that its server expects."""
        return attrs.evolve(hop, digest=self._sessions.authorization(hop, method))

    def accepts(self, hop: RequestHop, values: Sequence[str]) -> bool:
        """
        Return whether to send a request again that was answered with 401.

        :param values: the values of ``WWW-Authenticate``.
        """
        credentials, origin = hop.credentials, hop.location.origin
        challenge = read_challenges(values)
        if credentials is None or challenge is None or not hop.uses_credentials or _CONTROL.search(credentials.user):
            return False
        self._challenges = self._challenges + 1 if hop.location == self._location else 1
        self._location = hop.location
        if self._challenges > (MAX_CHALLENGES if challenge.is_stale else 1):
            self._sessions.forget(origin, credentials)
            return False
        self._sessions.begin(origin, credentials, challenge)
        return True
