"""An origin that sends any kind of stream under any name: the query tells the kind, the path only what the URL says."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from m3uproxy.provider.clip import load_clip
from m3uproxy.provider.hls.segmenter import segmenter_for
from m3uproxy.provider.timeline import Timeline

PACKET = 188
#: Seconds of the file, of a segment, and the number of segments.
FILE_SECONDS, SEGMENT_SECONDS, SEGMENTS = 4, 1, 6
#: Speed of the live stream, and the interval of its writes in seconds.
SPEED, INTERVAL = 4.0, 0.02
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"

#: A film that is no transport stream.
MP4 = b"\0\0\0\x20ftypisom" + bytes(60_000)

_TIMELINE = Timeline(load_clip())


def span(seconds: float) -> bytes:
    """Return the beginning of the programme as a transport stream."""
    return _TIMELINE.span(0, _TIMELINE.due_at(seconds))


def playlist(ended: bool) -> bytes:
    """Return a media playlist of the programme, with relative names."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}", "#EXT-X-MEDIA-SEQUENCE:0"]
    for number in range(SEGMENTS):
        lines += [f"#EXTINF:{SEGMENT_SECONDS}.0,", f"segment-{number}"]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""]).encode()


class KindsOrigin(Factory):
    """
    The origin. ``?as=`` is the name of an answer; ``slow_`` before it delays the answer by a second.

    ``live``; ``m2ts`` and ``coded`` (live, in packets of 192 and 204 bytes); ``cut`` (live, reset after a second);
    ``hls``; ``ended`` (a playlist with an end); ``file`` (a length and ranges); ``mp4`` (a file that is no transport
    stream); ``whole`` (a length without ranges); ``plain`` (the same, but ranges are answered); ``untold`` (no length);
    ``down`` (404).

    :ivar asked: the paths of all requests for something else than a segment.
    """

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.asked: list[str] = []
        self.current = self.peak = 0
        self.connections: set[Any] = set()
        self.file = span(FILE_SECONDS)

    async def listen(self) -> None:
        self.port = self.reactor.listenTCP(0, self, interface="127.0.0.1")

    def url(self, name: str, kind: str) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}/{name}?as={kind}"

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Connection(self)

    async def stop(self) -> None:
        await self.port.stopListening()
        for connection in list(self.connections):
            connection.transport.abortConnection()


class _Connection(Protocol):
    def __init__(self, origin: KindsOrigin) -> None:
        self.origin = origin
        self.request = b""
        self.timer: Any = None
        self.streams = self.is_head = False
        self.front = self.back = b""

    def connectionMade(self) -> None:
        self.origin.connections.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.origin.connections.discard(self)
        self.origin.current -= self.streams
        if self.timer is not None and self.timer.active():
            self.timer.cancel()

    def dataReceived(self, data: bytes) -> None:
        self.request += data
        if b"\r\n\r\n" not in self.request:
            return
        head, self.request = self.request.decode(), b""
        self.is_head = head.startswith("HEAD")
        target = head.split(" ")[1]
        if "/segment-" in target:
            number = int(target.rpartition("-")[2])
            self.answer(segmenter_for(_TIMELINE, SEGMENT_SECONDS).segment(number, "both"))
            return
        self.origin.asked.append(target)
        self.streams = True
        self.origin.current += 1
        self.origin.peak = max(self.origin.peak, self.origin.current)
        kind = target.partition("?as=")[2]
        delay = 1.0 if kind.startswith("slow_") else 0.0
        answer = getattr(self, "answer_" + kind.removeprefix("slow_"))
        self.timer = self.origin.reactor.callLater(delay, answer, head)

    def answer(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        self.transport.write("\r\n".join(lines).encode() + (b"" if self.is_head else body))
        self.ended()

    def ended(self) -> None:
        self.origin.current -= self.streams
        self.streams = False

    def answer_hls(self, head: str) -> None:
        self.answer(playlist(False), "200 OK", "Content-Type: text/plain")

    def answer_ended(self, head: str) -> None:
        self.answer(playlist(True), "200 OK", "Content-Type: " + PLAYLIST_TYPE)

    def answer_down(self, head: str) -> None:
        self.answer(b"gone", "404 Not Found")

    def answer_whole(self, head: str) -> None:
        self.answer(self.origin.file, "200 OK", "Content-Type: video/mp2t")

    def answer_file(self, head: str) -> None:
        found, file = re.search(r"(?i)\r\nrange: bytes=(\d+)-(\d*)", head), self.origin.file
        if found is None:
            self.answer(file, "200 OK", "Accept-Ranges: bytes")
            return
        first, last = int(found[1]), min(int(found[2] or len(file)), len(file) - 1)
        self.answer(file[first : last + 1], "206 Partial Content", f"Content-Range: bytes {first}-{last}/{len(file)}")

    def answer_mp4(self, head: str) -> None:
        self.answer(MP4, "200 OK", "Accept-Ranges: bytes")

    def answer_plain(self, head: str) -> None:
        if "ange: bytes=0-\r" in head or "ange: " not in head:
            self.answer_whole(head)
        else:
            self.answer_file(head)

    def answer_untold(self, head: str) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + self.origin.file)
        self.ended()
        self.transport.loseConnection()

    def answer_live(self, head: str) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
        self.place = 0
        self.stream(0.5)

    def answer_m2ts(self, head: str) -> None:
        self.front = b"\x01\x95\x1d\x2e"
        self.answer_live(head)

    def answer_coded(self, head: str) -> None:
        self.back = bytes(range(16))
        self.answer_live(head)

    def answer_cut(self, head: str) -> None:
        self.answer_live(head)
        self.timer.cancel()
        self.timer = self.origin.reactor.callLater(1.0, self.transport.abortConnection)

    def stream(self, seconds: float) -> None:
        """Send the next piece. After the last one the connection stays open."""
        place = _TIMELINE.due_at(seconds)
        data = _TIMELINE.span(self.place, place)
        packets = (data[at : at + PACKET] for at in range(0, len(data), PACKET))
        self.transport.write(b"".join(self.front + packet + self.back for packet in packets))
        self.place = place
        self.timer = self.origin.reactor.callLater(INTERVAL, self.stream, seconds + SPEED * INTERVAL)
