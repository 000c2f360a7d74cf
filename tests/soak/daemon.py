"""A daemon that reports on itself: ``python daemon.py REPORT OPTION ...`` runs ``twistd -n m3uproxy OPTION ...``.

SIGUSR2 makes it write REPORT, a JSON object. The figures are those that must return to their start after all players
have left: objects, descriptors, delayed calls; and the longest call since the last report. The daemon freezes its
heap when it starts, so only objects made later are counted.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from reactor_hold import ReactorHoldCheck

#: Types whose numbers are reported by name.
LISTED = 12


def report(check: ReactorHoldCheck) -> dict[str, Any]:
    """Return the figures of this process."""
    from twisted.internet import reactor

    gc.collect()
    kinds = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    holds, check.holds[:] = sorted(check.holds, key=lambda hold: -hold.seconds), []
    return {
        "objects": sum(kinds.values()),
        "of_the_package": {kind: n for kind, n in kinds.most_common() if kind.startswith("m3uproxy.")},
        "kinds": dict(kinds.most_common(LISTED)),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "delayed_calls": len(reactor.getDelayedCalls()),
        "resident_kib": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
        "tracebacks": kept_tracebacks(),
        "holds": [[hold.seconds, hold.place] for hold in holds[:5]],
    }


def kept_tracebacks() -> list[str]:
    """Return the exceptions of modules of the package that keep a traceback, and with it the frames of players."""
    return [
        f"{module.__name__}.{name}"
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("m3uproxy.")
        for name, value in list(vars(module).items())
        if isinstance(value, BaseException) and value.__traceback__ is not None
    ]


def main(target: Path, options: list[str]) -> None:
    """Run the daemon until it is told to stop."""
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    def write() -> None:
        partial = target.with_suffix(".part")
        partial.write_text(json.dumps(report(check)))
        partial.rename(target)

    signal.signal(signal.SIGUSR2, lambda *_: reactor.callFromThread(write))
    sys.argv = ["twistd", "-n", "--pidfile=", "m3uproxy", *options]
    with ReactorHoldCheck(reactor).running() as check:
        run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
