"""The URLs of a provider as players see them: opaque, and of use with us only.

A token is the URL under AES-SIV (RFC 5297), written in base64 (RFC 4648 section 5). That one primitive is all that is
asked for. Nobody makes a token or alters one; one that was made for a stream opens no other, as the stream's id is
authenticated along with it; a provider's user and password, which are part of nearly every URL, cannot be read by
viewers. It is deterministic and takes no nonce, so that a URL has the same token in every refresh and after a restart,
and caches and players recognise their segments. What it reveals is the length, and whether two URLs are equal.

It does not expire: what it opens is the provider's to decide, and the stream must be registered.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import lru_cache

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from .uri_rewriter import ResourceKind

#: Keeps this use of the state key apart from all others.
_LABEL = b"m3uproxy hls url"
#: Characters of the longest token that is looked at.
_MAX_CHARACTERS = 16_384
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
#: Tokens that are remembered: the segments of some playlists, which come again with each refresh.
_CACHED_TOKENS = 8192
_KINDS = tuple(ResourceKind)
#: Bytes that name a source.
_SOURCE_BYTES = 6


class BadToken(ValueError):
    """A token is not one of ours, or not one of this stream."""


@attrs.frozen
class TokenTarget:
    """
    What a token stands for.

    :ivar url: absolute, to the byte as it was found.
    :ivar source: names the source of the stream whose playlist it was found in (:func:`source_name`).
    :ivar kind: what it leads to.
    :ivar led_by_public: whether that playlist came from a public host: then it must not lead inside.
    """

    url: str = attrs.field(repr=False)
    source: bytes = b"\0" * _SOURCE_BYTES
    kind: ResourceKind = ResourceKind.SEGMENT
    led_by_public: bool = False


def source_name(url: str) -> bytes:
    """A short name for a source by its URL; it need not be secret, since it is encrypted."""
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).digest()[:_SOURCE_BYTES]


def _base64url(ciphertext: bytes) -> str:
    return base64.urlsafe_b64encode(ciphertext).rstrip(b"=").decode("ascii")


class UrlTokens:
    """Makes tokens, and reads them."""

    def __init__(self, key: bytes) -> None:
        """
        Derive the key.

        :param key: a secret that outlives a restart.
        """
        self._cipher = AESSIV(hmac.digest(key, _LABEL, hashlib.sha512))
        self.make = lru_cache(maxsize=_CACHED_TOKENS)(self._make)

    def _make(self, stream_id: str, target: TokenTarget) -> str:
        """A token, in the characters that a query takes as they are."""
        head = bytes([2 * _KINDS.index(target.kind) + target.led_by_public])
        content = head + target.source + target.url.encode("utf-8", "surrogateescape")
        return _base64url(self._cipher.encrypt(content, [stream_id.encode()]))

    def read(self, stream_id: str, token: str) -> TokenTarget:
        """
        What a token stands for.

        :raises BadToken: 403 to the one who sent it.
        """
        if len(token) > _MAX_CHARACTERS or len(token) % 4 == 1 or not _TOKEN.fullmatch(token):
            raise BadToken
        ciphertext = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        if _base64url(ciphertext) != token:  # of its last letter some bits say nothing
            raise BadToken
        try:
            content = self._cipher.decrypt(ciphertext, [stream_id.encode("utf-8", "surrogateescape")])
        except (InvalidTag, ValueError):
            raise BadToken from None
        source, url = content[1 : 1 + _SOURCE_BYTES], content[1 + _SOURCE_BYTES :]
        kind, public = divmod(content[0], 2)
        if kind >= len(_KINDS):  # of a release to come
            raise BadToken
        return TokenTarget(url.decode("utf-8", "surrogateescape"), source, _KINDS[kind], bool(public))
