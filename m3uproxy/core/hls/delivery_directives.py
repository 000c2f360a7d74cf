"""Delivery directives (RFC 8216bis section 6.2.5): a player asks for a playlist update before the update exists.

If the provider announces CAN-BLOCK-RELOAD, the directives are passed on and the provider holds the request.
``_HLS_skip`` is not passed on: a server may ignore it and send the full playlist, and the proxy needs the full one.

Each combination of sequence number and part is a URL of its own and a held request of its own. Therefore only values
that can be waited for are passed on. A player that asks for arbitrary numbers causes only a few provider requests.
"""

from __future__ import annotations

import attrs

#: Segments after the last listed one that a request may wait for; a server refuses more (section 6.2.5.2).
MAX_SEGMENTS_AHEAD = 2
#: Largest part index that a request may wait for.
MAX_PARTS = 100


@attrs.frozen
class DeliveryDirectives:
    """
    The segment or part that a playlist request waits for.

    :ivar sequence: media sequence number as players count, None if the request does not wait.
    :ivar part: index of a part within that segment, None for the whole segment.
    """

    sequence: int | None = None
    part: int | None = None

    def add_to_url(self, url: str, offset: int) -> str:
        """
        Return the playlist URL with the directives as query parameters.

        :param offset: difference between the players' media sequence numbers and those of the source.
        """
        if self.sequence is None:
            return url
        separator = "&" if "?" in url else "?"
        part = f"&_HLS_part={self.part}" if self.part is not None else ""
        return f"{url}{separator}_HLS_msn={max(0, self.sequence - offset)}{part}"

    def pending(self, last: int, parts: int) -> DeliveryDirectives:
        """
        Return the directives that the provider can still satisfy by waiting.

        If the update is already listed, or too far ahead, return :data:`NO_DIRECTIVES`. A part index behind the last
        part means the first part of the next segment (section 6.2.5.2).

        :param last: media sequence number of the last listed segment, as players count.
        :param parts: largest number of parts in a segment; 0 if the playlist has no parts.
        """
        sequence, part = self.sequence, self.part if parts else None
        if sequence is None:
            return NO_DIRECTIVES
        if part is not None and part >= min(parts, MAX_PARTS):
            sequence, part = sequence + 1, 0
        return DeliveryDirectives(sequence, part) if last < sequence <= last + MAX_SEGMENTS_AHEAD else NO_DIRECTIVES


#: Return the current playlist at once.
NO_DIRECTIVES = DeliveryDirectives()
