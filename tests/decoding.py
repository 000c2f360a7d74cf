"""What a real demuxer and real decoders make of a stream."""

import hashlib
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


@attrs.frozen
class Shown:
    """What a viewer saw and heard until he left: (time, digest of the samples) of each picture and each frame of sound.

    Times are 90 kHz; pictures are in the order in which they are shown.
    """

    pictures: list
    sounds: list
    complaints: list


def watch(data, skip=0):
    """Decode all but the last unit of each stream, which may be torn; an error in a decoder is raised.

    :param skip: frames of sound at the beginning that depend on what was before them.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.DEBUG)
    try:
        with av.logging.Capture(local=False) as messages:
            shown = _shown(data)
    finally:
        av.logging.set_level(before)
    complaints = [text for level, _, text in messages if level <= av.logging.WARNING or "Continuity" in text]
    return Shown(shown["video"], shown["audio"][skip:], complaints)


def _shown(data):
    shown = {"video": [], "audio": []}
    with av.open(io.BytesIO(data), format="mpegts") as container:
        waiting = {}
        for stream in container.streams:
            stream.codec_context.options = {"err_detect": "explode"}
            stream.codec_context.thread_count = 1
        for packet in container.demux():
            if packet.stream.type not in shown or packet.dts is None:
                continue
            earlier, waiting[packet.stream.index] = waiting.get(packet.stream.index), packet
            for frame in earlier.decode() if earlier is not None else ():
                planes = b"".join(bytes(plane) for plane in frame.planes)
                shown[packet.stream.type].append((frame.pts, hashlib.md5(planes).hexdigest()))
    return shown
