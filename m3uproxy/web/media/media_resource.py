"""The base of all media resources, which are not served by Klein; see :mod:`.live_resource`."""

# mypy: allow-untyped-calls

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ...core.body_kind import KindMismatch
from ...errors import LimitReached, SourceError
from ...registry import Registry
from ...settings import Settings
from ...streams.base import Stream
from ...streams.player import PlayerInfo
from ..access.client_address import client_address
from ..access.cors import allow_media, answer_media_preflight, is_preflight
from ..responses import HTTPError, query_value, service_unavailable, write_error
from .signed_urls import SignedUrls

METHODS = "GET, HEAD, OPTIONS"
#: Steps that may take START_TIMEOUT one after another: a slot, the provider's head, and the first bytes.
LONGEST_STEPS = 3

#: Kinds of stream that one request may meet: the guess by the URL, that of the answer, and one more change.
MAX_KINDS = 3
#: Returns the page of a stream by its present kind.
FindPage = Callable[[], "MediaResource"]

WriterClass = TypeVar("WriterClass", bound=type)


def abort_on_error(cls: WriterClass) -> WriterClass:
    """
    Decorate a class of response writers: an exception in a public method ends the player's connection.

    The stream calls these methods, and an exception would end it for all its players. The class has a ``_request``.
    """
    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("_"):
            setattr(cls, name, _aborting(method))
    return cls


def _aborting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any) -> Any:
        try:
            return method(self, *args)
        except Exception:
            self._request.abort(Failure())
            return b""

    return call


def player_of(request: Request, settings: Settings) -> PlayerInfo:
    """Return the player as a request describes it."""
    address = client_address(request, settings)
    names = (query_value(request, name) for name in (b"username", b"user", b"u"))
    return PlayerInfo(
        ip_address=str(address or "unknown"),
        user_agent=header(request, b"user-agent") or "unknown",
        username=header(request, b"x-username") or next((name for name in names if name), None),
        client_id=query_value(request, b"client_id"),
    )


def header(request: Request, name: bytes) -> str | None:
    """Return the first header with a name; None if it is missing or empty."""
    value = request.requestHeaders.getRawHeaders(name, [None])[0]
    return value.decode("utf-8", "replace") if value else None


def refusal(error: SourceError) -> HTTPError:
    """Return the error for a player whose response has not started. A 503 has the provider's Retry-After, if longer."""
    if error.player_status != 503:
        return HTTPError(error.player_status, str(error))
    return service_unavailable(error, error.retry_after or 0.0)


def answer_error(request: Request, error: HTTPError) -> bytes:
    """Set an error as the response, readable for web pages, and return its body for a resource to return."""
    allow_media(request)
    request.setHeader(b"Cache-Control", b"no-cache")
    body = write_error(request, error)
    return b"" if request.method == b"HEAD" else body


class MediaResource(Resource):
    """The media of one stream."""

    isLeaf = True
    allowedMethods = (b"GET", b"HEAD", b"OPTIONS")
    #: Seconds for which a provider may block a request, beyond START_TIMEOUT.
    longest_wait = 0.0

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        signed_urls: SignedUrls | None,
        stream_id: str,
        find_page: FindPage,
    ) -> None:
        """
        Serve the media of a stream.

        :param find_page: returns the page for the kind that the stream has now. A stream is replaced if its source
            turns out to be of another kind.
        """
        super().__init__()
        self._find_page = find_page
        self._registry = registry
        self._settings = settings
        self._signed_urls = signed_urls
        self._id = stream_id
        self._served_entry: Stream | None = None

    def render(self, request: Request) -> Any:
        """Answer a request. Checked in this order: method, signature, stream, limits."""
        answer: Deferred[bytes | int] = Deferred.fromCoroutine(self._answer(request))
        timed: Any = request
        if not answer.called or (answer.result is NOT_DONE_YET and not timed.startedWriting):
            timed.begin_within(LONGEST_STEPS * self._settings.start_timeout + self.longest_wait)
        return answer

    async def _answer(self, request: Request) -> bytes | int:
        allow_media(request)
        try:
            answer = {b"GET": self._get, b"HEAD": self._head, b"OPTIONS": self._options}.get(request.method)
            if answer is None:
                raise HTTPError(405, "Method Not Allowed", {"Allow": METHODS})
            return await answer(request)
        except HTTPError as error:
            return answer_error(request, error)
        except KindMismatch as error:
            page = self._page_after(request, error)
            return answer_error(request, self._refusal(error)) if page is None else await page._answer(request)
        except SourceError as error:
            return answer_error(request, self._refusal(error))

    def _page_after(self, request: Request, error: KindMismatch) -> MediaResource | None:
        """
        Return the page that serves a request after its stream was replaced by one of another kind.

        :return: None if the stream was deleted or stays, or if the request has met :data:`MAX_KINDS` kinds: a source
            that changes with each request would be asked without end.
        """
        seen: Any = request
        seen.kinds_met = getattr(request, "kinds_met", 1) + 1
        entry = self._registry.get(self._id)
        if entry is None or seen.kinds_met > MAX_KINDS:
            return None
        if entry is self._served_entry:
            entry = self._registry.change_kind(entry, error)
        return None if entry is None else self._find_page()

    def answer_again(self, request: Request, error: KindMismatch) -> bool:
        """
        Answer a request whose response has not begun from the stream of another kind.

        :return: False if there is no such stream.
        """
        page = self._page_after(request, error)
        if page is None:
            return False
        timed: Any = request
        timed.answer_later(Deferred.fromCoroutine(page._answer(request)))
        return True

    @abstractmethod
    async def _get(self, request: Request) -> bytes | int:
        """
        Start the response to a player.

        :return: the body, or ``NOT_DONE_YET`` if a producer writes it.
        """

    @abstractmethod
    async def _head(self, request: Request) -> bytes | int:
        """Answer with the headers of a GET."""

    def _refusal(self, error: SourceError) -> HTTPError:
        """Return the error for a player whose response has not started."""
        return refusal(error)

    def _entry(self, request: Request) -> Stream:
        """Return the stream. The signature is checked first, so that unsigned requests cannot probe for streams."""
        if self._signed_urls is not None:
            self._signed_urls.check(request, self._id)
        entry = self._served_entry = self._registry.get(self._id)
        if entry is None or any(request.postpath or ()):
            raise HTTPError(404, "Stream not found.")
        return entry

    def _check_room(self, entry: Stream, player: PlayerInfo) -> None:
        try:
            self._registry.check_viewer_limits(entry, player.ip_address)
        except LimitReached as reached:
            raise service_unavailable(reached) from None

    async def _options(self, request: Request) -> bytes:
        if is_preflight(request):
            return answer_media_preflight(request)
        self._entry(request)
        request.setHeader(b"Allow", METHODS.encode())
        return b""
