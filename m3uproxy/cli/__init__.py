"""The ``m3uproxy`` command."""
