"""The real thing on loopback: the misbehaving provider, the whole proxy, players on sockets of their own."""

import pytest
from clip_provider import air
from loopback_rig import rig

__all__ = ["air", "joins", "rig"]


@pytest.fixture
def joins(monkeypatch):
    """How sources were joined, as the stream is told."""
    from m3uproxy.streams.decision_log import DecisionLog

    reports = []
    told = DecisionLog.joined

    def joined(self, report):
        reports.append(report)
        told(self, report)

    monkeypatch.setattr(DecisionLog, "joined", joined)
    return reports
