"""A playlist of a stream as it is served to players, continuous over changes of source.

The playlist is rewritten once for all players. The copies differ only in their URLs: each has the name of the client,
and the prefix of paths that the client's reverse proxy strips. A byte that no playlist contains marks their places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import attrs

from ..core.hls.delivery_directives import NO_DIRECTIVES, DeliveryDirectives
from ..core.hls.playlist import Playlist, can_block_reload
from ..core.hls.playlist_continuity import DiscontinuityNumbers, PlaylistContinuity
from ..core.hls.playlist_lines import attribute
from ..core.hls.playlist_window import apply_window_steps
from ..core.hls.steps import Steps
from ..core.hls.uri_rewriter import RewriteUri, encode_steps, rewrite_steps

#: Stands for the client's name in a rewritten playlist. A provider's body with this byte is not accepted as a playlist.
CLIENT_MARK = "\0"
#: Stands for the prefix of a path and the slash after it. A client's name is never followed by a slash.
PREFIX_MARK = f"{CLIENT_MARK}/"
_CLIENT, _PREFIX = CLIENT_MARK.encode(), PREFIX_MARK.encode()
#: Bytes of a playlist that are copied for a player at a time.
_PIECE_BYTES = 32_768

#: Maximum age of a playlist that does not change, in seconds: a multivariant playlist, or one that has ended.
_STATIC_MAX_AGE = 5.0
#: Maximum age of a playlist of unknown target duration, in seconds.
_INITIAL_MAX_AGE = 1.0
#: Upper bound of the target duration, in seconds: several timeouts depend on it.
MAX_TARGET_DURATION = 120.0
#: If the target duration of partial segments is shorter (seconds), requests for parts are not blocked.
_MIN_PART_TARGET = 0.01
#: Lower bound of the maximum age, in seconds: limits the requests to the provider.
_MIN_MAX_AGE = 0.25


@attrs.frozen
class ParsedPlaylist:
    """
    A playlist as the provider sent it.

    :ivar playlist: the parsed body.
    :ivar body: the body.
    :ivar url: its URL after redirects.
    :ivar public: True if a public host sent it.
    """

    playlist: Playlist = attrs.field(eq=False)
    body: bytes = attrs.field(repr=False)
    url: str = attrs.field(repr=False)
    public: bool


def fill_marks(text: str, client_id: str, prefix: str) -> str:
    """Return a text with the name of a client, percent-encoded, and its prefix in place of their marks."""
    return text.replace(PREFIX_MARK, f"{prefix}/").replace(CLIENT_MARK, quote(client_id, safe=""))


@attrs.frozen
class RewrittenPlaylist:
    """
    A playlist for all players.

    :ivar text: the lines, with :data:`CLIENT_MARK` and :data:`PREFIX_MARK`.
    :ivar names: number of marks for the name of the client.
    :ivar prefixes: number of marks for the prefix.
    """

    text: bytes = attrs.field(repr=False)
    names: int
    prefixes: int


def count_marks(text: bytes) -> RewrittenPlaylist:
    """Count the marks in a text once for all players: it may have thousands."""
    prefixes = text.count(_PREFIX)
    return RewrittenPlaylist(text, text.count(_CLIENT) - prefixes, prefixes)


class PlaylistCopy:
    """
    A playlist with the name and the prefix of one client in its URLs.

    It is made piece by piece while it is sent: it may be large, and every client has its own.

    :ivar size: bytes of the copy.
    """

    def __init__(self, playlist: RewrittenPlaylist, client_id: str, prefix: str) -> None:
        """
        Initialise a copy.

        :param prefix: the prefix of paths for this client, without a slash at the end.
        """
        self._text = playlist.text
        self._name = quote(client_id, safe="").encode("ascii")
        self._prefix = f"{prefix}/".encode("ascii")
        added_by_prefix, added_by_name = len(self._prefix) - len(_PREFIX), len(self._name) - len(_CLIENT)
        self.size = len(self._text) + playlist.prefixes * added_by_prefix + playlist.names * added_by_name

    def pieces(self) -> Iterator[bytes]:
        """Yield the copy in pieces. None ends within a mark."""
        start = 0
        while start < len(self._text):
            stop = start + _PIECE_BYTES
            stop += self._text[stop - 1 : stop] == _CLIENT
            yield self._fill(self._text[start:stop])
            start = stop

    def read(self) -> bytes:
        """Return the whole copy."""
        return self._fill(self._text)

    def _fill(self, text: bytes) -> bytes:
        return text.replace(_PREFIX, self._prefix).replace(_CLIENT, self._name)


_NOTHING = RewrittenPlaylist(b"", 0, 0)


class ServedPlaylist:
    """
    The playlist that players get under one URL.

    :ivar target_duration: the target duration in seconds, bounded; 0 if unknown.
    :ivar last_update: key of the last update (:meth:`update_key`); None before the first one.
    """

    def __init__(self, discontinuities: DiscontinuityNumbers) -> None:
        """
        Initialise a playlist without content.

        :param discontinuities: the discontinuity numbers that all playlists of the stream share.
        """
        self._continuity = PlaylistContinuity(discontinuities)
        self._updates = 0
        self.rest()

    def rest(self) -> None:
        """Drop the content, because nobody plays. The numbers are kept: players that come back expect them to grow."""
        self._continuity.rest()
        self.last_update: tuple[object, ...] | None = None
        self._updates += 1
        self._is_media = False
        self._content = _NOTHING
        self.target_duration = 0.0
        self._blocks_reload = False
        self._parts_per_target = 0
        self._max_age = _INITIAL_MAX_AGE

    @property
    def has_content(self) -> bool:
        """True if a source has delivered a playlist."""
        return self.last_update is not None

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self._content.text)

    @property
    def max_age(self) -> float:
        """Maximum age of a cached response, in seconds: half the time after which players reload."""
        return self._max_age

    @property
    def offset(self) -> int:
        """The difference of the media sequence numbers: served minus provider's."""
        return self._continuity.offset

    def pending(self, directives: DeliveryDirectives) -> DeliveryDirectives:
        """Return the directives to pass on: none if the provider cannot block, or if it has the segment already."""
        last = self._continuity.last_sequence
        if not self._blocks_reload or last is None:
            return NO_DIRECTIVES
        return directives.pending(last, self._parts_per_target)

    def update_key(self, fetched: ParsedPlaylist, source: str, change: int) -> tuple[object, ...]:
        """Return what identifies an update; it holds no parsed playlist, which is many times larger."""
        return hash(fetched.body), fetched.url, fetched.public, source, change

    def update_steps(
        self,
        fetched: ParsedPlaylist,
        rewrite_uri: RewriteUri,
        source: str,
        change: int,
        now: float,
        imported: Mapping[str, str] | None = None,
    ) -> Steps[None]:
        """
        Update the content from a playlist of a source, in steps. If another update begins meanwhile, it counts.

        :param rewrite_uri: returns the URI that players get for a URI of the provider.
        :param source: the URL of the source.
        :param change: the number of changes of source so far.
        :param now: seconds of the clock.
        :param imported: variables of the multivariant playlist, which this one may import (EXT-X-DEFINE).
        :raises OversizedPlaylist: if the playlist exceeds a limit.
        """
        key = self.update_key(fetched, source, change)
        if key == self.last_update:
            return
        self._updates += 1
        update, playlist = self._updates, fetched.playlist
        lines = yield from rewrite_steps(playlist, fetched.url, rewrite_uri, imported)
        if not playlist.multivariant and update == self._updates:
            window = self._continuity.update(playlist, fetched.url, source, change, now)
            if window is None:
                return
            lines = yield from apply_window_steps(playlist, lines, window)
        content = count_marks((yield from encode_steps(playlist.bom, lines)))
        if update == self._updates:
            self.last_update = key
            self._is_media = not playlist.multivariant
            self._read_timing(playlist)
            self._content = content

    def silence(self, now: float) -> float:
        """Return the time without a new segment, in target durations; 0 for a playlist that does not change."""
        if not self._is_media or not self.target_duration:
            return 0.0
        return self._continuity.silence(now) / self.target_duration

    def copy_for(self, client_id: str, prefix: str) -> PlaylistCopy:
        """Return the playlist for one client; ``prefix`` is that of its paths."""
        return PlaylistCopy(self._content, client_id, prefix)

    def _read_timing(self, playlist: Playlist) -> None:
        self._blocks_reload = can_block_reload(playlist)
        self.target_duration = min(playlist.target_duration, MAX_TARGET_DURATION)
        part_inf = playlist.tags.get("EXT-X-PART-INF")
        part = 0.0 if part_inf is None else _seconds(attribute(part_inf, "PART-TARGET"))
        self._parts_per_target = math.ceil(self.target_duration / part) + 1 if part >= _MIN_PART_TARGET else 0
        waits = part or self.target_duration
        lasts = playlist.multivariant or playlist.ended
        self._max_age = _STATIC_MAX_AGE if lasts else max(_MIN_MAX_AGE, waits / 2)


def _seconds(text: str | None) -> float:
    try:
        return min(60.0, max(0.0, float(text or "")))
    except ValueError:
        return 0.0
