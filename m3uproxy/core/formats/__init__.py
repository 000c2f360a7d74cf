"""Streams without packets of 188 bytes: radio (ADTS, MPEG audio) and FLV, and how each kind is recognised.

They are shared as transport streams are: whole units (frames, tags) only, a block begins where a player can, and a
change of source happens between two units. What they lack is what a splice needs more than that: PIDs, counters and,
but for FLV, time.
"""
