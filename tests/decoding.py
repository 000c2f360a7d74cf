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
    return {kind: _from_known(found) for kind, found in times.items()}


def _from_known(times):
    """Frames of a first unit have no time while libavformat does not know how long a frame is."""
    known = next((place for place in range(len(times), 0, -1) if times[place - 1] is None), 0)
    return times[known:]


@attrs.frozen
class Shown:
    """What a viewer saw and heard until he left: (time, digest of the samples) of each picture and each frame of sound.

    Times are 90 kHz; pictures are in the order in which they are shown. ``first`` has each stream's first three units
    as they went into its decoder.
    """

    pictures: list
    sounds: list
    complaints: list
    first: dict


def watch(data, first=None):
    """Decode all but the last unit of each stream, which may be torn; an error in a decoder is raised.

    :param first: begin each stream where these units are.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.DEBUG)
    try:
        with av.logging.Capture(local=False) as messages:
            shown, begun = _shown(data, first)
    finally:
        av.logging.set_level(before)
    complaints = [text for level, _, text in messages if level <= av.logging.WARNING or "Continuity" in text]
    return Shown(shown["video"], shown["audio"], complaints, begun)


def _shown(data, first):
    packets = {"video": [], "audio": []}
    shown = {}
    with av.open(io.BytesIO(data), format="mpegts") as container:
        for stream in container.streams:
            stream.codec_context.options = {"err_detect": "explode"}
            stream.codec_context.thread_count = 1
        for packet in container.demux():
            if packet.stream.type in packets and packet.dts is not None:
                packets[packet.stream.type].append(packet)
        for kind, units in packets.items():
            begin = 0 if first is None else _place([bytes(unit) for unit in units], first[kind])
            frames = [frame for unit in units[begin:-1] for frame in unit.decode()]
            shown[kind] = [(frame.pts, _digest(frame)) for frame in frames]
    return shown, {kind: [bytes(unit) for unit in units[:3]] for kind, units in packets.items()}


def _place(units, wanted):
    """Where some units follow each other; one alone may be there twice."""
    return next(n for n in range(len(units)) if units[n : n + len(wanted)] == wanted)


def _digest(frame):
    """Of the samples, without what lies between the rows of a picture."""
    found = hashlib.md5()
    for plane in frame.planes:
        data = bytes(plane)
        if isinstance(frame, av.VideoFrame):
            rows = range(0, plane.height * plane.line_size, plane.line_size)
            data = b"".join([data[at : at + plane.width] for at in rows])
        found.update(data)
    return found.hexdigest()
