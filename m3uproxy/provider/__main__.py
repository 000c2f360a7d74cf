"""``python -m m3uproxy.provider``: the provider as a program. SIGINT and SIGTERM end it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import react

from m3uproxy.provider.site import Provider


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="m3uproxy.provider", description="An IPTV provider that simulates faults on command."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8086, help="port, 0 for any (default: %(default)s)")
    return parser.parse_args(arguments)


async def run(reactor: Any, chosen: argparse.Namespace) -> None:
    """Serve until the reactor stops.

    :raises SystemExit: if the port cannot be opened.
    """
    provider = Provider(reactor)
    try:
        await provider.listen(chosen.host, chosen.port)
    except CannotListenError as error:
        raise SystemExit(f"cannot listen on {chosen.host}:{chosen.port}: {error.socketError}") from None
    reactor.addSystemEventTrigger("before", "shutdown", provider.stop)
    print(f"provider: play {provider.url()}  (faults: {provider.url('/')})", flush=True)
    await Deferred()


def main() -> None:
    """Start the program."""
    chosen = options(sys.argv[1:])
    react(lambda reactor: ensureDeferred(run(reactor, chosen)))


if __name__ == "__main__":
    main()
