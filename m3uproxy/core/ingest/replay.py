"""Whether a new source of radio brings again what was sent: frames have no time, so their bytes are compared.

Servers send a few seconds at once to whoever connects, so that playing begins at once. After a reconnect they would be
heard twice.
"""

from __future__ import annotations

#: Bytes of the end of what was sent that must come again.
_MARK = 1024
#: Seconds and bytes for which a new source is kept back: what a server has gathered comes at once.
LONGEST = 0.5
LARGEST = 1 << 20


class AudioReplayFilter:
    """Frames of a new source, kept until it is known where they go on from what was sent.

    :ivar since: when the first came, monotonic seconds.
    :ivar dropped: bytes that had been sent before; None if the end of what was sent did not come again.
    """

    def __init__(self, sent: bytes, since: float) -> None:
        """
        Compare with what was sent.

        :param sent: its last seconds, whole frames.
        """
        self.since = since
        self.dropped: int | None = None
        self._mark = sent[-_MARK:]
        self._kept = bytearray()
        self._searched = 0

    def push(self, frames: bytes, now: float) -> bytes | None:
        """Take whole frames; those to be sent from now on, or None while that is not known."""
        self._kept += frames
        found = self._kept.find(self._mark, self._searched) if len(self._mark) == _MARK else -1
        if found >= 0:
            self.dropped = found + _MARK
            return bytes(self._kept[self.dropped :])
        self._searched = max(0, len(self._kept) - _MARK + 1)
        if len(self._mark) < _MARK or now - self.since >= LONGEST or len(self._kept) >= LARGEST:
            return self.give_up()
        return None

    def give_up(self) -> bytes:
        """It does not come again: all that is kept."""
        return bytes(self._kept)
