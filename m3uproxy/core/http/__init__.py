"""HTTP without I/O."""
