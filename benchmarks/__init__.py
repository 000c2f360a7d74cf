"""Cost of m3uproxy as a ratio to a C relay that only sends. See ``docs/performance.md``."""
