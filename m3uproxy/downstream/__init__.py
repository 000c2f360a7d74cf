"""Writing to players."""
