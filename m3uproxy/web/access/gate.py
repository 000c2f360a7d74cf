"""Access to the management API, by address, page and token.

A browser in the home network reaches the proxy for any page that it shows. So without a token, a private address is not
sufficient. Pages of other origins are recognised by ``Origin`` or ``Sec-Fetch-Site``, pages whose name resolves to
the proxy's address (DNS rebinding) by ``Host``. All of these are refused.

The same rules apply with a token, with one exception: with the right token in the header any ``Host`` is accepted,
because no page can send that header without knowing the token. So applications that use a public name of the proxy need
no ``ALLOWED_HOSTS``.
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
from .own_url import Authority, parse_authority, public_authority, requested_names
from .tokens import FailedTokens, is_right, offered_token, token_in_header

log = make_logger()

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
#: Seconds until another wrong token is answered as such.
_RETRY_AFTER = 1


class Gate:
    """The check before every management request."""

    def __init__(self, settings: Settings, clock: IReactorTime) -> None:
        self._settings = settings
        self._failed = FailedTokens(clock)

    def admit(self, request: Request) -> IResource | None:
        """Check a request before anything else, and add the CORS headers of the response.

        :return: the resource that answers instead of the API, if the request is a preflight.
        :raises HTTPError: as :meth:`check_access`.
        """
        self.check_access(request)
        cors.allow_configured(request, self._settings)
        return cors.ManagementPreflight(self._settings) if cors.is_preflight(request) else None

    def check_access(self, request: Request) -> None:
        """Check host name, address and origin of a request.

        The documentation is served to all addresses, origins and valid host names; the API itself is not.

        :raises HTTPError: 400 or 403; 429 as in :meth:`check_token`.
        """
        names = self._own_names(request)
        if self._is_documentation(request):
            return
        for authority in names:
            if not self._is_own_name(authority.host):
                self._check_foreign_host(request, authority.host)
        self._check_address(request)
        self._check_origin(request, names)

    def check_token(self, request: Request) -> None:
        """Check the token of a request, if a token is set.

        A right token passes even above the rate limit. So a misconfigured client does not lock out others with the same
        address. The length of the token protects it from being guessed.

        :raises HTTPError: 401 without a token, 403 with a wrong one, 429 after too many wrong ones.
        """
        if self._settings.api_token is None:
            return
        offered = offered_token(request)
        if offered is None:
            raise HTTPError(401, "This needs a token, in the header X-API-Token or as ?api_token=.", _CHALLENGE)
        self._check_offered(offered, request)

    def _check_offered(self, offered: bytes, request: Request) -> None:
        token = self._settings.api_token
        if token is None or is_right(offered, token):
            return
        address = client_address(request, self._settings)
        if not self._failed.count(address, self._settings.max_failed_tokens):
            raise HTTPError(429, "Too many wrong tokens.", {**_CHALLENGE, "Retry-After": str(_RETRY_AFTER)})
        log.warn("wrong token from {address}", address=str(address or "unknown"))
        raise HTTPError(403, "The token is wrong.", _CHALLENGE)

    def _is_documentation(self, request: Request) -> bool:
        """Return whether the path is of the documentation. Segments with an encoded slash (%2F) are not."""
        segments: list[bytes] = request.postpath or []
        if any(b"/" in segment for segment in segments):
            return False
        files = ("/docs", "/favicon.ico", self._settings.redoc_url, self._settings.openapi_url)
        is_static = len(segments) == 2 and segments[0] == b"static"
        return is_static or b"/".join([b"", *segments]).decode("latin-1") in files

    def _own_names(self, request: Request) -> list[Authority]:
        """Return all host names by which this request addresses the proxy. Browsers always send one.

        :raises HTTPError: 400 if a name is invalid.
        """
        if len(request.requestHeaders.getRawHeaders(b"Host", [])) > 1:
            raise HTTPError(400, "There is more than one Host header.")
        names = [parse_authority(name) for name in requested_names(request, self._settings)]
        if None in names:
            raise HTTPError(400, "Host header is not a valid host name.")
        return [name for name in names if name is not None]

    def _is_own_name(self, host: str) -> bool:
        """Return whether a host name is one of the proxy's names.

        Addresses, local names and names without a dot cannot be used for DNS rebinding. Other names must be configured.
        """
        if "." not in host or host.endswith(".localhost") or _is_address(host):
            return True
        public = public_authority(self._settings)
        allowed = {name.lower().removesuffix(".") for name in self._settings.allowed_hosts}
        return host in allowed or "*" in allowed or (public is not None and host == public.host)

    def _check_foreign_host(self, request: Request, host: str) -> None:
        """Accept any host name with the right token in the header. A wrong token counts against the rate limit."""
        offered = token_in_header(request)
        if self._settings.api_token is None or offered is None:
            raise HTTPError(403, f"The API does not answer to the name {host!r}. Add it to ALLOWED_HOSTS.")
        self._check_offered(offered, request)

    def _check_address(self, request: Request) -> None:
        if self._settings.api_token is not None:
            return
        address = client_address(request, self._settings)
        if address is None or not is_private(address):
            raise HTTPError(403, "Without a token the API is for local and private addresses only. Set API_TOKEN.")

    def _check_origin(self, request: Request, names: list[Authority]) -> None:
        """Check the page that a browser acts for: its origin must be the proxy itself, or a configured one."""
        lines = request.requestHeaders.getRawHeaders(b"Origin", [])
        for line in lines:
            origin = cors.parse_origin(line.decode("latin-1"))
            if not self._is_own_page(origin, names) and not cors.is_configured(origin, self._settings):
                raise HTTPError(403, "Pages of this origin may not use the API. Add it to CORS_ORIGINS.")
        if not lines and request.getHeader(b"Sec-Fetch-Site") == b"cross-site":
            raise HTTPError(403, "Pages of other sites may not use the API.")

    def _is_own_page(self, origin: cors.Origin | None, names: list[Authority]) -> bool:
        """Return whether an origin has one of the proxy's names. A proxy that terminates TLS may hide the scheme."""
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
