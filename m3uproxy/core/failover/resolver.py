"""What a failover resolver is asked, and what its answer amounts to; without I/O.

A resolver belongs to the application that registered the stream: it is told which source failed and names the next
one. It is asked with ``POST`` and JSON, and it may answer three things:

- ``{"next_url": "http://…"}``: this one;
- ``{"next_url": null}``, or an empty string: there is none, and the stream ends;
- anything else, which says nothing: then the list that was registered is what there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

from ...errors import SourceError
from ..http.outbound_policy import literal_refusal
from ..http.redirects import first_hop

#: Seconds for an answer, from the look-up of the resolver's name to the last byte.
TIMEOUT = 10.0
#: Bytes of an answer that are read.
MAX_ANSWER_BYTES = 65_536
#: Characters of a URL.
_MAX_URL_CHARACTERS = 8192


@attrs.frozen
class ResolverQuestion:
    """
    What a resolver is told.

    :ivar index: of the source that is left, 0 for the primary.
    :ivar status: the provider's HTTP status, if that is what it failed with.
    :ivar reason: for people; resolvers do not look at it.
    """

    current_url: str = attrs.field(repr=False)
    metadata: Mapping[str, str] = attrs.field(repr=False)
    index: int
    status: int | None
    reason: str

    def as_json(self) -> bytes:
        """The body of the request; the keys are fixed."""
        asked = {
            "current_url": self.current_url,
            "metadata": dict(self.metadata),
            "current_failover_index": self.index,
            "status_code": self.status,
            "reason": self.reason,
        }
        return json.dumps(asked).encode("ascii")


@attrs.frozen
class ResolverAnswer:
    """
    What came of asking: a URL, or none, or a problem.

    :ivar problem: why nothing is known, free of secrets.
    """

    url: str | None = attrs.field(default=None, repr=False)
    problem: str | None = None

    def __str__(self) -> str:
        """For people, without the URL."""
        if self.problem is not None:
            return f"the resolver did not help: {self.problem}"
        return "the resolver named it" if self.url is not None else "the resolver named none"


def read_answer(status: int, body: bytes) -> ResolverAnswer:
    """What a response amounts to."""
    if not 200 <= status < 300:
        return ResolverAnswer(problem=f"HTTP {status}")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ResolverAnswer(problem="its answer is no JSON")
    if not isinstance(value, dict) or "next_url" not in value:
        return ResolverAnswer(problem="its answer has no next_url")
    url = value["next_url"]
    if url is None or url == "":
        return ResolverAnswer()
    if not isinstance(url, str) or not _is_fetchable(url):
        return ResolverAnswer(problem="its next_url is none that is fetched")
    return ResolverAnswer(url)


def _is_fetchable(url: str) -> bool:
    if len(url) > _MAX_URL_CHARACTERS:
        return False
    try:
        return literal_refusal(first_hop(url, "", ()).location.host) is None
    except SourceError:
        return False
