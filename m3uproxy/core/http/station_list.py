"""Station lists: small files that name the URL of a stream, as web pages of radio stations link to them.

==========  ==========================  ====================================================
format      first line                  URL
==========  ==========================  ====================================================
PLS         ``[playlist]``              ``File1=URL``
M3U         ``#EXTM3U`` or a URL        the first line that is no comment
ASX         ``<asx``                    ``<ref href="URL">``, ``<entryref href="URL">``
ASF list    ``[Reference]``             ``Ref1=URL``
==========  ==========================  ====================================================

An M3U file with tags of HLS is no station list. ASX is searched with patterns, not with an XML parser: nothing is
expanded but the five references that XML predefines, and a document type is refused.
"""

from __future__ import annotations

import re

from ...errors import Reason, SourceError

#: Bytes of the largest list.
MAX_LIST_BYTES = 65_536
#: Lists that may lead to each other.
MAX_LEVELS = 3

_TYPES = frozenset(
    "audio/x-scpls application/pls+xml audio/x-mpegurl audio/mpegurl application/x-mpegurl application/mpegurl"
    " application/vnd.apple.mpegurl video/x-ms-asf video/x-ms-asx video/x-ms-wax video/x-ms-wvx audio/x-ms-wax"
    " audio/x-ms-wvx application/x-ms-asx application/xml".split()
)
_EXTENSIONS = (".pls", ".m3u", ".asx", ".wax", ".wvx")
_STREAMED_TYPES = ("audio/", "video/")

_BEGINNING = re.compile(r"\ufeff?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*", re.DOTALL)
_POSSIBLE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:\[playlist\]|\[reference\]|#EXTM3U|https?://|<asx|<\?xml|<!--|<!doctype asx)",
    re.IGNORECASE,
)
#: Bytes behind leading blanks that are enough to rule a list out.
_ENOUGH = 16
_HLS_TAG = re.compile(rb"^#EXT-X-", re.MULTILINE)
_NUMBERED = {
    "[playlist]": re.compile(r"^[ \t]*File(\d{1,6})[ \t]*=[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE),
    "[reference]": re.compile(r"^[ \t]*Ref(\d{1,6})[ \t]*=[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE),
}
_HREF = re.compile(r"""<(?:ref|entryref)\s(?:[^<>]{0,1000}?\s)?href\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)')""", re.IGNORECASE)
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def may_be_list(path: str, content_type: str) -> bool:
    """
    Return whether the body of a response may be a station list.

    :param path: path of the URL.
    :param content_type: ``Content-Type`` in lower case, without parameters; empty if there is none.
    """
    if content_type in _TYPES or content_type.startswith("text/"):
        return True
    return path.lower().endswith(_EXTENSIONS) and not content_type.startswith(_STREAMED_TYPES)


def is_other_body(start: bytes) -> bool:
    """Return whether a body that begins like this is no station list, so that the rest need not be read."""
    if _HLS_TAG.search(start):
        return True
    return len(start.lstrip()) >= _ENOUGH and _POSSIBLE.match(start) is None


def station_url(data: bytes) -> str | None:
    """
    Return the first URL that a station list names, absolute or relative; None if the data are no station list.

    :raises SourceError: ``NOT_VIDEO`` for a list without a URL, or with a document type.
    """
    if is_other_body(data):
        return None
    text = data.decode("utf-8", "replace")
    text = text[_beginning(text) :].replace("\r\n", "\n").replace("\r", "\n")
    urls = _urls(text)
    if urls is None:
        return None
    usable = [url for url in urls if _HTTP.match(url) or not _OTHER_SCHEME.match(url)]
    if not usable:
        raise SourceError(Reason.NOT_VIDEO, "the provider sent a station list without an http or https URL")
    return usable[0]


def _beginning(text: str) -> int:
    match = _BEGINNING.match(text)
    return 0 if match is None else match.end()


def _urls(text: str) -> list[str] | None:
    """Return the URLs of a list in their order; None for a text of another format."""
    first = text.partition("\n")[0].strip().lower()
    if first in _NUMBERED:
        found = sorted((int(number), url.strip()) for number, url in _NUMBERED[first].findall(text))
        return [url for _, url in found]
    if first.startswith(("<asx", "<!doctype asx")):
        return _asx_urls(text)
    if first.startswith("#extm3u") or _HTTP.match(first):
        lines = (line.strip() for line in text.split("\n"))
        return [line for line in lines if line and not line.startswith("#")]
    return None


def _asx_urls(text: str) -> list[str]:
    if re.search(r"<!(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise SourceError(Reason.NOT_VIDEO, "the provider sent an ASX list with a document type")
    return [_unescaped((double or single).strip()) for double, single in _HREF.findall(text)]


def _unescaped(url: str) -> str:
    for reference, character in _ENTITIES:
        url = url.replace(reference, character)
    return url
