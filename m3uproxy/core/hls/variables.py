"""Playlist variables (EXT-X-DEFINE, RFC 8216bis sections 4.3 and 4.4.2.3).

URIs with variables are resolved by the proxy, so a player never gets a variable in a URI. Outside URIs the player
substitutes variables itself. The exception is QUERYPARAM, a parameter of the playlist's own URL, which differs at the
proxy. Such a definition is replaced by NAME and VALUE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from .playlist_lines import PlaylistLine, attributes

_REFERENCE = re.compile(r"\{\$([A-Za-z0-9_-]+)\}")
#: Characters that a quoted-string cannot hold. NUL marks the places of client names
#: (:mod:`m3uproxy.hls.served_playlist`).
_UNQUOTABLE = re.compile(r'["\r\n\0]')
#: Longest text after substitution, in characters. Nested definitions can double in length with each line. Real URLs
#: are shorter.
MAX_CHARACTERS = 16_384


class Variables:
    """The variables of one playlist that are defined so far."""

    def __init__(self, url: str, imported: Mapping[str, str] | None = None) -> None:
        """
        Initialise without variables.

        :param url: URL of the playlist after redirects.
        :param imported: variables of the multivariant playlist that names this playlist.
        """
        self._url = url
        self._query: dict[str, str] | None = None
        self._imported = imported or {}
        self.values: dict[str, str] = {}

    def substitute(self, text: str) -> str:
        """
        Return the text with each variable replaced by its value.

        Undefined variables stay in the text. If the result exceeds :data:`MAX_CHARACTERS`, the text stays unchanged.
        """
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
        Add a definition.

        :return: attributes that define the same value independently of the URL, or None if the definition can stay.
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
