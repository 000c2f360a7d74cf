"""Which file it is: what tells two encodes of a film apart that stand under one URL, or one encode from another.

A film that is continued from another connection, or another provider, must be the same to the byte: a player that is
sent the first half of one encode and the second of another shows garbage, or crashes.
"""

from __future__ import annotations

import attrs

from .byte_ranges import if_range_holds

#: Bytes that a continued file must repeat to be taken for the same. Compressed pictures agree by chance on none.
PROOF_SIZE = 4096


@attrs.frozen
class Representation:
    """
    What a provider says of a file.

    :ivar length: bytes; None if it does not say.
    :ivar etag: as sent, '' if there is none; the same for ``last_modified``.
    :ivar accepts_ranges: whether parts of it can be had; None if it does not say.
    """

    length: int | None = None
    etag: str = ""
    last_modified: str = ""
    accepts_ranges: bool | None = False

    @property
    def validator(self) -> str:
        """What to send as ``If-Range``; '' if there is nothing to go by (RFC 9110 section 13.1.5)."""
        strong = self.etag if self.etag.startswith('"') else ""
        return strong or ("" if self.etag else self.last_modified)

    def contradicts(self, other: Representation, same_url: bool) -> bool:
        """
        Whether both cannot be the same file.

        :param same_url: validators are compared only under one URL: two servers give one file two names.
        """
        if None not in (self.length, other.length) and self.length != other.length:
            return True
        if not same_url:
            return False
        if self.etag and other.etag:
            return _plain(self.etag) != _plain(other.etag)
        return bool(self.last_modified and other.last_modified and self.last_modified != other.last_modified)

    def range_applies(self, if_range: str | None) -> bool:
        """Whether a player's ``Range`` counts."""
        return if_range is None or if_range_holds(if_range, self.etag, self.last_modified)


def _plain(etag: str) -> str:
    return etag.removeprefix("W/")
