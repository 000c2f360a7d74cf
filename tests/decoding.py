"""What a real demuxer and real decoders make of a stream."""

import io

import attrs
import av
import av.logging


@attrs.frozen
class Decoded:
    """Presentation times of what came out (90 kHz), and what the libraries complained of."""

    pictures: list
    sounds: list
    complaints: list


class Pipe:
    """Something to read from that cannot be wound back, and tells nobody how long it is: a connection, to a demuxer."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


def decode(data, format="mpegts"):
    """Decode everything; an error in a decoder is raised.

    libav tells a broken continuity counter only as a debug message, so its log is read too.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.DEBUG)
    try:
        with av.logging.Capture(local=False) as messages:
            times = _times(data, format)
    finally:
        av.logging.set_level(before)
    complaints = [text for level, _, text in messages if level <= av.logging.WARNING or "Continuity" in text]
    return Decoded(times["video"], times["audio"], complaints)


def _times(data, format):
    times = {"video": [], "audio": []}
    with av.open(Pipe(data), format=format) as container:
        for stream in container.streams:
            if stream.type in times:
                stream.codec_context.options = {"err_detect": "explode"}
                stream.codec_context.thread_count = 1
        for packet in container.demux():
            if packet.stream.type in times:
                times[packet.stream.type] += [frame.pts for frame in packet.decode()]
    return times
