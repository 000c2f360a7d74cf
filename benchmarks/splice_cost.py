"""Cost of holding, joining and rewriting: ms of CPU per second of stream, and ms per join.

``python -m benchmarks.splice_cost`` prints medians of several runs on the provider's clip. Its pictures are padded to
the bitrate, and its blocks have the length of the relay's blocks.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import attrs

from m3uproxy.core.health.content import ContentHealth, HealthLimits
from m3uproxy.core.health.trickle import TrickleDetector
from m3uproxy.core.ingest.ts_media import TsMediaMeter
from m3uproxy.core.mpegts.access_index import AccessIndex
from m3uproxy.core.mpegts.psi import ProgramMap
from m3uproxy.core.mpegts.psi_tables import PsiTables
from m3uproxy.core.splice.packet_rewriter import PacketRewriter
from m3uproxy.core.splice.pes_hold import PesHold
from m3uproxy.core.splice.splice_out import SpliceOut
from m3uproxy.core.splice.splicer import Splicer, SpliceReport
from m3uproxy.provider.clip import PACKET, TICKS, load_clip
from m3uproxy.provider.timeline import Timeline

SECONDS = 20
#: Bytes a second.
RATE = 1_000_000
BLOCK = 0.08
RUNS = 9


def broadcast(begin: float, end: float, seed: int = 0, origin: int = 0) -> bytes:
    """Return a span of the clip, with noise after the first packet of each picture."""
    line = Timeline(load_clip(), origin)
    data = line.span(line.due_at(begin), line.due_at(end))
    video = next(stream.pid for stream in _tables(data).program.streams if stream.codec.is_video)
    starts = [at for at in range(0, len(data), PACKET) if _is_start(data, at, video)]
    filling = int((RATE * (end - begin) - len(data)) / PACKET / len(starts))
    noise = random.Random(seed)
    out, counter, wanted = bytearray(), 0, set(starts)
    for at in range(0, len(data), PACKET):
        packet = bytearray(data[at : at + PACKET])
        if (packet[1] & 0x1F) << 8 | packet[2] == video:
            packet[3] = packet[3] & 0xF0 | counter & 15
            counter += 1
        out += packet
        for _ in range(filling if at in wanted else 0):
            out += bytes([0x47, video >> 8, video & 0xFF, 0x10 | counter & 15]) + noise.randbytes(PACKET - 4)
            counter += 1
    return bytes(out)


def _is_start(data: bytes, at: int, pid: int) -> bool:
    return bool(data[at + 1] & 0x40) and (data[at + 1] & 0x1F) << 8 | data[at + 2] == pid


def _tables(data: bytes) -> PsiTables:
    sent = SpliceOut(data)
    sent.read()
    tables = sent.tables
    assert tables is not None, "the clip has tables"
    return tables


def blocks(data: bytes) -> list[bytes]:
    """Split data into blocks."""
    size = int(RATE * BLOCK) // PACKET * PACKET
    return [data[at : at + size] for at in range(0, len(data), size)]


def per_second(work: Callable[[], object]) -> float:
    """Return ms of CPU per second of stream, the median of all runs."""
    taken = []
    for _ in range(RUNS):
        begin = time.process_time()
        work()
        taken.append((time.process_time() - begin) * 1000 / SECONDS)
    return statistics.median(taken)


def hold_all(pieces: list[bytes]) -> None:
    hold = PesHold()
    for number, piece in enumerate(pieces):
        hold.push(piece, number * BLOCK)


def scan_all(pieces: list[bytes]) -> None:
    index = AccessIndex()
    for piece in pieces:
        index.scan(piece)


def watch_all(program: ProgramMap, pieces: list[bytes]) -> None:
    health, pulse, received = ContentHealth(HealthLimits(continuity=0.01, bitrate=62_500), 0.0), TrickleDetector(0.0), 0
    for number, piece in enumerate(pieces, 1):
        now, received = number * BLOCK, received + len(piece)
        if health.packets_received(now, piece, program) is not None:
            raise AssertionError("there is nothing wrong with it")
        if now >= pulse.due:
            pulse.update(now, received, health.media)


def measure_all(pieces: list[bytes]) -> None:
    meter = TsMediaMeter()
    for number, piece in enumerate(pieces):
        meter.add(piece, number * BLOCK)


def rewriter(tables: PsiTables, moved: bool) -> PacketRewriter:
    """Return a rewriter for a source on other PIDs.

    :param moved: the PCR of the source is on another PID too.
    """
    pids = {stream.pid: stream.pid + 0x111 for stream in tables.program.streams}
    known = pids[tables.program.pcr_pid] if not moved else 0x1234
    told = attrs.evolve(tables, program=attrs.evolve(tables.program, pcr_pid=known))
    made = PacketRewriter(told, tables, pids, {})
    made.set_offsets(123_456, None)
    return made


def rewrite_all(tables: PsiTables, moved: bool, pieces: list[bytes]) -> None:
    made = rewriter(tables, moved)
    for piece in pieces:
        made.rewrite(piece)


def join(sent: bytes, new: list[bytes]) -> tuple[str, float, float]:
    """Return the kind of join, ms for the first block, and the most ms for another block."""
    reports: list[SpliceReport] = []
    splicer = Splicer(lambda: sent, reports.append)
    splicer.next_source(0.0)
    taken = []
    for piece in new:
        begin = time.process_time()
        splicer.push(piece, 0.1)
        taken.append((time.process_time() - begin) * 1000)
    return reports[0].kind.name, taken[0], max(taken[1:])


def main() -> None:
    data = broadcast(0, SECONDS)
    pieces = blocks(data)
    hold = PesHold()
    sent = b"".join(hold.push(piece, n * BLOCK) for n, piece in enumerate(pieces))
    sent = sent[-RATE * 10 // PACKET * PACKET :]
    tables = _tables(sent)
    print(f"{len(data) * 8 / SECONDS / 1e6:.2f} Mbit/s, blocks of {len(pieces[0])} bytes")
    print(f"hold                 {per_second(lambda: hold_all(pieces)):.3f} ms/s")
    print(f"index                {per_second(lambda: scan_all(pieces)):.3f} ms/s")
    print(f"health               {per_second(lambda: watch_all(tables.program, pieces)):.3f} ms/s")
    print(f"media                {per_second(lambda: measure_all(pieces)):.3f} ms/s")
    print(f"rewrite              {per_second(lambda: rewrite_all(tables, False, pieces)):.3f} ms/s")
    print(f"rewrite, clock moved {per_second(lambda: rewrite_all(tables, True, pieces)):.3f} ms/s")
    again = blocks(data[-RATE * 3 // PACKET * PACKET :] + broadcast(SECONDS, SECONDS + 3, 1))
    later = blocks(broadcast(SECONDS + 4, SECONDS + 8, 2, 5000 * TICKS))
    for name, new in (("replay of 3 s", again), ("live edge", later)):
        kinds, firsts, worst = zip(*[join(sent, new) for _ in range(RUNS)], strict=True)
        first, most = statistics.median(firsts), statistics.median(worst)
        print(f"join, {name:14s} {kinds[0]}: first block {first:.1f} ms, the dearest other {most:.1f} ms")


if __name__ == "__main__":
    main()
