"""Where loggers come from.

Importing this module settles that txaio speaks Twisted, which has to happen before the first logger is made; so
every module of ours takes its logger from here. Under ``twistd`` logging has long begun when our code runs:
``txaio.start_logging`` is not ours to call.
"""

from __future__ import annotations

from typing import Literal

import txaio

LogLevel = Literal["debug", "info", "warning", "error", "critical"]

txaio.use_twisted()

#: ``log = make_logger()`` at the top of a module; the module's name becomes the namespace of its events.
make_logger = txaio.make_logger


def set_level(level: LogLevel) -> None:
    """Silence our loggers below ``level``, at no cost for the calls that are silenced.

    Messages of Twisted itself are few (start, stop, faults) and always pass.
    """
    txaio.set_global_log_level("warn" if level == "warning" else level)
