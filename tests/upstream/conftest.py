"""Fixtures of tests that dial a scripted provider."""

from upstream_fixtures import bench, errors, names, pem, tls

__all__ = ["bench", "errors", "names", "pem", "tls"]
