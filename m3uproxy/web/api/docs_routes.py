"""The routes that anybody may see: the API's description, as a page and as OpenAPI, and the icons.

The files of the web side: a fixed set, read once. No path of a request reaches the file system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from importlib.resources import files

from ...settings import Settings
from ..responses import HTTPError, RawAnswer, encode
from .docs_page import page
from .endpoint import Operation, Route, View
from .openapi import document, without_token

_TYPES = {"svg": "image/svg+xml", "png": "image/png", "ico": "image/x-icon"}
_NAMES = ("favicon.svg", "favicon.png", "favicon.ico", "logo.svg", "logo.png")
#: For a day; they have no version in their names. An SVG that is opened as a page may do nothing.
_HEADERS = {
    "Cache-Control": "public, max-age=86400",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def load_assets() -> dict[str, RawAnswer]:
    """All files by name, ready to be sent."""
    folder = files(__package__) / "static"
    return {name: RawAnswer((folder / name).read_bytes(), _TYPES[name[-3:]], _HEADERS) for name in _NAMES}


_PAGE = "/docs"
_HTML = "text/html"
_PICTURES = "image/svg+xml, image/png, image/x-icon"
_HOST = {400: "The Host header is none."}
#: Pages that are kept, for as many names as the proxy is called by.
_MOST_PAGES = 16
_NO_FILE = {404: "There is no such file."}


def _get(path: str, view: View, summary: str, answer: str, errors: Mapping[int, str] = _HOST) -> Route:
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
    """Describes the other routes, and itself."""

    def __init__(self, settings: Settings, others: Sequence[Operation]) -> None:
        """
        Make the description.

        :param others: what is answered elsewhere.
        """
        self._settings = settings
        self._assets = load_assets()
        self._others = others
        self._openapi = lru_cache(maxsize=2)(self._make_openapi)
        # Anybody may ask for it, by any name, so it is not made anew for each request.
        self._page_at = lru_cache(maxsize=_MOST_PAGES)(self._make_page)

    def routes(self) -> list[Route]:
        """What is answered here. Two of the paths are settings; an empty one switches its route off."""
        routes = [
            _get(_PAGE, self.page, "This description, as a page", _HTML),
            _get("/favicon.ico", self.icon, "The icon", "image/x-icon"),
            _get("/static/{name}", self.file, "An icon or logo", _PICTURES, _HOST | _NO_FILE),
        ]
        if self._settings.redoc_url:
            routes.append(_get(self._settings.redoc_url, self.second_page, "The same page", _HTML))
        if self._settings.openapi_url:
            routes.append(_get(self._settings.openapi_url, self.openapi, "The same as OpenAPI", "application/json"))
        return routes

    def page(self, base: str) -> RawAnswer:
        """The page."""
        return self._page_at(_PAGE, base, self._needs_token)

    def second_page(self, base: str) -> RawAnswer:
        """The page under the path that is a setting."""
        return self._page_at(self._settings.redoc_url, base, self._needs_token)

    def openapi(self) -> RawAnswer:
        """The document; it is fresh, because what it says of the token is a setting that can change."""
        return self._openapi(self._needs_token)

    def icon(self) -> RawAnswer:
        """What browsers ask for by themselves."""
        return self._assets["favicon.ico"]

    def file(self, name: str) -> RawAnswer:
        """One of the fixed set."""
        asset = self._assets.get(name)
        if asset is None:
            raise HTTPError(404, "Not Found")
        return asset

    @property
    def _needs_token(self) -> bool:
        return self._settings.api_token is not None

    @cached_property
    def _document(self) -> dict[str, object]:
        """Made when somebody asks: it takes as long as all other routes' making."""
        return document([*self._others, *self.routes()], self._settings.root_path)

    def _described(self, with_token: bool) -> dict[str, object]:
        return self._document if with_token else without_token(self._document)

    def _make_openapi(self, with_token: bool) -> RawAnswer:
        return RawAnswer(encode(self._described(with_token)), "application/json")

    def _make_page(self, path: str, base: str, with_token: bool) -> RawAnswer:
        """Relative, so that the page works behind a proxy that adds a prefix which nobody told us."""
        up = "../" * (path.count("/") - 1)
        return page(self._described(with_token), base, up, self._settings.openapi_url)
