"""Decoding of a stream with a real demuxer and real decoders."""

import hashlib
import io

import attrs
import av
import av.logging


@attrs.frozen
class Decoded:
    """Presentation times of the decoded frames (90 kHz), and the messages of the libraries."""

    pictures: list
    sounds: list
    complaints: list


class UnseekableInput:
    """An input without seeking and without a known length, like a connection to a demuxer."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


def decode(data, format="mpegts"):
    """Decode everything. A decoder error is raised.

    libav reports a broken continuity counter only as a debug message, so its log is read too.
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
    with av.open(UnseekableInput(data), format=format) as container:
        for stream in container.streams:
            if stream.type in times:
                stream.codec_context.options = {"err_detect": "explode"}
                stream.codec_context.thread_count = 1
        for packet in container.demux():
            if packet.stream.type in times:
                times[packet.stream.type] += [frame.pts for frame in packet.decode()]
    return {kind: _from_first_known_time(found) for kind, found in times.items()}


def _from_first_known_time(times):
    """Leave out the first frames without a time: libavformat does not know the duration of a frame yet."""
    known = next((place for place in range(len(times), 0, -1) if times[place - 1] is None), 0)
    return times[known:]


@attrs.frozen
class DecodedSamples:
    """The decoded frames: (time, digest of the samples) of each picture and each audio frame.

    Times are 90 kHz; pictures are in presentation order. ``first`` has the first three units of each stream as they
    went into its decoder.
    """

    pictures: list
    sounds: list
    complaints: list
    first: dict


def decode_samples(data, first=None):
    """Decode all but the last unit of each stream, which may be torn. A decoder error is raised.

    :param first: begin each stream at these units.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.DEBUG)
    try:
        with av.logging.Capture(local=False) as messages:
            shown, first_units = _decode_samples(data, first)
    finally:
        av.logging.set_level(before)
    complaints = [text for level, _, text in messages if level <= av.logging.WARNING or "Continuity" in text]
    return DecodedSamples(shown["video"], shown["audio"], complaints, first_units)


def _decode_samples(data, first):
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
            begin = 0 if first is None else _find_units([bytes(unit) for unit in units], first[kind])
            frames = [frame for unit in units[begin:-1] for frame in unit.decode()]
            shown[kind] = [(frame.pts, _digest(frame)) for frame in frames]
    return shown, {kind: [bytes(unit) for unit in units[:3]] for kind, units in packets.items()}


def _find_units(units, wanted):
    """Return the position at which these units follow each other; a single unit may occur twice."""
    return next(n for n in range(len(units)) if units[n : n + len(wanted)] == wanted)


def _digest(frame):
    """Return a digest of the samples, without the padding between the rows of a picture."""
    found = hashlib.md5()
    for plane in frame.planes:
        data = bytes(plane)
        if isinstance(frame, av.VideoFrame):
            rows = range(0, plane.height * plane.line_size, plane.line_size)
            data = b"".join([data[at : at + plane.width] for at in rows])
        found.update(data)
    return found.hexdigest()
