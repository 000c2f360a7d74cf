"""Health of a source: content faults, silence, trickles and trends."""
