"""Decryption of complete segments: AES-128 in CBC mode with PKCS #7 padding (RFC 8216 section 4.3.2.4).

SAMPLE-AES is not supported: it encrypts single media samples, not the segment.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from ...errors import Reason, SourceError

#: Bytes of a key.
KEY_SIZE = 16


class Aes128Decryptor:
    """The decryptor of one segment; works on data as it arrives."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        """
        Start a segment.

        :param key: 16 bytes, as fetched from the provider.
        :param iv: initialization vector, 16 bytes.
        :raises SourceError: ``NOT_VIDEO`` if the key does not have 16 bytes.
        """
        if len(key) != KEY_SIZE:
            raise SourceError(Reason.NOT_VIDEO, f"the provider sent a key of {len(key)} bytes, expected {KEY_SIZE}")
        self._cipher = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        self._padding = PKCS7(128).unpadder()

    def update(self, data: bytes) -> bytes:
        """Return the decrypted data so far. The last block is held back until :meth:`finalize`."""
        return self._padding.update(self._cipher.update(data))

    def finalize(self) -> bytes:
        """
        Return the rest without its padding.

        :raises SourceError: ``TRUNCATED`` if the segment is truncated or the key is wrong.
        """
        try:
            return self._padding.update(self._cipher.finalize()) + self._padding.finalize()
        except ValueError:
            raise SourceError(Reason.TRUNCATED, "an encrypted segment is truncated, or its key is wrong") from None
