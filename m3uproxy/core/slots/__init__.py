"""Connections of a provider account."""
