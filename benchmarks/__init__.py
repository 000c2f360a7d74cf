"""What m3uproxy costs, as a ratio to a C relay that does nothing but send. See ``docs/performance.md``."""
