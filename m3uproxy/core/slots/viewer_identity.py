"""Whether two requests come from one viewer: what a provider slot may be taken over by.

There is no certain sign. Behind one address there may be a whole house, so address and user agent are believed only
where nothing better is known of one of the two.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class ViewerIdentity:
    """What a player tells of itself; None where it says nothing."""

    address: str
    user_agent: str
    username: str | None = None
    client_id: str | None = None

    def is_same(self, other: ViewerIdentity) -> bool:
        """By the first of these that both have: client id; user name; address and user agent together."""
        if self.client_id and other.client_id:
            return self.client_id == other.client_id
        if self.username and other.username:
            return self.username == other.username
        return (self.address, self.user_agent) == (other.address, other.user_agent)
