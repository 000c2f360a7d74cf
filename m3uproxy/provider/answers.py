"""Answers to requests for a channel: the stream, or a fault instead of the stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape

import attrs

from m3uproxy.provider.faults import Faults
from m3uproxy.provider.framing import framing_headers
from m3uproxy.provider.heads import REASONS, render_head
from m3uproxy.provider.radio import CONTENT_TYPES
from m3uproxy.provider.redirects import has_expired, location, redirects_done
from m3uproxy.provider.requests import Request
from m3uproxy.provider.station import Media, Station

Headers = list[tuple[str, str]]
SERVER = ("Server", "panel/1.0")
#: Seconds between the head and the body of a redirect, so that both arrive in separate segments.
REDIRECT_GAP = 0.01


@attrs.frozen
class Answer:
    """A response.

    :ivar head: bytes of the head, faults included.
    :ivar body: bytes of the body; empty if the body is the stream.
    :ivar streams: the body is the stream.
    :ivar gap: seconds between head and body.
    :ivar closes: the connection ends with this answer.
    """

    head: bytes = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    streams: bool = False
    gap: float = 0.0
    closes: bool = False


@attrs.frozen
class AnswerContext:
    """Values that determine the answer to a request for a channel."""

    station: Station
    request: Request
    media: Media
    faults: Faults


def short_answer(
    status: int,
    content_type: str,
    body: bytes,
    extra: Headers | None = None,
    oddities: tuple[str, ...] = (),
    gap: float = 0.0,
) -> Answer:
    """Return a complete answer with a Content-Length. The connection can be used again after it."""
    headers = [SERVER, ("Content-Type", content_type), ("Content-Length", str(len(body))), *(extra or [])]
    return Answer(render_head(status, headers, oddities), body, gap=gap)


def page(
    status: int, oddities: tuple[str, ...] = (), content_type: str = "text/html", detail: str | None = None
) -> Answer:
    """Return a short web page.

    :param detail: text of the page; default: status and reason.
    """
    text = escape(detail or f"{status} {REASONS.get(status, '')}".rstrip())
    html = f"<html><head><title>{status}</title></head><body>{text}</body></html>\n"
    return short_answer(status, content_type, html.encode("utf-8"), oddities=oddities)


def _expired(context: AnswerContext) -> Answer | None:
    if not has_expired(context.station, context.request, context.faults):
        return None
    return page(context.faults.expire_answer, context.faults.head, detail="token expired")


def _redirected(context: AnswerContext) -> Answer | None:
    target = location(context.station, context.request, context.faults)
    if context.faults.redirect is None or (target is None and redirects_done(context.request, context.faults)):
        return None
    extra = [] if target is None else [("Location", target)]
    body = b"<html><body>moved</body></html>\n"
    faults = context.faults
    return short_answer(faults.redirect_status, "text/html", body, extra, faults.head, REDIRECT_GAP)


def _with_status(context: AnswerContext) -> Answer | None:
    status = context.faults.status
    return None if status is None else page(status, context.faults.head)


def _web_page(context: AnswerContext) -> Answer | None:
    if context.faults.html is None:
        return None
    content_type = "video/mp2t" if context.faults.html == "video" else "text/html; charset=utf-8"
    return page(200, context.faults.head, content_type)


def _json_error(context: AnswerContext) -> Answer | None:
    if not context.faults.json:
        return None
    body = json.dumps({"user_info": {"auth": 0, "status": "Expired"}}).encode("ascii")
    return short_answer(200, "application/json", body, oddities=context.faults.head)


def _over_limit(context: AnswerContext) -> Answer | None:
    station, media, faults = context.station, context.media, context.faults
    now = station.uptime()
    limits = [(faults.limit, station.channel(media.channel).tally)]
    if media.account is not None:
        limits.append((faults.account_limit, station.account(media.account)))
    if all(most is None or tally.occupied(now, faults.limit_hold) < most for most, tally in limits):
        return None
    if isinstance(faults.limit_answer, int):
        return page(faults.limit_answer, faults.head)
    return page(200, faults.head)


#: Faults that replace the stream. The first one that applies is used.
REPLACEMENTS: tuple[Callable[[AnswerContext], Answer | None], ...] = (
    _expired,
    _redirected,
    _with_status,
    _web_page,
    _json_error,
    _over_limit,
)


def _stream(faults: Faults, ending: str) -> Answer:
    content_type = CONTENT_TYPES[ending] if faults.ctype is None else faults.ctype
    headers = [SERVER, *([("Content-Type", content_type)] if content_type else []), ("Connection", "close")]
    head = render_head(200, [*headers, *framing_headers(faults)], faults.head)
    return Answer(head, streams=True, closes=True)


def media_answer(context: AnswerContext, ending: str) -> Answer:
    """Return the answer to a request for a channel.

    :param ending: format of the stream, a key of :data:`m3uproxy.provider.radio.CONTENT_TYPES`.
    """
    return fault_answer(context) or _stream(context.faults, ending)


def fault_answer(context: AnswerContext) -> Answer | None:
    """Return the answer that replaces the requested resource, or None if no fault applies."""
    return next((answer for instead in REPLACEMENTS if (answer := instead(context)) is not None), None)
