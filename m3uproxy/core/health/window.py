"""Counts over some seconds of one body."""

from __future__ import annotations

import attrs

from ..mpegts.sampler import PacketSample


@attrs.define
class SampleWindow:
    """Counts since ``began``; ``media`` is how far the stream's clock went, over ``media_bytes``."""

    began: float
    bytes: int = 0
    packets: int = 0
    video: int = 0
    errors: int = 0
    breaks: int = 0
    media: float = 0.0
    media_bytes: int = 0
    longest_pause: float = 0.0

    def add(self, sample: PacketSample) -> None:
        """Count what was sampled."""
        self.packets += sample.packets
        self.video += sample.video
        self.errors += sample.errors
        self.breaks += sample.breaks

    def rate(self, now: float) -> float | None:
        """Bytes that arrived, per second."""
        return self.bytes / (now - self.began) if now > self.began else None

    def media_rate(self) -> float | None:
        """Bytes per second of the stream's clock."""
        return self.media_bytes / self.media if self.media else None

    def pace(self, now: float) -> float | None:
        """Seconds of the stream's clock that arrived, per second; 1 if it keeps up."""
        return self.media / (now - self.began) if self.media and now > self.began else None


def exceeds(count: int, of: int, limit: float) -> bool:
    """Whether a part reaches its limit; never if there is no limit (0) or nothing was counted."""
    return bool(limit and of) and count / of >= limit
