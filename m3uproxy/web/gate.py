"""Who may use the management API: from where, on whose behalf, with what token."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ..settings import Settings
from .auth import check_token


class Gate:
    """Stands before every management request."""

    def __init__(self, settings: Settings, clock: IReactorTime) -> None:
        self._settings = settings
        self._clock = clock

    def check_access(self, request: Request) -> None:
        """Let a request pass that comes from where management is allowed from.

        :raises HTTPError: 400 or 403.
        """

    def check_token(self, request: Request) -> None:
        """Let a request pass that has the token, if one is set.

        :raises HTTPError: 401 without a token, 403 with a wrong one, 429 after too many wrong ones.
        """
        check_token(request, self._settings.api_token)
