"""Who may use the management API: whoever knows the token, if one is set."""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from twisted.web.server import Request

from .answer import HTTPError

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def check_token(request: Request, token: SecretStr | None) -> None:
    """Let a request pass that has the token in ``X-API-Token`` or in the query as ``api_token``.

    The header counts if both are there. :raises HTTPError: 401 without a token, 403 with a wrong one.
    """
    if token is None:
        return
    offered = request.getHeader(b"X-API-Token") or _last(request, b"api_token")
    if not offered:
        raise HTTPError(401, "This needs a token, in the header X-API-Token or as ?api_token=.", _CHALLENGE)
    if not hmac.compare_digest(offered, token.get_secret_value().encode()):
        raise HTTPError(403, "The token is wrong.", _CHALLENGE)


def _last(request: Request, name: bytes) -> bytes | None:
    values: list[bytes] = request.args.get(name, [])
    return values[-1] if values else None
