"""Which source is next."""
