"""Delivery directives (RFC 8216bis section 6.2.5): a player asks for a playlist that is still to come.

They go to a provider that says it understands them, so that it holds the request. What a player may leave out of a
playlist that it has already (``_HLS_skip``) does not: a server may send the whole one, and we need it whole.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Directives:
    """
    What to wait for.

    :ivar sequence: a media sequence number as players count, None for not waiting.
    :ivar part: a part of that segment, by its index.
    """

    sequence: int | None = None
    part: int | None = None

    def put_on(self, url: str, offset: int) -> str:
        """
        The URL to ask.

        :param offset: what players' media sequence numbers are above the source's.
        """
        if self.sequence is None:
            return url
        mark = "&" if "?" in url else "?"
        part = f"&_HLS_part={self.part}" if self.part is not None else ""
        return f"{url}{mark}_HLS_msn={max(0, self.sequence - offset)}{part}"


#: The playlist as it is now.
AT_ONCE = Directives()
