"""Identity of a viewer: do two requests come from the same one? If so, one may take over the slot of the other.

There is no certain sign. Many viewers may share one address, so address and user agent count only if neither a client
id nor a user name can be compared.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class ViewerIdentity:
    """The properties of a player that identify its viewer; None for unknown ones."""

    address: str
    user_agent: str
    username: str | None = None
    client_id: str | None = None

    def is_same(self, other: ViewerIdentity) -> bool:
        """
        Return whether two identities belong to the same viewer.

        The first property that both have decides: client id, then user name, then address and user agent together.
        """
        if self.client_id and other.client_id:
            return self.client_id == other.client_id
        if self.username and other.username:
            return self.username == other.username
        return (self.address, self.user_agent) == (other.address, other.user_agent)
