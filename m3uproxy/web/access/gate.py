"""Who may use the management API: from where, on whose behalf, with what token.

A browser inside the house reaches us whatever page it shows. So as long as no token is set, an address is not
enough: a page on another origin names itself in ``Origin`` or ``Sec-Fetch-Site``, and a page that made its own name
resolve to our address (DNS rebinding) names itself in ``Host``. All of these are refused.

The rules hold with a token, too, with one exception: a right token in the header makes any ``Host`` good, because no
page can send that header without knowing the token. It spares those who call us by a public name the list of names.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from ipaddress import ip_address

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request

from ...log import make_logger
from ...settings import Settings
from ..responses import HTTPError
from . import cors
from .client_address import client_address, is_private
from .own_url import Authority, asked_for, parse_authority, public_authority
from .tokens import FailedTokens, is_right, offered_token, token_in_header

log = make_logger()

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
#: Seconds after which a wrong token is looked at again.
_RETRY_AFTER = 1


class Gate:
    """Stands before every management request."""

    def __init__(self, settings: Settings, clock: IReactorTime) -> None:
        self._settings = settings
        self._failed = FailedTokens(clock)

    def admit(self, request: Request) -> IResource | None:
        """Judge a request before anything else of it is looked at, and say who may read the answer.

        :return: what answers it instead of the API, if it is a browser's preflight.
        :raises HTTPError: as :meth:`check_access`.
        """
        self.check_access(request)
        cors.allow_configured(request, self._settings)
        return cors.ManagementPreflight(self._settings) if cors.is_preflight(request) else None

    def check_access(self, request: Request) -> None:
        """Let a request pass that comes from where management is allowed from.

        The documentation is for everybody, by whatever name; what it describes is not.

        :raises HTTPError: 400 or 403; 429 as in :meth:`check_token`.
        """
        names = self._names(request)
        if self._is_documentation(request):
            return
        for authority in names:
            if not self._is_ours(authority.host):
                self._excuse_host(request, authority.host)
        self._check_address(request)
        self._check_origin(request, names)

    def check_token(self, request: Request) -> None:
        """Let a request pass that has the token, if one is set.

        A right one passes at all times. So whoever shares an address with a misconfigured client is not locked out;
        what keeps a token from being guessed is its length.

        :raises HTTPError: 401 without a token, 403 with a wrong one, 429 after too many wrong ones.
        """
        if self._settings.api_token is None:
            return
        offered = offered_token(request)
        if offered is None:
            raise HTTPError(401, "This needs a token, in the header X-API-Token or as ?api_token=.", _CHALLENGE)
        self._judge(offered, request)

    def _judge(self, offered: bytes, request: Request) -> None:
        token = self._settings.api_token
        if token is None or is_right(offered, token):
            return
        address = client_address(request, self._settings)
        if not self._failed.count(address, self._settings.max_failed_tokens):
            raise HTTPError(429, "Too many wrong tokens.", {**_CHALLENGE, "Retry-After": str(_RETRY_AFTER)})
        log.warn("wrong token from {address}", address=str(address or "unknown"))
        raise HTTPError(403, "The token is wrong.", _CHALLENGE)

    def _is_documentation(self, request: Request) -> bool:
        """By segments: a slash that was written as %2F separates nothing."""
        segments: list[bytes] = request.postpath or []
        if any(b"/" in segment for segment in segments):
            return False
        files = ("/docs", "/favicon.ico", self._settings.redoc_url, self._settings.openapi_url)
        is_static = len(segments) == 2 and segments[0] == b"static"
        return is_static or b"/".join([b"", *segments]).decode("latin-1") in files

    def _names(self, request: Request) -> list[Authority]:
        """All names that this request has for us. Browsers always send one.

        :raises HTTPError: 400 if one is none.
        """
        if len(request.requestHeaders.getRawHeaders(b"Host", [])) > 1:
            raise HTTPError(400, "There is more than one Host header.")
        names = [parse_authority(name) for name in asked_for(request, self._settings)]
        if None in names:
            raise HTTPError(400, "The Host header is not a host.")
        return [name for name in names if name is not None]

    def _is_ours(self, host: str) -> bool:
        """Nobody else can make an address, a name of this machine, or one without a dot lead a browser to us."""
        if "." not in host or host.endswith(".localhost") or _is_address(host):
            return True
        public = public_authority(self._settings)
        allowed = {name.lower().removesuffix(".") for name in self._settings.allowed_hosts}
        return host in allowed or "*" in allowed or (public is not None and host == public.host)

    def _excuse_host(self, request: Request, host: str) -> None:
        """A right token in the header excuses it. A wrong one counts, or here would be a place to try them all."""
        offered = token_in_header(request)
        if self._settings.api_token is None or offered is None:
            raise HTTPError(403, f"The API does not answer to the name {host!r}. Add it to ALLOWED_HOSTS.")
        self._judge(offered, request)

    def _check_address(self, request: Request) -> None:
        if self._settings.api_token is not None:
            return
        address = client_address(request, self._settings)
        if address is None or not is_private(address):
            raise HTTPError(403, "Without a token the API is for local and private addresses only. Set API_TOKEN.")

    def _check_origin(self, request: Request, names: list[Authority]) -> None:
        """A browser acts for a page: it must be our own, which has one of our names, or one of a configured origin."""
        lines = request.requestHeaders.getRawHeaders(b"Origin", [])
        for line in lines:
            origin = cors.parse_origin(line.decode("latin-1"))
            if not self._is_own(origin, names) and not cors.is_configured(origin, self._settings):
                raise HTTPError(403, "Pages of this origin may not use the API. Add it to CORS_ORIGINS.")
        if not lines and request.getHeader(b"Sec-Fetch-Site") == b"cross-site":
            raise HTTPError(403, "Pages of other sites may not use the API.")

    def _is_own(self, origin: cors.Origin | None, names: list[Authority]) -> bool:
        """The scheme is not looked at: a proxy that ends TLS may not tell it."""
        if origin is None or origin.scheme not in ("http", "https"):
            return False
        ours: list[Authority | None] = [*names, public_authority(self._settings)]
        return any(each is not None and origin.authority.same_as(each, origin.scheme) for each in ours)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
