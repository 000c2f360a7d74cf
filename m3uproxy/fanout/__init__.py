"""From one source to many viewers."""
