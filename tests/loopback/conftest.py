"""The real thing on loopback: the misbehaving provider, the whole proxy, players on sockets of their own."""

from pathlib import Path

import pytest
from loopback_rig import rig

__all__ = ["rig"]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """All of it waits for seconds now and then."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.slow)
