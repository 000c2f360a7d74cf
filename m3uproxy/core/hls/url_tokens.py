"""Tokens: provider URLs in a form that is opaque to players and usable only through the proxy.

A token is the URL encrypted with AES-SIV (RFC 5297) and written in base64url (RFC 4648 section 5). This single
primitive gives all required properties. Tokens cannot be forged or altered. The stream ID is authenticated with the
URL, so a token of one stream is invalid for every other stream. Viewers cannot read the provider's user name and
password, which are part of nearly every URL. The encryption is deterministic and needs no nonce. Therefore a URL has
the same token in every reload and after a restart, and caches and players recognise their segments. A token reveals its
length, and whether two URLs are equal.

Tokens do not expire. The provider decides about the URL, and the stream must be registered.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from .uri_rewriter import ResourceKind, ResourceRole

#: Derivation label: separates this use of the state key from others.
_LABEL = b"m3uproxy hls url"
#: Longest accepted token in characters.
_MAX_CHARACTERS = 16_384
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_KINDS = tuple(ResourceKind)
_ROLES = tuple(ResourceRole)
#: The first byte: a bit for a public host, four for the kind, two for the role, one if the rung follows. A token of an
#: earlier release has no role, which means the main programme.
_KIND_BITS, _ROLE_BITS, _RUNG_BIT = 0x1E, 0x60, 0x80
#: Number of rungs that a token can tell apart.
RUNGS = 255
#: Length of a source name in bytes.
_SOURCE_BYTES = 6


class BadToken(ValueError):
    """An invalid token, or a token of another stream."""


@attrs.frozen
class TokenTarget:
    """
    The content of a token.

    :ivar url: absolute URL, byte for byte as found.
    :ivar source: identifies the source whose playlist contained the URL (:func:`source_name`).
    :ivar kind: kind of the resource.
    :ivar led_by_public: True if the playlist came from a public host. Then the URL must not lead to a private address.
    :ivar role: part of the resource in the programme.
    :ivar rung: a number of 1 to :data:`RUNGS` for the variant that lists a segment (:func:`rung_of`); 0 if there is
        none.
    """

    url: str = attrs.field(repr=False)
    source: bytes = b"\0" * _SOURCE_BYTES
    kind: ResourceKind = ResourceKind.SEGMENT
    led_by_public: bool = False
    role: ResourceRole = ResourceRole.MAIN
    rung: int = 0


def rung_of(url: str) -> int:
    """Return the rung of a variant, derived from its URL. Two variants rarely have the same one."""
    return 1 + hashlib.sha256(url.encode("utf-8", "surrogateescape")).digest()[0] % RUNGS


def source_name(url: str) -> bytes:
    """Return a short name of a source, derived from its URL. The name is encrypted, so it need not be secret."""
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).digest()[:_SOURCE_BYTES]


def _base64url(ciphertext: bytes) -> str:
    return base64.urlsafe_b64encode(ciphertext).rstrip(b"=").decode("ascii")


class UrlTokens:
    """Encrypts provider URLs into tokens, and decrypts them."""

    def __init__(self, key: bytes) -> None:
        """
        Derive the encryption key.

        :param key: secret that stays the same after a restart.
        """
        self._cipher = AESSIV(hmac.digest(key, _LABEL, hashlib.sha512))

    def make(self, stream_id: str, target: TokenTarget) -> str:
        """Return a token. All its characters are allowed in a query without escaping."""
        return self.maker(stream_id, target)(target.url)

    def maker(self, stream_id: str, template: TokenTarget) -> Callable[[str], str]:
        """
        Return a function that makes tokens of URLs: a playlist may list thousands.

        :param template: what all targets have in common; its own URL does not count.
        """
        head = 2 * _KINDS.index(template.kind) | 32 * _ROLES.index(template.role) | int(template.led_by_public)
        rung = bytes([template.rung]) if template.rung else b""
        start = bytes([head | (_RUNG_BIT if rung else 0)]) + rung + template.source
        encrypt, associated_data = self._cipher.encrypt, [stream_id.encode()]

        def make(url: str) -> str:
            return _base64url(encrypt(start + url.encode("utf-8", "surrogateescape"), associated_data))

        return make

    def read(self, stream_id: str, token: str) -> TokenTarget:
        """
        Return the content of a token.

        :raises BadToken: if the token is invalid; answered with 403.
        """
        if len(token) > _MAX_CHARACTERS or len(token) % 4 == 1 or not _TOKEN.fullmatch(token):
            raise BadToken
        ciphertext = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        if _base64url(ciphertext) != token:  # unused bits of the last character must be zero
            raise BadToken
        try:
            content = self._cipher.decrypt(ciphertext, [stream_id.encode("utf-8", "surrogateescape")])
        except (InvalidTag, ValueError):
            raise BadToken from None
        try:
            return _read_content(content)
        except (IndexError, ValueError):  # token of a later release
            raise BadToken from None


def _read_content(content: bytes) -> TokenTarget:
    head, rest = content[0], content[1:]
    rung = 0
    if head & _RUNG_BIT:
        rung, rest = rest[0], rest[1:]
    return TokenTarget(
        rest[_SOURCE_BYTES:].decode("utf-8", "surrogateescape"),
        rest[:_SOURCE_BYTES],
        _KINDS[(head & _KIND_BITS) // 2],
        bool(head & 1),
        _ROLES[(head & _ROLE_BITS) // 32],
        rung,
    )
