"""Segments that are encrypted as a whole: AES-128 in CBC mode with PKCS #7 padding (RFC 8216 section 4.3.2.4)."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from ...errors import Reason, SourceError

#: Bytes of a key.
KEY_SIZE = 16


class Aes128Decryptor:
    """One segment, as it arrives."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        """
        Begin with a segment.

        :param key: 16 bytes.
        :param iv: 16 bytes.
        :raises SourceError: if the key is none.
        """
        if len(key) != KEY_SIZE:
            raise SourceError(Reason.NOT_VIDEO, f"the provider sent {len(key)} bytes where a key was expected")
        self._cipher = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        self._padding = PKCS7(128).unpadder()

    def update(self, data: bytes) -> bytes:
        """What is clear by now; the last block waits for the end."""
        return self._padding.update(self._cipher.update(data))

    def finalize(self) -> bytes:
        """
        The rest.

        :raises SourceError: if the segment was cut, or the key is another's.
        """
        try:
            return self._padding.update(self._cipher.finalize()) + self._padding.finalize()
        except ValueError:
            raise SourceError(Reason.TRUNCATED, "an encrypted segment does not end as it should") from None
