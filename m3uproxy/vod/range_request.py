"""Range requests of a file, and the checks of their responses."""

from __future__ import annotations

import re

import attrs

from ..core.body_kind import believed_length
from ..core.http.byte_ranges import WHOLE, ByteRange, ContentRange, parse_content_range
from ..core.http.representation import Representation
from ..core.http.source_request import SourceRequest
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from .interfaces import RangeConsumer

#: Request headers set by this module. Those of the stream's own headers are removed.
_OWN_HEADERS = frozenset({"range", "if-range"})
_LENGTH = re.compile(r"0*[1-9]\d{0,17}", re.ASCII)
_RANGED = {"bytes": True, "none": False}


@attrs.frozen
class OpenedRange:
    """
    A response body with its place in the file.

    :ivar first: offset of the first byte of the body.
    :ivar stop: offset behind the last byte of the body; None if the length is unknown.
    """

    body: IResponseBody
    first: int
    stop: int | None
    representation: Representation


def as_range_request(request: SourceRequest, wanted: ByteRange, if_range: str = "") -> SourceRequest:
    """
    Return the request for a range of a file.

    The whole file is requested as a range, too: the response shows whether the provider supports ranges, and so
    whether a broken connection can be continued.

    :param if_range: validator of the file to be continued. If the provider has another file, it sends the whole one.
    """
    headers = [(name, value) for name, value in request.headers if name.lower() not in _OWN_HEADERS]
    headers.append(("Range", wanted.header))
    if if_range:
        headers.append(("If-Range", if_range))
    return attrs.evolve(request, headers=tuple(headers))


def as_head_request(request: SourceRequest) -> SourceRequest:
    """Return the HEAD request for a file."""
    headers = tuple((name, value) for name, value in request.headers if name.lower() not in _OWN_HEADERS)
    return attrs.evolve(request, headers=headers, method="HEAD")


def request_for(consumer: RangeConsumer, request: SourceRequest) -> tuple[SourceRequest, ByteRange | None]:
    """
    Return the request that serves a consumer from one source.

    The range begins with the bytes that the consumer accepted last, so that they can be compared. From a source known
    to ignore ranges the whole file is requested.

    :return: the request and its range; the range is None for HEAD.
    """
    known, same_url = consumer.representation, consumer.url == request.url
    if consumer.position is not None and known is not None and known.accepts_ranges is False and same_url:
        wanted = WHOLE
    elif consumer.position is not None:
        wanted = ByteRange(max(0, consumer.position - len(consumer.last_bytes)))
    elif consumer.requested is not None:
        wanted = consumer.requested
    else:
        return as_head_request(request), None
    is_started = consumer.started and same_url
    return as_range_request(request, wanted, known.validator if is_started and known is not None else ""), wanted


def check_continuation(opened: OpenedRange, consumer: RangeConsumer, url: str) -> None:
    """
    Check by the headers that a body continues the file that the consumer has started to send.

    :param url: URL of the source of the body.
    :raises SourceError: if it is another file, or ends before the consumer's position.
    """
    known = consumer.representation
    if known is not None and opened.representation.contradicts(known, url == consumer.url):
        raise SourceError(Reason.OTHER_FILE, "length, ETag or Last-Modified changed")
    if consumer.position is not None and opened.stop is not None and opened.stop <= consumer.position:
        raise SourceError(Reason.BAD_HEAD, "the range ends before the required offset")


def representation_from_head(body: IResponseBody) -> Representation:
    """
    Return the representation that the response to a HEAD request describes.

    :raises SourceError: if there is no usable length, which is the purpose of the request. Scripts that compute their
        responses send none for HEAD, or 0. The length of compressed data is not that of the file.
    """
    length = body.header("Content-Length")
    if not _LENGTH.fullmatch(length) or body.encoded:
        raise SourceError(Reason.BAD_HEAD, "HEAD response without a usable Content-Length")
    return _representation(body, int(length), _RANGED.get(body.header("Accept-Ranges").lower()))


def opened_range(body: IResponseBody, wanted: ByteRange, is_plain: bool = False) -> OpenedRange:
    """
    Return the place in the file of the response to :func:`as_range_request`.

    :param is_plain: the whole file was requested without a range. If the response does not mention ranges, they are
        unknown.
    :raises SourceError: if the response is not the requested range, or empty.
    """
    if body.status == 206 and not _is_whole_file(body, wanted):
        return _partial(body, wanted)
    if body.length == 0:
        raise SourceError(Reason.ENDED, "the file is empty")
    # Servers that support ranges may answer a request for the whole file with 200.
    length, stated = believed_length(body.length), body.header("Accept-Ranges").lower()
    accepts_ranges: bool | None = wanted == WHOLE and body.status == 200 and stated == "bytes" and length is not None
    if is_plain and stated not in _RANGED and length is not None:
        accepts_ranges = None
    return OpenedRange(body, 0, length, _representation(body, length, accepts_ranges))


def _is_whole_file(body: IResponseBody, wanted: ByteRange) -> bool:
    """
    Return whether a 206 has the whole file as its body, as from a server with wrong ranges.

    Three cases: the server sends the whole file for any range; the whole file was requested and Content-Range is
    missing; the ranges are of compressed data.
    """
    content_range = parse_content_range(body.header("Content-Range"))
    if content_range is None:
        is_missing = not body.header("Content-Range") and not body.content_type.startswith("multipart/")
        return is_missing and wanted == WHOLE
    return content_range.is_whole and (bool(wanted.first) or body.encoded)


def _partial(body: IResponseBody, wanted: ByteRange) -> OpenedRange:
    content_range = parse_content_range(body.header("Content-Range"))
    if content_range is None:
        raise SourceError(Reason.BAD_HEAD, "206 without a usable Content-Range")
    if body.encoded:
        raise SourceError(Reason.BAD_HEAD, "206 with a range of compressed data")
    span, length = content_range.span, _file_length(content_range, wanted)
    if wanted.first is not None and span.first != wanted.first:
        raise SourceError(Reason.BAD_HEAD, f"206 begins at byte {span.first}, requested was byte {wanted.first}")
    if body.length not in (None, len(span)):
        raise SourceError(Reason.BAD_HEAD, "Content-Length and Content-Range differ")
    return OpenedRange(body, span.first, span.stop, _representation(body, length, accepts_ranges=True))


def _file_length(content_range: ContentRange, wanted: ByteRange) -> int | None:
    """Return the file's length. If Content-Range omits it and the range was open-ended, use the end of the range."""
    if content_range.length is None and wanted.last is None:
        return content_range.span.stop
    return content_range.length


def _representation(body: IResponseBody, length: int | None, accepts_ranges: bool | None) -> Representation:
    return Representation(length, body.header("ETag"), body.header("Last-Modified"), accepts_ranges)
