"""A scripted provider that demands digest authentication, computed here from RFC 7616 section 3.4.1."""

from __future__ import annotations

import hashlib
import re

from scripted_provider import head


class DigestAnswers(dict):
    """The scripts of a provider for authorised requests; all others are answered with a challenge."""

    def __init__(self, provider, steps, algorithm="MD5", qop="auth", user="tv", password="pw"):
        super().__init__({"*": steps})
        self.provider, self.algorithm, self.qop = provider, algorithm, qop
        self.user, self.password = user, password
        self.nonce = "n/1="
        self.counts = []

    def get(self, target, default=None):
        request = self.provider.requests[-1].decode()
        fields = dict(re.findall(r'(\w+)="?((?<=")[^"]*|[^", ]*)', request.partition("\r\nAuthorization: Digest ")[2]))
        if fields and fields["response"] == self._expected(request, target, fields):
            if fields["nonce"] == self.nonce:
                self.counts.append(fields.get("nc"))
                return super().get(target, default)
            return [self._challenge(", stale=true")]
        return [self._challenge("")]

    def _challenge(self, more):
        algorithm = f", algorithm={self.algorithm}" if self.algorithm else ""
        qop = f', qop="{self.qop}"' if self.qop else ""
        value = f'Digest realm="a, b", nonce="{self.nonce}", opaque="o"{qop}{algorithm}{more}'
        return head("401 Unauthorized", f"WWW-Authenticate: {value}", "Content-Length: 0")

    def _expected(self, request, target, fields):
        algorithm = (self.algorithm or "MD5").removesuffix("-sess").replace("-", "").lower()

        def digest(*parts):
            return hashlib.new(algorithm, ":".join(parts).encode()).hexdigest()

        secret = digest(self.user, "a, b", self.password)
        if self.algorithm.endswith("-sess"):
            secret = digest(secret, fields["nonce"], fields["cnonce"])
        numbered = (fields["nc"], fields["cnonce"], "auth") if self.qop else ()
        return digest(secret, fields["nonce"], *numbered, digest(request.split(" ")[0], target))


def demand_digest(provider, *steps, **how):
    """Have a provider play a script only for requests with digest authentication."""
    provider.answers = DigestAnswers(provider, steps, **how)
    return provider.answers


def with_user(url, userinfo="tv:pw"):
    """Return a URL with user and password."""
    return url.replace("://", f"://{userinfo}@")
