"""Takes out of radio the titles of songs, which we never ask for and some servers send all the same.

A server that announces ``icy-metaint: N`` puts a block of text behind each N bytes of sound: one byte that says its
length in units of 16, and the text, filled up with zeros. Within frames of sound it is damage.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Bytes of a unit of length.
_UNIT = 16


class IcyTitleFilter:
    """The blocks of text in one body."""

    def __init__(self, interval: int) -> None:
        """
        Begin.

        :param interval: bytes of sound between two blocks.
        """
        self._interval = interval
        self._sound = interval
        self._text = 0

    def without(self, data: bytes) -> bytes:
        """What is sound of a piece of the body, perhaps nothing."""
        sound: list[bytes] = []
        at = 0
        while at < len(data):
            if self._text:
                taken = min(self._text, len(data) - at)
                self._text -= taken
            elif self._sound:
                taken = min(self._sound, len(data) - at)
                self._sound -= taken
                sound.append(data[at : at + taken])
            else:
                taken, self._text, self._sound = 1, data[at] * _UNIT, self._interval
            at += taken
        return b"".join(sound)


def icy_title_filter(headers: Sequence[bytes]) -> IcyTitleFilter | None:
    """The blocks that are announced; None if there are none.

    :param headers: values of ``icy-metaint``.
    """
    interval = int(headers[0]) if headers and headers[0].isdigit() and len(headers[0]) < 10 else 0
    return IcyTitleFilter(interval) if interval else None
