"""One playlist of a stream as players see it, whatever source it comes from.

It is rewritten once for all players. What differs between them is the name that each carries in its URLs; a byte that
no playlist has marks the places where it goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import attrs

from ..core.hls.delivery_directives import NO_DIRECTIVES, DeliveryDirectives
from ..core.hls.playlist import Playlist, can_block_reload, parse
from ..core.hls.playlist_continuity import DiscontinuityNumbers, PlaylistContinuity
from ..core.hls.playlist_lines import NotAPlaylist, attribute
from ..core.hls.uri_rewriter import RewriteUri, encode_playlist, rewrite
from ..errors import Reason, SourceError

#: Stands in a rewritten playlist for the name of the player. What holds this byte is not taken for a playlist.
CLIENT_MARK = "\0"
_MARK_BYTES = CLIENT_MARK.encode()
#: Bytes of a playlist that are made for a player at a time.
_PIECE_BYTES = 32_768

#: Seconds for which a playlist that has no clock of its own is good: one of playlists, or one that has ended.
_STATIC_MAX_AGE = 5.0
#: And one of which nothing is known yet.
_INITIAL_MAX_AGE = 1.0
#: The longest that a target duration counts for, in seconds: clocks go by it.
MAX_TARGET_DURATION = 120.0
#: Seconds of a part, below which nobody waits for parts.
_MIN_PART_TARGET = 0.01
#: The least that is kept back from a provider, in seconds.
_MIN_MAX_AGE = 0.25


@attrs.frozen
class ParsedPlaylist:
    """
    A playlist from a provider.

    :ivar playlist: what ``body`` says.
    :ivar url: after redirects.
    :ivar public: whether it came from outside.
    """

    playlist: Playlist = attrs.field(eq=False)
    body: bytes = attrs.field(repr=False)
    url: str = attrs.field(repr=False)
    public: bool


class PlaylistCopy:
    """A playlist with one player's name in it: made as it is taken, since it may be large, and each player has another.

    :ivar size: bytes.
    """

    def __init__(self, text: bytes, name: bytes) -> None:
        """
        Make one.

        :param text: with :data:`CLIENT_MARK` where the name goes.
        """
        self._text = text
        self._name = name
        self.size = len(text) + text.count(_MARK_BYTES) * (len(name) - len(_MARK_BYTES))

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        for at in range(0, len(self._text), _PIECE_BYTES):
            yield self._text[at : at + _PIECE_BYTES].replace(_MARK_BYTES, self._name)

    def read(self) -> bytes:
        """The same at once."""
        return self._text.replace(_MARK_BYTES, self._name)


def parse_body(body: bytes) -> Playlist:
    """
    Read what a provider sent.

    :raises SourceError: ``NOT_VIDEO``, if it is no playlist.
    """
    try:
        return parse(body)
    except NotAPlaylist as why:
        raise SourceError(Reason.NOT_VIDEO, f"the provider sent {why} where a playlist was expected") from None


class ServedPlaylist:
    """What players are answered under one URL."""

    def __init__(self, discontinuities: DiscontinuityNumbers) -> None:
        """Nothing has been shown yet."""
        self._continuity = PlaylistContinuity(discontinuities)
        self._last_update: tuple[object, ...] | None = None
        self._is_media = False
        self._content = b""
        self.target_duration = 0.0
        self._blocks_reload = False
        self._parts_per_target = 0
        self._max_age = _INITIAL_MAX_AGE

    @property
    def has_content(self) -> bool:
        """Whether anything was shown."""
        return self._last_update is not None

    @property
    def max_age(self) -> float:
        """Seconds for which a copy is young enough: half of what players wait before they ask again."""
        return self._max_age

    @property
    def offset(self) -> int:
        """What players' media sequence numbers are above the source's."""
        return self._continuity.offset

    def still_to_come(self, directives: DeliveryDirectives) -> DeliveryDirectives:
        """What a player waits for, if the provider says that it can be waited for."""
        last = self._continuity.last_sequence
        if not self._blocks_reload or last is None:
            return NO_DIRECTIVES
        return directives.pending(last, self._parts_per_target)

    def update(
        self,
        fetched: ParsedPlaylist,
        rewrite_uri: RewriteUri,
        source: str,
        change: int,
        now: float,
        imported: Mapping[str, str] | None = None,
    ) -> None:
        """
        A source has this now.

        :param source: names the source.
        :param change: how many changes of source there were.
        :param imported: variables of the multivariant playlist.
        :raises SourceError: ``NOT_VIDEO``, if it is out of all measure.
        """
        # Not the thing itself, which is many times as large and may be forgotten by now.
        known = (hash(fetched.body), fetched.url, fetched.public, source, change)
        if known == self._last_update:
            return
        playlist = fetched.playlist
        try:
            pieces = rewrite(playlist, fetched.url, rewrite_uri, imported)
            if not playlist.multivariant:
                pieces = self._continuity.update(playlist, pieces, source, change, now)
        except NotAPlaylist as why:
            raise SourceError(Reason.NOT_VIDEO, f"the provider sent {why}") from None
        self._last_update = known
        self._is_media = not playlist.multivariant
        self._read_timing(playlist)
        self._content = encode_playlist(playlist.bom, pieces)

    def silence(self, now: float) -> float:
        """Target durations since there was something new; 0 for what does not change."""
        if not self._is_media or not self.target_duration:
            return 0.0
        return self._continuity.silence(now) / self.target_duration

    def copy_for(self, client_id: str) -> PlaylistCopy:
        """The playlist for one player."""
        return PlaylistCopy(self._content, quote(client_id, safe="").encode("ascii"))

    def _read_timing(self, playlist: Playlist) -> None:
        self._blocks_reload = can_block_reload(playlist)
        self.target_duration = min(playlist.target_duration, MAX_TARGET_DURATION)
        parts = (attribute(line, "PART-TARGET") for line in playlist.lines if line.name == "EXT-X-PART-INF")
        part = next((_seconds(part) for part in parts), 0.0)
        self._parts_per_target = math.ceil(self.target_duration / part) + 1 if part >= _MIN_PART_TARGET else 0
        waits = part or self.target_duration
        lasts = playlist.multivariant or playlist.ended
        self._max_age = _STATIC_MAX_AGE if lasts else max(_MIN_MAX_AGE, waits / 2)


def _seconds(text: str | None) -> float:
    try:
        return min(60.0, max(0.0, float(text or "")))
    except ValueError:
        return 0.0
