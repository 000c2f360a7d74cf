"""Fixtures of the HLS tests."""

from __future__ import annotations

import pytest
from hls_rig import HlsRig


@pytest.fixture
def make_rig():
    """Return a function that makes HLS rigs. After the test, no delayed call and no memory is left."""
    made = []

    def make(**settings) -> HlsRig:
        made.append(HlsRig(**settings))
        return made[-1]

    yield make
    for rig in made:
        rig.stop()
        assert [call for call in rig.clock.getDelayedCalls() if "timeout" not in str(call.func).lower()] == []
        assert rig.fetcher.size == rig.fetcher.count == 0
