"""The mapping of the tracks of a new source to the tracks that were sent.

Players keep the PIDs that they began with; players based on libavformat stop for good when these vanish. The new source
therefore gets the old PIDs: by media type and codec, first to first, second to second, preferably of the same language.
"""

from __future__ import annotations

import attrs

from ..mpegts.psi import Codec, ElementaryStream, ProgramMap, descriptors

_TYPE_NAMES = {
    **dict.fromkeys((0x01, 0x02), "MPEG video"),
    **dict.fromkeys((0x03, 0x04), "MPEG audio"),
    0x0F: "AAC",
    0x11: "AAC LATM",
    0x1B: "H.264",
    0x24: "HEVC",
    0x81: "AC-3",
    0x87: "E-AC-3",
}
_DESCRIPTOR_NAMES = {0x6A: "AC-3", 0x7A: "E-AC-3", 0x7B: "DTS", 0x56: "teletext", 0x59: "subtitles"}
_REGISTERED_NAMES = {b"AC-3": "AC-3", b"EAC3": "E-AC-3"}
_REGISTRATION, _EXTENSION, _LANGUAGE = 0x05, 0x7F, 0x0A


def codec_name(stream: ElementaryStream) -> str:
    """Return the codec of a track. Two tracks with equal names can be played by one decoder, one after the other."""
    known = _TYPE_NAMES.get(stream.stream_type)
    if known is not None:
        return known
    for tag, content in descriptors(stream.descriptors):
        if tag in _DESCRIPTOR_NAMES:
            return _DESCRIPTOR_NAMES[tag]
        if tag == _EXTENSION:
            return f"extension {content[:1].hex()}"
        if tag == _REGISTRATION:
            return _REGISTERED_NAMES.get(content[:4], f"registered {content[:4].hex()}")
    return f"type {stream.stream_type:#04x}"


@attrs.frozen
class TrackPair:
    """A track of the new source and the sent track that it continues."""

    new: ElementaryStream
    sent: ElementaryStream


@attrs.frozen
class TrackMapping:
    """The tracks that continue. All other tracks of the new source are dropped.

    :ivar main_video: main video track that was sent; None without one.
    :ivar changed: changes of codec that prevent a track from continuing, in words; empty if there are none.
    """

    pairs: tuple[TrackPair, ...]
    changed: tuple[str, ...]
    main_video: ElementaryStream | None = None

    @property
    def pids(self) -> dict[int, int]:
        """PID of the new source -> PID that was sent."""
        return {pair.new.pid: pair.sent.pid for pair in self.pairs}

    @property
    def streams(self) -> tuple[ElementaryStream, ...]:
        """The streams of the new source, on the PIDs that were sent."""
        return tuple(attrs.evolve(pair.new, pid=pair.sent.pid) for pair in self.pairs)

    @property
    def video(self) -> TrackPair | None:
        """The main video track, else the first one; None without one."""
        pairs = [pair for pair in self.pairs if pair.sent.codec.is_video]
        return next((pair for pair in pairs if pair.sent is self.main_video), pairs[0] if pairs else None)

    @property
    def audio(self) -> tuple[TrackPair, ...]:
        """All audio tracks."""
        return tuple(pair for pair in self.pairs if pair.sent.codec is Codec.AUDIO)


def map_tracks(sent: ProgramMap, new: ProgramMap) -> TrackMapping:
    """Find a counterpart for each track that was sent.

    A change is reported for a first video or audio track if the new source has only other codecs for it. A change is
    also reported if the track is missing while the source has the other of the two. Further tracks may be missing. In
    case of a change the first tracks are paired nevertheless, for a caller that announces new codecs.
    """
    sent_streams, new_streams = _main_first(sent), _main_first(new)
    pairs = _pair_alike(sent_streams, new_streams)
    paired = {id(pair.new) for pair in pairs}
    free = [stream for stream in new_streams if id(stream) not in paired]
    changed: list[str] = []
    for is_video in (True, False):
        first = _first_stream(sent_streams, is_video)
        if first is None or any(pair.sent is first for pair in pairs):
            if first is None and is_video and _first_stream(free, True) is not None:
                changed.append(f"no video to {codec_name(_first_stream(free, True) or free[0])}")
            continue
        other = _first_stream(free, is_video)
        if other is not None:
            free.remove(other)
            pairs.append(TrackPair(other, first))
            changed.append(f"{codec_name(first)} to {codec_name(other)}")
        elif is_video or not pairs:
            changed.append(f"{codec_name(first)} to nothing")
    order = {stream.pid: number for number, stream in reversed(tuple(enumerate(sent.streams)))}
    pairs.sort(key=lambda pair: order[pair.sent.pid])
    return TrackMapping(tuple(pairs), tuple(changed), sent.main_video)


def _main_first(program: ProgramMap) -> tuple[ElementaryStream, ...]:
    """Return the streams with the main video before all others."""
    main = program.main_video
    return tuple(sorted(program.streams, key=lambda stream: stream is not main))


def _first_stream(
    streams: tuple[ElementaryStream, ...] | list[ElementaryStream], is_video: bool
) -> ElementaryStream | None:
    for stream in streams:
        if stream.codec.is_video if is_video else stream.codec is Codec.AUDIO:
            return stream
    return None


def _pair_alike(sent: tuple[ElementaryStream, ...], new: tuple[ElementaryStream, ...]) -> list[TrackPair]:
    """Pair streams of one codec, in the order of ``sent``: preferably of the same language, else the first free one."""
    free: dict[tuple[str, Codec], list[tuple[bytes, ElementaryStream]]] = {}
    for stream in new:
        free.setdefault((codec_name(stream), stream.codec), []).append((_language(stream), stream))
    pairs: list[TrackPair] = []
    for stream in sent:
        alike = free.get((codec_name(stream), stream.codec))
        if alike:
            language = _language(stream)
            number = next((n for n, (each, _) in enumerate(alike) if each == language), 0)
            pairs.append(TrackPair(alike.pop(number)[1], stream))
    return pairs


def _language(stream: ElementaryStream) -> bytes:
    return next((content[:3] for tag, content in descriptors(stream.descriptors) if tag == _LANGUAGE), b"")
