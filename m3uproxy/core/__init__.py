"""What the proxy knows without any I/O: bytes, tables and arithmetic. Nothing here imports the reactor."""
