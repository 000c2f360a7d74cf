"""VOD: each client reads the file at its own offset and pace over its own session; clients share the edge cache."""
