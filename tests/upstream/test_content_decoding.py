"""Gzip bodies, gzip bombs, and ICY metadata in radio, cut at any byte."""

import gzip
import random
import time
import tracemalloc
import zlib

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from radiobuild import pieces
from scripted_provider import CLOSE, BodyRecorder, head

from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream.content_decoding import (
    MAX_DECODED_BYTES,
    MAX_MEMBERS,
    BoundedGunzip,
    ContentDecoder,
    IcyTitleFilter,
    icy_title_filter,
)

VIDEO = b"G" + random.Random(1).randbytes(187)
NULL_PACKET = b"G\x1f\xff\x10" + b"\xff" * 184
MIB = 1_048_576
GZIP = "Content-Encoding: gzip"


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Return a quarter of a megabyte that decodes to 256 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(256)), packer.flush()])


def in_chunks(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


class TestContentDecoder:
    @given(st.binary(min_size=1, max_size=3000), st.integers(1, 700), st.sampled_from([31, 15]), st.integers(0, 9))
    def test_any_wrapper_of_deflate_is_decoded(self, data, size, window, level):
        packer = zlib.compressobj(level, zlib.DEFLATED, window)
        packed = packer.compress(data) + packer.flush()
        decoder = ContentDecoder("deflate")
        assert b"".join(decoder.decode(packed[at : at + size], at) for at in range(0, len(packed), size)) == data
        assert decoder.complete

    @pytest.mark.parametrize("text", [VIDEO * 50, b"#EXTM3U\n#EXTINF:4,\n1.ts\n" * 9, b"{}" * 9, NULL_PACKET])
    def test_deflate_without_a_header_is_decoded(self, text):
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(text) + packer.flush()
        assert ContentDecoder("deflate").decode(packed + b"behind", 1) == text

    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    @pytest.mark.parametrize(
        "start",
        [b"GG", b"#EXTM3U", b"<html>", b'{"a":1}', b"\xff\xf1\x50\x80", b"FLV\x01", b"ID3\x04", b"\0\0\0\x18"],
    )
    def test_data_without_the_named_coding_passes(self, coding, start):
        decoder, data = ContentDecoder(coding), start + VIDEO * 3
        assert decoder.decode(data[:1], 1) + decoder.decode(data[1:], 2) == data
        assert decoder.complete

    def test_a_bomb_of_deflate_is_stopped(self):
        packer = zlib.compressobj(9)
        packed = b"".join([*(packer.compress(bytes(MIB)) for _ in range(16)), packer.flush()])
        with pytest.raises(SourceError) as caught:
            ContentDecoder("deflate").decode(packed, 1)
        assert caught.value.reason is Reason.NOT_VIDEO

    def test_the_end_may_be_missing(self):
        decoder = ContentDecoder("deflate")
        decoder.decode(zlib.compress(VIDEO)[:-1], 1)
        assert not decoder.complete


class TestBoundedGunzip:
    @given(st.binary(max_size=5000), st.integers(1, 200), st.sampled_from([0, 1, 9]))
    def test_pieces_decode_to_the_original(self, data, size, level):
        gunzip, packed = BoundedGunzip(), gzip.compress(data, level)
        plain = [gunzip.decode(packed[at : at + size], at) for at in range(0, len(packed), size)]
        assert b"".join(plain) == data
        assert gunzip.decode(b"more", -1) == b""

    @given(st.lists(st.binary(max_size=2000), min_size=1, max_size=5), st.integers(1, 70_000), st.integers(0, 3))
    def test_members_decode_to_one_text(self, texts, size, zeros):
        """Servers that compress as they write end a member at each flush. Padding may follow the last one."""
        gunzip, packed = BoundedGunzip(), b"".join(map(gzip.compress, texts)) + bytes(zeros)
        assert b"".join(gunzip.decode(packed[at : at + size], at) for at in range(0, len(packed), size)) == b"".join(
            texts
        )
        assert gunzip.complete

    @pytest.mark.parametrize("missing", [1, 8, 25])
    def test_cut_member_is_not_complete(self, missing):
        gunzip = BoundedGunzip()
        gunzip.decode((gzip.compress(VIDEO) * 2)[:-missing], 1)
        assert not gunzip.complete

    def test_data_after_the_members_is_dropped(self):
        gunzip = BoundedGunzip()
        assert gunzip.decode(gzip.compress(b"a") + b"\x1f", 1) + gunzip.decode(b"x", 2) == b"a"
        assert gunzip.decode(gzip.compress(b"b"), 3) == b""
        assert gunzip.complete

    def test_further_member_that_is_not_gzip_fails(self):
        with pytest.raises(SourceError) as caught:
            BoundedGunzip().decode(gzip.compress(b"a") + b"\x1f\x8bxxxxxxxxxx", 1)
        assert caught.value.reason is Reason.TRUNCATED

    def test_members_of_one_read_are_limited_and_quick(self):
        """Each member takes a decoder; the bytes behind it are copied."""
        gunzip, member = BoundedGunzip(), gzip.compress(b"")
        flood = member * (2 * MIB // len(member))
        began = time.process_time()
        with pytest.raises(SourceError) as caught:
            gunzip.decode(flood, 1)
        assert time.process_time() - began < 0.5
        assert caught.value.reason is Reason.NOT_VIDEO
        gunzip = BoundedGunzip()
        for read in range(3):
            assert gunzip.decode(member * MAX_MEMBERS, read) == b""

    def test_limit_counts_all_members_of_a_read(self):
        with pytest.raises(SourceError) as caught:
            BoundedGunzip().decode(gzip.compress(bytes(5 * MIB)) * 2, 1)
        assert caught.value.reason is Reason.NOT_VIDEO

    @given(st.binary(min_size=2, max_size=100).filter(lambda data: data[0] != 0x1F))
    def test_data_that_is_not_gzip_fails(self, data):
        with pytest.raises(SourceError) as caught:
            BoundedGunzip().decode(data, 1)
        assert caught.value.reason is Reason.TRUNCATED

    def test_limit_counts_one_read(self):
        """All pieces of one read count together; the next read may decode to as much."""
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        pieces = [packer.compress(bytes(6 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(4)]
        gunzip = BoundedGunzip()
        for read, piece in enumerate(pieces[:3]):
            assert len(gunzip.decode(piece, read)) == 6 * MIB
        with pytest.raises(SourceError) as caught:
            gunzip.decode(pieces[3], 2)
        assert caught.value.reason is Reason.NOT_VIDEO

    def test_bomb_takes_no_more_memory_than_the_limit(self, bomb):
        tracemalloc.start()
        with pytest.raises(SourceError):
            BoundedGunzip().decode(bomb, 1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * MAX_DECODED_BYTES


async def read_until(bench, opened, enough) -> None:
    """Read once per reactor turn, as the tick does, 2000 times at most."""
    for _ in range(2000):
        if enough():
            return
        opened.read(True)
        await bench.turns(0.001)
    raise AssertionError("not in 2000 reads")


class SizeCounter(BodyRecorder):
    """A consumer that keeps the size only."""

    size = 0

    def body_received(self, data):
        self.size += len(data)


class TestGzipBodies:
    @pytest.mark.parametrize("framing", ["until closed", "one length", "large chunks", "small chunks"])
    @pytest.mark.parametrize("paused", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_bomb_ends_the_body(self, bench, errors, bomb, framing, paused):
        lines, sent = {
            "until closed": ((), bomb),
            "one length": ((f"Content-Length: {len(bomb)}",), bomb),
            "large chunks": (("Transfer-Encoding: chunked",), in_chunks(bomb, 60_000)),
            "small chunks": (("Transfer-Encoding: chunked",), in_chunks(bomb, 4_000)),
        }[framing]
        provider = await bench.provider(head("200 OK", GZIP, *lines), sent, CLOSE)
        lost = provider.sees("lost")
        opened = await bench.dial(provider.url())
        assert opened.length is None
        body = SizeCounter()
        tracemalloc.start()
        opened.deliver(body)
        if paused:
            opened.pause()
            await bench.turns()
            await read_until(bench, opened, lambda: body.ends)
        await body.over
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert body.error.reason is Reason.NOT_VIDEO
        assert body.size <= 2 * MAX_DECODED_BYTES
        assert peak < 5 * MAX_DECODED_BYTES
        await bench.turns()
        await lost
        assert bench.sockets.open == 0
        assert errors == []

    @pytest_twisted.ensureDeferred
    async def test_each_read_of_a_paused_body_has_a_limit_of_its_own(self, bench):
        """The tick reads a live source while it is paused, for hours."""
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        plain = NULL_PACKET * 16_000
        pieces = [packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(8)]
        provider = await bench.provider(head("200 OK", GZIP), *pieces)
        opened = await bench.dial(provider.url())
        opened.deliver(body := SizeCounter())
        opened.pause()
        await read_until(bench, opened, lambda: body.ends or body.size == 8 * len(plain))
        assert body.size == 8 * len(plain)
        assert body.error is None
        await opened.close()

    @pytest_twisted.ensureDeferred
    async def test_null_packets_are_video(self, bench):
        """A constant rate channel that is off air sends null packets, which gzip shrinks to almost nothing."""
        sent = NULL_PACKET * 20_000
        provider = await bench.provider(head("200 OK", GZIP), gzip.compress(sent, 9), CLOSE)
        (await bench.dial(provider.url())).deliver(body := BodyRecorder())
        await body.over
        assert body.data == sent
        assert body.error.reason is Reason.ENDED

    @pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
    @pytest_twisted.ensureDeferred
    async def test_coding_names_of_gzip(self, bench, coding):
        provider = await bench.provider(head("200 OK", f"content-encoding: {coding}"), gzip.compress(VIDEO), CLOSE)
        (await bench.dial(provider.url())).deliver(body := BodyRecorder())
        await body.over
        assert body.data == VIDEO

    @pytest.mark.parametrize("coding", ["identity", "", "br"])
    @pytest_twisted.ensureDeferred
    async def test_other_codings_pass_unchanged(self, bench, coding):
        provider = await bench.provider(head("200 OK", f"Content-Encoding: {coding}"), VIDEO, CLOSE)
        (await bench.dial(provider.url())).deliver(body := BodyRecorder())
        await body.over
        assert body.data == VIDEO

    @pytest_twisted.ensureDeferred
    async def test_coding_of_a_redirect_does_not_apply_to_the_body(self, bench):
        provider = await bench.provider(head(), VIDEO, CLOSE)
        provider.answers["/a"] = [head("302 x", "Location: /b", GZIP, "Content-Length: 0")]
        (await bench.dial(provider.url("/a"))).deliver(body := BodyRecorder())
        await body.over
        assert body.data == VIDEO

    @pytest_twisted.ensureDeferred
    async def test_gzip_is_not_requested(self, bench):
        provider = await bench.provider(head())
        await (await bench.dial(provider.url())).close()
        assert "accept-encoding" not in provider.headers()


@given(
    audio=st.binary(max_size=2000),
    interval=st.integers(1, 300),
    blocks=st.lists(st.integers(0, 255), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 3000), max_size=20),
)
def test_only_audio_remains(audio: bytes, interval: int, blocks: list[int], cuts: list[int]) -> None:
    body = b""
    for number, at in enumerate(range(0, len(audio), interval)):
        units = blocks[number % len(blocks)]
        body += audio[at : at + interval]
        if at + interval <= len(audio):
            body += bytes([units]) + b"T" * 16 * units
    title_filter = IcyTitleFilter(interval)
    assert b"".join([title_filter.remove_titles(piece) for piece in pieces(body, cuts)]) == audio


@pytest.mark.parametrize("value", [b"0", b"-1", b"", b"x", b"1e3", b"9" * 5000])
def test_invalid_header_is_ignored(value: bytes) -> None:
    assert icy_title_filter([value]) is None


def test_first_header_counts() -> None:
    assert icy_title_filter([]) is None
    first = icy_title_filter([b"2", b"5"])
    assert first is not None
    assert first.remove_titles(b"ab\0cd") == b"abcd"
