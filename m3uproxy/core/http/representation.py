"""Identity of a file: length and validators, which distinguish two files or two encodes under one URL.

A file that is continued from another connection, or another provider, must be identical to the byte. A player that is
sent the first half of one encode and the second half of another shows garbage, or crashes.
"""

from __future__ import annotations

import attrs

from .byte_ranges import if_range_holds

#: Bytes that the source of a continued file must repeat. Compressed video never agrees on so many by chance.
PROOF_SIZE = 4096


@attrs.frozen
class Representation:
    """
    The properties of a file in the response of a provider.

    :ivar length: bytes; None if unknown.
    :ivar etag: ``ETag`` as sent, '' for none.
    :ivar last_modified: ``Last-Modified`` as sent, '' for none.
    :ivar accepts_ranges: whether the provider sends parts of the file; None if unknown.
    """

    length: int | None = None
    etag: str = ""
    last_modified: str = ""
    accepts_ranges: bool | None = False

    @property
    def validator(self) -> str:
        """The value of ``If-Range``: a strong ETag, without any ETag the date, else '' (RFC 9110 section 13.1.5)."""
        strong = self.etag if self.etag.startswith('"') else ""
        return strong or ("" if self.etag else self.last_modified)

    def contradicts(self, other: Representation, same_url: bool) -> bool:
        """
        Return whether two representations cannot be the same file.

        :param same_url: whether both have the same URL. Only then are validators compared, because two servers give
            different validators to the same file.
        """
        if None not in (self.length, other.length) and self.length != other.length:
            return True
        if not same_url:
            return False
        if self.etag and other.etag:
            return _weak(self.etag) != _weak(other.etag)
        return bool(self.last_modified and other.last_modified and self.last_modified != other.last_modified)

    def range_applies(self, if_range: str | None) -> bool:
        """Return whether the ``Range`` of a player applies, given its ``If-Range``, None for none."""
        return if_range is None or if_range_holds(if_range, self.etag, self.last_modified)


def _weak(etag: str) -> str:
    return etag.removeprefix("W/")
