"""``python -m m3uproxy``: the same as the ``m3uproxy`` command."""

from .cli.main import main

if __name__ == "__main__":
    main()
