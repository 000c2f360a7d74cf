"""Clips that are encoded for the tests."""

from encoded_clips import clips

__all__ = ["clips"]
