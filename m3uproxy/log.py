"""Loggers and log levels.

All modules take their loggers from here, because this module makes txaio use Twisted before the first logger is made.
``txaio.start_logging`` is not called: ``twistd`` starts the logging before it loads the package.
"""

from __future__ import annotations

from typing import Literal

import txaio

LogLevel = Literal["debug", "info", "warning", "error", "critical"]

txaio.use_twisted()

#: Makes a logger: ``log = make_logger()`` at the top of a module. The namespace is the name of the module.
make_logger = txaio.make_logger


def set_level(level: LogLevel) -> None:
    """Silence the package's loggers below ``level``. Silenced calls cost nothing.

    Messages of Twisted itself (start, stop, faults) are few and always pass.
    """
    txaio.set_global_log_level("warn" if level == "warning" else level)
