"""Delivery directives (RFC 8216bis section 6.2.5): a player asks for a playlist that is still to come.

They go to a provider that says it understands them, so that it holds the request. What a player may leave out of a
playlist that it has already (``_HLS_skip``) does not: a server may send the whole one, and we need it whole.

Each thing to wait for is a URL of its own, and a request that the provider holds. So only what can be waited for is
passed on: a player that asks for any number makes no more than a few requests of it.
"""

from __future__ import annotations

import attrs

#: Segments behind the last that may be waited for; a server refuses more (section 6.2.5.2).
MAX_SEGMENTS_AHEAD = 2
#: Parts of a segment that may be.
MAX_PARTS = 100


@attrs.frozen
class DeliveryDirectives:
    """
    What to wait for.

    :ivar sequence: a media sequence number as players count, None for not waiting.
    :ivar part: a part of that segment, by its index.
    """

    sequence: int | None = None
    part: int | None = None

    def add_to_url(self, url: str, offset: int) -> str:
        """
        The URL to ask.

        :param offset: what players' media sequence numbers are above the source's.
        """
        if self.sequence is None:
            return url
        separator = "&" if "?" in url else "?"
        part = f"&_HLS_part={self.part}" if self.part is not None else ""
        return f"{url}{separator}_HLS_msn={max(0, self.sequence - offset)}{part}"

    def pending(self, last: int, parts: int) -> DeliveryDirectives:
        """
        What of it is worth waiting for; :data:`NO_DIRECTIVES` if it is there already, or too far.

        :param last: the number of the last segment that is there, as players count.
        :param parts: the most that a segment has; 0 if there are no parts. A part behind the last is the first of the
            next segment (section 6.2.5.2).
        """
        sequence, part = self.sequence, self.part if parts else None
        if sequence is None:
            return NO_DIRECTIVES
        if part is not None and part >= min(parts, MAX_PARTS):
            sequence, part = sequence + 1, 0
        return DeliveryDirectives(sequence, part) if last < sequence <= last + MAX_SEGMENTS_AHEAD else NO_DIRECTIVES


#: The playlist as it is now.
NO_DIRECTIVES = DeliveryDirectives()
