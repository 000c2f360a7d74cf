"""Parsers of a live body: bytes in, whole units out.

Transport streams, radio (ADTS, MPEG audio) and FLV. Each parser emits whole packets, frames or tags, and a chunk begins
at a place where a player can start. Radio and FLV have no PIDs and counters; radio has no timestamps either.
"""
