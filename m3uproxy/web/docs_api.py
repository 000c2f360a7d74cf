"""The routes that anybody may see: the API's description, as a page and as OpenAPI, and the icons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from ..settings import Settings
from .answer import Content, HTTPError, encode
from .assets import load_assets
from .docs_page import page
from .openapi import document, without_token
from .routes import Operation, Route, View

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
        self._made: dict[object, Content] = {}

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

    def page(self, base: str) -> Content:
        """The page."""
        return self._page_at(_PAGE, base)

    def second_page(self, base: str) -> Content:
        """The page under the path that is a setting."""
        return self._page_at(self._settings.redoc_url, base)

    def openapi(self) -> Content:
        """The document; it is fresh, because what it says of the token is a setting that can change."""
        return self._openapi(self._settings.api_token is not None)

    def icon(self) -> Content:
        """What browsers ask for by themselves."""
        return self._assets["favicon.ico"]

    def file(self, name: str) -> Content:
        """One of the fixed set."""
        asset = self._assets.get(name)
        if asset is None:
            raise HTTPError(404, "Not Found")
        return asset

    @cached_property
    def _document(self) -> dict[str, object]:
        """Made when somebody asks: it takes as long as all other routes' making."""
        return document([*self._others, *self.routes()], self._settings.root_path)

    def _described(self, with_token: bool) -> dict[str, object]:
        return self._document if with_token else without_token(self._document)

    def _openapi(self, with_token: bool) -> Content:
        made = self._made.get(with_token)
        if made is None:
            made = self._made[with_token] = Content(encode(self._described(with_token)), "application/json")
        return made

    def _page_at(self, path: str, base: str) -> Content:
        """Anybody may ask for it, so it is not made anew for each request; the base is what the request says."""
        with_token = self._settings.api_token is not None
        made = self._made.get((path, base, with_token))
        if made is None:
            # Relative, so that the page works behind a proxy that adds a prefix which nobody told us.
            up = "../" * (path.count("/") - 1)
            made = page(self._described(with_token), base, up, self._settings.openapi_url)
            if len(self._made) >= _MOST_PAGES:
                self._made.clear()
            self._made[path, base, with_token] = made
        return made
