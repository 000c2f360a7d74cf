"""What tests of HLS have in common."""

from __future__ import annotations

import pytest
from hls_rig import HlsRig


@pytest.fixture
def make_rig():
    """Makes HLS sides of a proxy; after the test no delayed call and no memory that is still taken."""
    made = []

    def make(**settings) -> HlsRig:
        made.append(HlsRig(**settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert [call for call in one.clock.getDelayedCalls() if "timeout" not in str(call.func).lower()] == []
        assert one.fetcher.size == one.fetcher.count == 0
