"""The routes of the documentation and of the icons, open without a token.

The icons are a fixed set that is read once: no path of a request reaches the file system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from importlib.resources import files

from ...settings import Settings
from ..responses import HTTPError, RawAnswer, encode
from .docs_page import render_page
from .endpoint import Operation, Route, View
from .openapi import openapi_document, prepare_types, without_security

_PAGE = "/docs"
_HTML = "text/html"
_IMAGES = "image/svg+xml, image/png, image/x-icon"
_BAD_HOST = {400: "The Host header is invalid."}
_NO_FILE = {404: "There is no such file."}
#: Rendered pages that are cached: one for each name by which the proxy is requested.
_MAX_PAGES = 16

_TYPES = {"svg": "image/svg+xml", "png": "image/png", "ico": "image/x-icon"}
_NAMES = ("favicon.svg", "favicon.png", "favicon.ico", "logo.svg", "logo.png")
#: Headers of the icons. They are cached for a day only, because their names have no version. An SVG that is opened as
#: a page must not load or run anything.
_HEADERS = {
    "Cache-Control": "public, max-age=86400",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def load_assets() -> dict[str, RawAnswer]:
    """Read the icons; return them by name."""
    folder = files(__package__) / "static"
    return {name: RawAnswer((folder / name).read_bytes(), _TYPES[name[-3:]], _HEADERS) for name in _NAMES}


def _get(path: str, view: View, summary: str, answer: str, errors: Mapping[int, str] = _BAD_HOST) -> Route:
    return Route(
        method="GET",
        path=path,
        view=view,
        summary=summary,
        tag="documentation",
        answer=answer,
        errors=errors,
        open=True,
        base=answer == _HTML,
    )


class DocsApi:
    """Routes of the documentation, which describes all routes."""

    def __init__(self, settings: Settings, others: Sequence[Operation]) -> None:
        """
        Load the icons, and prepare the document.

        :param others: all other operations.
        """
        self._settings = settings
        self._assets = load_assets()
        self._others = others
        prepare_types(others)
        self._openapi = lru_cache(maxsize=2)(self._make_openapi)
        # The page needs no token, so rendering it for each request would be a way to overload the proxy.
        self._page_at = lru_cache(maxsize=_MAX_PAGES)(self._make_page)

    def routes(self) -> list[Route]:
        """Return the routes. Two paths are settings; an empty path switches its route off."""
        routes = [
            _get(_PAGE, self.page, "The API's description as a page", _HTML),
            _get("/favicon.ico", self.icon, "The icon", "image/x-icon"),
            _get("/static/{name}", self.file, "An icon or logo", _IMAGES, _BAD_HOST | _NO_FILE),
        ]
        redoc, openapi = self._settings.redoc_url, self._settings.openapi_url
        if redoc:
            routes.append(_get(redoc, self.redoc_page, "The same page as at /docs", _HTML))
        if openapi:
            routes.append(_get(openapi, self.openapi, "The API's description as OpenAPI", "application/json"))
        return routes

    def page(self, base: str) -> RawAnswer:
        """Return the page."""
        return self._page_at(_PAGE, base, self._needs_token)

    def redoc_page(self, base: str) -> RawAnswer:
        """Return the page for the path in ``REDOC_URL``."""
        return self._page_at(self._settings.redoc_url, base, self._needs_token)

    def openapi(self) -> RawAnswer:
        """Return the OpenAPI document for the current settings: a reload may set or unset the token."""
        return self._openapi(self._needs_token)

    def icon(self) -> RawAnswer:
        """Return the icon that browsers request on their own."""
        return self._assets["favicon.ico"]

    def file(self, name: str) -> RawAnswer:
        """Return an icon or logo by its name."""
        asset = self._assets.get(name)
        if asset is None:
            raise HTTPError(404, "Not Found")
        return asset

    @property
    def _needs_token(self) -> bool:
        return self._settings.api_token is not None

    @cached_property
    def _document(self) -> dict[str, object]:
        """The OpenAPI document, made at the first request, because that takes as long as making all routes."""
        return openapi_document([*self._others, *self.routes()], self._settings.root_path)

    def _described(self, with_token: bool) -> dict[str, object]:
        return self._document if with_token else without_security(self._document)

    def _make_openapi(self, with_token: bool) -> RawAnswer:
        return RawAnswer(encode(self._described(with_token)), "application/json")

    def _make_page(self, path: str, base: str, with_token: bool) -> RawAnswer:
        """Render the page with relative links, so that it works behind a proxy that adds an unknown prefix."""
        up = "../" * (path.count("/") - 1)
        return render_page(self._described(with_token), base, up, self._settings.openapi_url)
