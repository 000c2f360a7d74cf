"""Failover: which source a stream uses, and when it changes."""
