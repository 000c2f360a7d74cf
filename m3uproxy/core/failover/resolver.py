"""The failover resolver: its question and its answer, without I/O.

A resolver belongs to the application that registered the stream. It receives the source that failed and names the
next one. The question is a ``POST`` with JSON. The answer is one of three:

- ``{"next_url": "http://…"}``: the next source;
- ``{"next_url": null}``, or an empty string: none is better now; the sources that there are are used, and the resolver
  is asked again in the next lap over them;
- anything else is a failure of the resolver; then the registered list is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

from ...errors import SourceError
from ..http.outbound_policy import literal_refusal
from ..http.redirects import first_hop
from ..http.source_headers import split_headers

#: Timeout of an answer in seconds, from the look-up of the resolver's name to the last byte.
TIMEOUT = 10.0
#: The same while an API request waits for the answer: the caller's own timeout is 10 s.
API_TIMEOUT = 7.0
#: Longest answer in bytes.
MAX_ANSWER_BYTES = 65_536
#: Longest URL in characters.
_MAX_URL_CHARACTERS = 8192


@attrs.frozen
class ResolverQuestion:
    """
    The question to a resolver.

    :ivar current_url: URL of the source that is left.
    :ivar metadata: metadata of the stream.
    :ivar index: position of the source that is left, 0 for the primary.
    :ivar status: the provider's HTTP status, if that was the failure.
    :ivar reason: the failure, for people; resolvers ignore it.
    """

    current_url: str = attrs.field(repr=False)
    metadata: Mapping[str, str] = attrs.field(repr=False)
    index: int
    status: int | None
    reason: str

    def as_json(self) -> bytes:
        """Return the body of the request. Applications depend on the keys."""
        question = {
            "current_url": self.current_url,
            "metadata": dict(self.metadata),
            "current_failover_index": self.index,
            "status_code": self.status,
            "reason": self.reason,
        }
        return json.dumps(question).encode("ascii")


@attrs.frozen
class ResolverAnswer:
    """
    The answer of a resolver: a URL, no URL, or a problem.

    :ivar url: URL of the next source; None if there is none, or a problem.
    :ivar problem: the failure of the resolver, free of secrets; None if it answered.
    """

    url: str | None = attrs.field(default=None, repr=False)
    problem: str | None = None

    def __str__(self) -> str:
        """Return the answer for people, without the URL."""
        if self.problem is not None:
            return f"the resolver failed: {self.problem}"
        return "named by the resolver" if self.url is not None else "the resolver named no source"


def read_answer(status: int, body: bytes) -> ResolverAnswer:
    """Parse the response of a resolver."""
    if not 200 <= status < 300:
        return ResolverAnswer(problem=f"HTTP {status}")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ResolverAnswer(problem="the answer is not JSON")
    if not isinstance(value, dict) or "next_url" not in value:
        return ResolverAnswer(problem="the answer has no next_url")
    url = value["next_url"]
    if url is None or url == "":
        return ResolverAnswer()
    if not isinstance(url, str) or not _is_fetchable(url):
        return ResolverAnswer(problem="next_url is not an allowed http or https URL")
    return ResolverAnswer(url)


def _is_fetchable(url: str) -> bool:
    if len(url) > _MAX_URL_CHARACTERS:
        return False
    try:
        plain, headers = split_headers(url)
        return literal_refusal(first_hop(plain, "", headers).location.host) is None
    except (SourceError, ValueError):
        return False
