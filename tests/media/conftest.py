"""Fixtures for tests on loopback: the misbehaving provider, the whole proxy, players on their own sockets."""

import pytest
from clip_provider import start_provider
from loopback_rig import rig

__all__ = ["rig", "splices", "start_provider"]


@pytest.fixture
def splices(monkeypatch):
    """Collect the splice reports of the stream."""
    from m3uproxy.streams.failover_history import FailoverHistory

    reports = []
    original = FailoverHistory.source_joined

    def joined(self, report):
        reports.append(report)
        original(self, report)

    monkeypatch.setattr(FailoverHistory, "source_joined", joined)
    return reports
