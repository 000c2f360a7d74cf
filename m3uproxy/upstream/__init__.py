"""Connections and HTTP requests to providers."""
