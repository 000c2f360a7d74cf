"""The stream factory: kinds of stream."""

from __future__ import annotations

import pytest
from fakes import Relay

from m3uproxy.live.stream import LiveStream
from m3uproxy.vod.stream import VodStream


@pytest.mark.parametrize(
    ("url", "kind"),
    [("http://p/live/1.ts", LiveStream), ("http://p/movie/1.mp4", VodStream), ("http://p/1.m3u8", LiveStream)],
)
def test_kind_follows_from_the_url(url: str, kind: type) -> None:
    """Without a fetcher, as here, HLS is played as one transport stream only."""
    assert type(Relay().stream(url)) is kind
