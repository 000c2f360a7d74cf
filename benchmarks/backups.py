"""Cost of streams that play from a backup: percent of a core each, before and after the change of source.

``python -m benchmarks.backups`` plays 20 streams at 8 Mbit/s with a viewer each, fails all of them over to another
provider, and measures m3uproxy's process before and after. After the change every packet of every stream is rewritten.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.rig import BenchError, Source, ask, build, cpu_seconds, require_machine, source
from benchmarks.servers import Server, m3uproxy

STREAMS, SECONDS, RUNS = 20, 5.0, 3
#: Percent of a core that a stream on a backup may cost.
LIMIT = 2.0


class Viewers:
    """Clients that read and discard their streams."""

    def __init__(self, port: int, paths: Sequence[str]) -> None:
        self._selector = selectors.DefaultSelector()
        self.received = 0
        for path in paths:
            connection = socket.create_connection(("127.0.0.1", port), 5)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            self._selector.register(connection, selectors.EVENT_READ)

    def watch(self, seconds: float) -> None:
        """Read for a number of seconds.

        :raises BenchError: a stream ended.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                size = len(key.fileobj.recv(1 << 20))
                if not size:
                    raise BenchError("a stream ended")
                self.received += size
            time.sleep(0.01)

    def leave(self) -> None:
        """Close all connections."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def measured(server: Server, viewers: Viewers) -> tuple[float, float]:
    """Return percent of a core and Mbit/s of each stream."""
    cpu, received = cpu_seconds(server.pid), viewers.received
    viewers.watch(SECONDS)
    spent = cpu_seconds(server.pid) - cpu
    return spent / SECONDS / STREAMS * 100, (viewers.received - received) * 8 / SECONDS / STREAMS / 1e6


def play(primary: Source, backup: Source, server: Server) -> tuple[float, float, float]:
    """Run the benchmark once. Return percent before, percent after, Mbit/s after.

    :raises BenchError: a stream is not on its backup.
    """
    ids = []
    for channel in range(STREAMS):
        body = {"url": primary.url(channel), "failover_urls": [backup.url(channel + STREAMS, burst=1)]}
        ids.append(ask(server.port, "POST", "/streams", body)["stream_id"])
    viewers = Viewers(server.port, [f"/stream/{each}" for each in ids])
    try:
        viewers.watch(4)
        before, _ = measured(server, viewers)
        for each in ids:
            ask(server.port, "POST", f"/streams/{each}/failover")
            viewers.watch(0.05)
        viewers.watch(6)
        if backup.stats().open != STREAMS or primary.stats().open:
            raise BenchError("not every stream is on its backup")
        return before, *measured(server, viewers)
    finally:
        viewers.leave()


def main() -> int:
    """Run the benchmark and print the result.

    :return: the exit status: 0, 1 if the limit is exceeded, 2 if the benchmark cannot run.
    """
    try:
        server_cpu, other_cpu = require_machine()
        build()
        runs = []
        for _ in range(RUNS):
            with (
                source(other_cpu, 10) as primary,
                source(other_cpu, 10) as backup,
                m3uproxy()(server_cpu, primary) as server,
            ):
                runs.append(play(primary, backup, server))
                print("  {:.2f} % before, {:.2f} % after, {:.2f} Mbit/s".format(*runs[-1]), file=sys.stderr)
    except BenchError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    before, after, rate = (statistics.median(each) for each in zip(*runs, strict=True))
    print(f"{STREAMS} streams at {rate:.1f} Mbit/s, percent of a core each: {before:.2f} on primaries,")
    print(f"{after:.2f} on backups ({'ok' if after <= LIMIT else 'over'}: at most {LIMIT:g})")
    return 0 if after <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
