"""Variables of a playlist (EXT-X-DEFINE, RFC 8216bis sections 4.3 and 4.4.2.3).

A URI with variables is resolved here, so none of them reaches a player in a URI. Elsewhere the player puts them in
itself. One kind it cannot: a parameter of the playlist's own URL, which is another at the proxy. Such a definition
is written anew with the value in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from .playlist_lines import PlaylistLine, attributes

_REFERENCE = re.compile(r"\{\$([A-Za-z0-9_-]+)\}")
#: The last marks the places where names of players go (:mod:`m3uproxy.hls.served_playlist`).
_UNQUOTABLE = re.compile(r'["\r\n\0]')
#: Characters up to which variables are put in. Definitions of definitions double with each line; nobody asks for a URL
#: as long as this.
MAX_CHARACTERS = 16_384


class Variables:
    """Those that are defined so far, in one playlist."""

    def __init__(self, url: str, imported: Mapping[str, str] | None = None) -> None:
        """
        None is defined yet.

        :param url: of the playlist, after redirects.
        :param imported: those of the multivariant playlist through which a player came here.
        """
        self._url = url
        self._query: dict[str, str] | None = None
        self._imported = imported or {}
        self.values: dict[str, str] = {}

    def substitute(self, text: str) -> str:
        """The text with each variable replaced; one that is not defined stays as it stands, as does what gets long."""
        if "{$" not in text or len(text) > MAX_CHARACTERS:
            return text
        pieces, size, at = [], 0, 0
        for match in _REFERENCE.finditer(text):
            pieces += [text[at : match.start()], self.values.get(match[1], match[0])]
            size += len(pieces[-2]) + len(pieces[-1])
            at = match.end()
            if size > MAX_CHARACTERS:
                return text
        return "".join(pieces) + text[at:]

    def define(self, line: PlaylistLine) -> str | None:
        """
        Take a definition.

        :return: another one that means the same at any URL; None if this one does.
        """
        values = {each.name: each.value for each in attributes(line)}
        if "NAME" in values:
            self.values[values["NAME"]] = self.substitute(values.get("VALUE", ""))
        elif "IMPORT" in values and values["IMPORT"] in self._imported:
            self.values[values["IMPORT"]] = self._imported[values["IMPORT"]]
        elif "QUERYPARAM" in values:
            return self._define_from_query(values["QUERYPARAM"])
        return None

    def _define_from_query(self, name: str) -> str | None:
        if self._query is None:
            query = self._url.partition("#")[0].partition("?")[2]
            self._query = dict(parse_qsl(query, keep_blank_values=True))
        value = self._query.get(name)
        if value is None:
            return None
        self.values[name] = value
        return None if _UNQUOTABLE.search(value) else f'NAME="{name}",VALUE="{value}"'
