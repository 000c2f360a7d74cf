"""A web site on loopback with the player page. Its origin differs from the proxy's, as with web players."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from packages import LIBRARIES, library
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File


class Pages:
    """The web site."""

    def __init__(self, reactor) -> None:
        root = Resource()
        root.putChild(b"", File(str(Path(__file__).with_name("player.html"))))
        for name in LIBRARIES:
            root.putChild(name.encode(), File(str(library(name))))
        self._site = Site(root)
        self._site.noisy = False
        self._port = reactor.listenTCP(0, self._site, interface="127.0.0.1")

    def url(self, player: str, url: str) -> str:
        """Return the URL of the page that plays ``url`` with a library."""
        return f"http://127.0.0.1:{self._port.getHost().port}/?{urlencode({'with': player, 'url': url})}"

    def stop(self):
        """Close the port."""
        return self._port.stopListening()
