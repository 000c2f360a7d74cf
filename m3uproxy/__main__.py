"""The ``m3uproxy`` command as ``python -m m3uproxy``."""

from .cli.main import main

if __name__ == "__main__":
    main()
