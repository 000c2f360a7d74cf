"""Joining one source to another."""
