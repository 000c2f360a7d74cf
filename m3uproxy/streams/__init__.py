"""The parts of a stream that do not depend on its kind: registration, failover, resolver, listings."""
