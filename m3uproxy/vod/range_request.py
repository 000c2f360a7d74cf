"""Asking a provider for a part of a file, and what its answer amounts to."""

from __future__ import annotations

import re

import attrs

from ..core.http.byte_ranges import WHOLE, ByteRange, ContentRange, parse_content_range
from ..core.http.representation import Representation
from ..core.http.source_request import SourceRequest
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from .interfaces import RangeConsumer

#: Ours, whatever the stream's own headers say.
_OURS = frozenset({"range", "if-range"})
_LENGTH = re.compile(r"0*[1-9]\d{0,17}", re.ASCII)
_RANGED = {"bytes": True, "none": False}


@attrs.frozen
class OpenedRange:
    """
    A file that is being sent.

    :ivar first: offset of the first byte that comes.
    :ivar stop: offset behind the last byte that comes; None if that is not announced.
    """

    body: IResponseBody
    first: int
    stop: int | None
    edition: Representation


def part_of(request: SourceRequest, wanted: ByteRange, if_range: str = "") -> SourceRequest:
    """
    The request for a part of a file.

    Also the whole is asked for as a range: whether the provider can do that tells whether a broken connection can be
    continued.

    :param if_range: the validator of the file that is to be continued; of another one the whole is sent, which tells.
    """
    headers = [(name, value) for name, value in request.headers if name.lower() not in _OURS]
    headers.append(("Range", wanted.header))
    if if_range:
        headers.append(("If-Range", if_range))
    return attrs.evolve(request, headers=tuple(headers))


def about(request: SourceRequest) -> SourceRequest:
    """The request for what a provider says of the whole file."""
    headers = tuple((name, value) for name, value in request.headers if name.lower() not in _OURS)
    return attrs.evolve(request, headers=headers, method="HEAD")


def request_for(asker: RangeConsumer, request: SourceRequest) -> tuple[SourceRequest, ByteRange | None]:
    """
    What to ask a source for, from where on: what the asker was given last is to come again. One that is known to send
    no parts is not tempted to.

    :return: also the part that is asked for; None for a HEAD.
    """
    known = asker.edition
    if asker.position is not None and known is not None and known.accepts_ranges is False and asker.url == request.url:
        wanted = WHOLE
    elif asker.position is not None:
        wanted = ByteRange(max(0, asker.position - len(asker.proof)))
    elif asker.wanted is not None:
        wanted = asker.wanted
    else:
        return about(request), None
    same = asker.begun and asker.url == request.url
    return part_of(request, wanted, known.validator if same and known is not None else ""), wanted


def check_same(came: OpenedRange, asker: RangeConsumer, url: str) -> None:
    """
    Whether what comes goes on with what was sent, as far as can be told before it is read.

    :param url: the source's that it comes from.
    :raises SourceError: if it does not.
    """
    if asker.edition is not None and came.edition.contradicts(asker.edition, url == asker.url):
        raise SourceError(Reason.OTHER_FILE, "its length or its validator is another")
    if asker.position is not None and came.stop is not None and came.stop <= asker.position:
        raise SourceError(Reason.BAD_HEAD, "a part that ends before what is needed")


def described(body: IResponseBody) -> Representation:
    """What the answer to a HEAD says.

    :raises SourceError: if it says nothing of the length, which was what was asked for: scripts that compute their
        answers have none for HEAD, or 0, and a length of what is compressed is not that of the file.
    """
    length = body.header("Content-Length")
    if not _LENGTH.fullmatch(length) or body.encoded:
        raise SourceError(Reason.BAD_HEAD, "no length in the answer to HEAD")
    return _edition(body, int(length), _RANGED.get(body.header("Accept-Ranges").lower()))


def opened(body: IResponseBody, wanted: ByteRange) -> OpenedRange:
    """
    What the answer to :func:`part_of` is.

    :raises SourceError: if it is not what was asked for, or nothing.
    """
    if body.status == 206 and not _is_whole(body, wanted):
        return _part(body, wanted)
    if body.length == 0:
        raise SourceError(Reason.ENDED, "the file is empty")
    # The whole may be answered as such by who can send parts.
    ranged = wanted == WHOLE and body.status == 200 and body.header("Accept-Ranges").lower() == "bytes"
    return OpenedRange(body, 0, body.length, _edition(body, body.length, ranged and body.length is not None))


def _is_whole(body: IResponseBody, wanted: ByteRange) -> bool:
    """
    Whether a 206 is as good as a 200, from a server that gets ranges wrong.

    It sends all, whatever part was asked for; or all was asked for, and it does not say which part it sends; or the
    ranges are of what is compressed.
    """
    told = parse_content_range(body.header("Content-Range"))
    if told is None or told.span is None:
        silent = not body.header("Content-Range") and not body.content_type.startswith("multipart/")
        return silent and wanted == WHOLE
    whole = told.span.first == 0 and told.span.stop == told.length
    return whole and (bool(wanted.first) or body.encoded)


def _part(body: IResponseBody, wanted: ByteRange) -> OpenedRange:
    told = parse_content_range(body.header("Content-Range"))
    if told is None or told.span is None:
        raise SourceError(Reason.BAD_HEAD, "a part, and no word on which")
    if body.encoded:
        raise SourceError(Reason.BAD_HEAD, "a part of what is compressed")
    span, length = told.span, _whole(told, wanted)
    if wanted.first is not None and span.first != wanted.first:
        raise SourceError(Reason.BAD_HEAD, f"another part than asked for: {span.first} instead of {wanted.first}")
    if body.length not in (None, len(span)):
        raise SourceError(Reason.BAD_HEAD, "a part that is not as long as it is said to be")
    return OpenedRange(body, span.first, span.stop, _edition(body, length, ranged=True))


def _whole(told: ContentRange, wanted: ByteRange) -> int | None:
    """The file's length; who does not tell it has sent up to the end if that was asked for."""
    if told.length is None and told.span is not None and wanted.last is None:
        return told.span.stop
    return told.length


def _edition(body: IResponseBody, length: int | None, ranged: bool | None) -> Representation:
    return Representation(length, body.header("ETag"), body.header("Last-Modified"), ranged)
