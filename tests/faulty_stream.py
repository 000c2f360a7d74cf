"""A source of pictures and audio with selectable faults, packet by packet, for tests of the content checks."""

from __future__ import annotations

import attrs
import tsbuild as ts

from m3uproxy.core.mpegts.psi import ElementaryStream, ProgramMap

PMT_PID, VIDEO, AUDIO = 0xFF, 0x100, 0x101
TV = ProgramMap(1, VIDEO, (ElementaryStream(ts.H264, VIDEO, b""), ElementaryStream(ts.AAC, AUDIO, b"")))
RADIO = ProgramMap(1, AUDIO, (ElementaryStream(ts.AAC, AUDIO, b""),))
STEP = 0.04


@attrs.define
class FaultySource:
    """A source of one picture and some audio every 40 ms. Its fields select the faults."""

    mux: ts.Mux = attrs.field(factory=ts.Mux)
    number: int = 0
    video: bool = True
    frozen: bool = False
    scrambled: bool = False
    skip: bool = False
    damaged: int = 0
    size: int = 3000
    speed: float = 1.0
    offset: int = 0

    def unit(self) -> bytes:
        self.number += 0 if self.frozen else 1
        clock = int(self.number * STEP * self.speed * 27_000_000) + self.offset
        made = b""
        if self.video:
            data = ts.pes(b"x" * self.size, pts=(clock // 300 + 9000) % 2**33)
            scrambling = 2 if self.scrambled else 0
            made += self.mux.unit(VIDEO, data, pcr=clock % (2**33 * 300), scrambling=scrambling)
        made += self.mux.unit(AUDIO, ts.pes(b"y" * 300, stream_id=0xC0, pts=clock // 300 % 2**33))
        if self.skip:
            made = made[: 188 * 3] + made[188 * 4 :]
        return b"".join(self.damage(at, made) for at in range(0, len(made), 188))

    def damage(self, at: int, made: bytes) -> bytes:
        packet = made[at : at + 188]
        if at // 188 >= self.damaged:
            return packet
        return packet[:1] + bytes([packet[1] | 0x80]) + packet[2:]

    def tables(self) -> bytes:
        """Return PAT and PMT."""
        streams = [(ts.H264, VIDEO), (ts.AAC, AUDIO)]
        return self.mux.pat({1: PMT_PID}) + self.mux.pmt(PMT_PID, 1, streams, pcr_pid=VIDEO)
