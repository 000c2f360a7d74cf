"""Fetching once for all, on a clock and in memory."""

from __future__ import annotations

import pytest
from fetching import Desk, desk
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.byte_ranges import ByteRange
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.cache import MAX_PAUSE, MAX_READING
from m3uproxy.hls.download import FINISH_BYTES, NOTIFY_INTERVAL, GrowingBuffer
from m3uproxy.hls.download_reader import READER_GONE
from m3uproxy.hls.fetcher import ERROR_MAX_AGE, RETENTION, WAIT_AHEAD_BYTES

__all__ = ["desk"]

SEGMENT = bytes(range(256)) * 1000
FOREVER = float("inf")


def in_pieces(asked, size):
    """All of a body, as it comes over a wire."""
    asked.answer(length=size)
    for _ in range(size >> 14):
        asked.body.bring(b"x" * (1 << 14))
    asked.body.end()


class TestSingleFlight:
    def test_fifty_who_ask_are_one_request(self, desk):
        before = [desk.fetch() for _ in range(25)]
        desk.last.answer(SEGMENT[:1000], len(SEGMENT))
        after = [desk.fetch() for _ in range(25)]
        taken = [each.read() for each in before + after]
        desk.last.body.bring(SEGMENT[1000:])
        desk.last.body.end()
        assert len(desk.asked) == 1
        assert {each.data for each in taken} == {SEGMENT}
        assert all(each.ends == [None] for each in taken)

    def test_other_headers_other_urls_and_other_ranges_are_other_requests(self, desk):
        desk.fetch("a.ts")
        desk.fetch("b.ts")
        desk.fetch("a.ts", ByteRange(0, 9))
        desk.fetch("a.ts", ByteRange(0, 8))
        assert [each.byte_range for each in desk.asked] == [None, None, "bytes=0-9", "bytes=0-8"]
        for asked in desk.asked:
            asked.fail()

    def test_nobody_is_answered_before_there_is_something(self, desk):
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:15], len(SEGMENT))
        assert fetched.resource is None
        desk.last.body.bring(SEGMENT[15:16])
        assert fetched.resource.first_bytes == SEGMENT[:16]
        assert (fetched.resource.status, fetched.resource.length) == (200, len(SEGMENT))
        fetched.resource.close()

    def test_a_failure_is_told_to_all_and_not_kept(self, desk):
        both = [desk.fetch(max_age=FOREVER), desk.fetch(max_age=FOREVER)]
        desk.last.fail(Reason.FIRST_BYTE_TIMEOUT)
        assert [each.error.reason for each in both] == [Reason.FIRST_BYTE_TIMEOUT] * 2
        again = desk.fetch(max_age=FOREVER)
        assert len(desk.asked) == 2
        desk.last.whole(SEGMENT)
        assert again.all() == SEGMENT

    def test_who_is_told_of_a_failure_may_ask_again_at_once(self, desk):
        again = []
        desk.fetch().deferred.addCallback(lambda _: again.append(desk.fetch()))
        desk.fetch()
        desk.last.fail()
        assert len(desk.asked) == 2
        desk.last.whole(SEGMENT)
        assert again[0].all() == SEGMENT

    def test_cancelling_disturbs_nobody_else_until_the_last(self, desk):
        one, two = desk.fetch(), desk.fetch()
        one.deferred.cancel()
        assert not desk.last.cancelled
        two.deferred.cancel()
        assert desk.last.cancelled
        assert desk.fetcher.size == 0

    def test_one_who_cancels_another_while_both_are_told(self, desk):
        one, two, three = desk.fetch(), desk.fetch(), desk.fetch()
        one.deferred.addCallback(lambda _: two.deferred.cancel())
        desk.last.whole(SEGMENT)
        assert (two.resource, three.all()) == (None, SEGMENT)
        one.resource.close()

    def test_statuses_are_passed_on(self, desk):
        fetched = [desk.fetch(max_age=FOREVER), desk.fetch(max_age=FOREVER)]
        desk.last.answer(status=404, Retry_After="7")
        for each in fetched:
            assert (each.resource.status, each.resource.length, each.all()) == (404, 0, b"")
            assert each.resource.headers["Retry-After"] == "7"

    def test_patience_is_for_the_head(self, desk):
        desk.fetch(extra_timeout=6.0)
        assert desk.last.limits.first_byte == 8.0
        desk.last.fail()


class TestKept:
    def test_age(self, desk):
        first = desk.fetch("a.m3u8")
        desk.clock.advance(5)  # held back by the provider, and new when it comes
        desk.last.whole(b"#EXTM3U\n" * 4)
        first.resource.close()
        desk.clock.advance(1.9)
        assert desk.fetch("a.m3u8", max_age=2.0).all() == b"#EXTM3U\n" * 4
        desk.clock.advance(0.2)
        young = desk.fetch("a.m3u8", max_age=2.0)
        assert len(desk.asked) == 2
        desk.last.whole(b"#EXTM3U\n" * 5)
        assert round(young.resource.age) == 0
        assert young.all() == b"#EXTM3U\n" * 5

    def test_no_age_asks_each_time(self, desk):
        for _ in range(3):
            fetched = desk.fetch()
            desk.last.whole(SEGMENT)
            fetched.resource.close()
        assert len(desk.asked) == 3

    def test_a_status_is_kept_for_a_moment(self, desk):
        desk.fetch(max_age=FOREVER)
        desk.last.answer(status=404)
        desk.clock.advance(ERROR_MAX_AGE - 0.1)
        assert desk.fetch(max_age=FOREVER).resource.status == 404
        desk.clock.advance(0.2)
        desk.fetch(max_age=FOREVER)
        assert len(desk.asked) == 2
        desk.last.fail()

    def test_what_nobody_asks_for_goes(self, desk):
        fetched = desk.fetch()
        desk.last.whole(SEGMENT)
        assert desk.fetcher.size == len(SEGMENT)
        fetched.resource.close()
        desk.clock.pump([RETENTION / 8] * 12)
        assert desk.fetcher.size == 0
        desk.clock.pump([RETENTION / 8] * 4)
        assert desk.clock.getDelayedCalls() == []

    def test_what_is_asked_for_stays(self, desk):
        desk.fetcher.prefetch(desk_wanted(desk, "a.ts"), None, FOREVER)
        desk.last.whole(SEGMENT)
        for _ in range(8):
            desk.clock.advance(RETENTION / 4)
            assert desk.fetch("a.ts", max_age=FOREVER).all() == SEGMENT
        assert len(desk.asked) == 1

    def test_over_the_bound_what_was_used_longest_ago_goes(self):
        desk = Desk(hls_cache_bytes=4 << 20, hls_resource_bytes=2 << 20)
        for name in "abc":
            fetched = desk.fetch(name, max_age=FOREVER)
            desk.last.whole(name.encode() * (1 << 20))
            fetched.resource.close()
        assert len(desk.fetch("a", max_age=FOREVER).all()) == 1 << 20
        fetched = desk.fetch("d", max_age=FOREVER)
        desk.last.whole(b"d" * (2 << 20))
        fetched.resource.close()
        assert desk.fetcher.size <= 4 << 20
        desk.fetch("a", max_age=FOREVER)
        assert len(desk.asked) == 4
        desk.fetch("b", max_age=FOREVER)
        assert len(desk.asked) == 5
        desk.last.fail()
        desk.fetcher.stop()
        assert desk.clock.getDelayedCalls() == []

    def test_memory_that_is_being_read_counts(self):
        desk = Desk(hls_cache_bytes=4 << 20, hls_resource_bytes=2 << 20)
        held = []
        for name in "ab":
            held.append(desk.fetch(name))
            desk.last.whole(b"x" * (2 << 20))
        one_more = desk.fetch("c")
        desk.last.answer(b"x" * 100, 1000)
        assert one_more.error.reason is Reason.FULL
        assert one_more.error.player_status == 503
        assert desk.last.body.closed
        for each in held:
            assert len(each.all()) == 2 << 20
        one_more = desk.fetch("c")
        desk.last.whole(b"y" * 1000)
        assert one_more.all() == b"y" * 1000
        desk.close()

    def test_who_takes_its_time_makes_way_when_there_is_no_memory_left(self):
        desk = Desk(hls_cache_bytes=4 << 20, hls_resource_bytes=2 << 20)
        slow, quick = desk.fetch("a"), desk.fetch("b")
        for asked in desk.asked:
            in_pieces(asked, 2 << 20)
        paused, reading = slow.read(room=1000), quick.read(room=1000)
        desk.clock.advance(MAX_PAUSE - 1)
        reading.resume(room=1000)
        refused = desk.fetch("c")
        desk.last.answer(b"x" * 100, 1000)
        assert refused.error.reason is Reason.FULL
        desk.clock.advance(1)
        newest = desk.fetch("c")
        desk.last.whole(b"y" * 1000)
        assert newest.all() == b"y" * 1000
        assert [end.reason for end in paused.ends] == [Reason.FULL]
        assert reading.ends == []
        assert desk.fetcher.size == (2 << 20) + 1000
        reading.resume()
        assert reading.ends == [None]
        desk.close()

    def test_so_does_who_reads_drop_by_drop(self):
        desk = Desk(hls_cache_bytes=4 << 20, hls_resource_bytes=4 << 20)
        fetched = desk.fetch("a")
        in_pieces(desk.last, 4 << 20)
        drop = fetched.read(room=1)
        for _ in range(int(MAX_READING / 4)):
            desk.clock.advance(4)
            drop.resume(room=1)
        assert 0 < len(drop.data) < 4 << 20
        newest = desk.fetch("b")
        desk.last.whole(b"y" * 1000)
        assert newest.all() == b"y" * 1000
        assert [end.reason for end in drop.ends] == [Reason.FULL]
        desk.close()

    def test_nobody_makes_way_while_somebody_else_reads_the_same(self):
        desk = Desk(hls_cache_bytes=4 << 20, hls_resource_bytes=4 << 20)
        both = [desk.fetch("a"), desk.fetch("a")]
        in_pieces(desk.last, 4 << 20)
        slow, quick = (each.read(room=1000) for each in both)
        desk.clock.advance(MAX_PAUSE)
        quick.resume(room=1000)
        refused = desk.fetch("b")
        desk.last.answer(b"x" * 100, 1000)
        assert refused.error.reason is Reason.FULL
        assert slow.ends == quick.ends == []
        slow.reader.stopProducing()
        quick.reader.stopProducing()
        desk.close()


class TestArriving:
    def test_readers_follow_each_at_its_pace(self, desk):
        one, two = desk.fetch(), desk.fetch()
        desk.last.answer(SEGMENT[:100], len(SEGMENT))
        quick, slow = one.read(), two.read(room=50)
        assert (quick.data, slow.data) == (SEGMENT[:100], SEGMENT[:100])
        desk.last.body.bring(SEGMENT[100:2000])
        assert quick.data == SEGMENT[:100]
        desk.clock.advance(NOTIFY_INTERVAL)
        assert quick.data == SEGMENT[:2000]
        desk.last.body.bring(SEGMENT[2000:])
        assert not desk.last.body.pauses
        desk.last.body.end()
        assert quick.ends == [None]
        assert slow.data == SEGMENT[:100]
        slow.resume()
        assert (slow.data, slow.ends) == (SEGMENT, [None])

    def test_small_pieces_are_gathered(self, desk):
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:100], len(SEGMENT))
        writes = []
        fetched.resource.deliver(writes.append, lambda _: None).start()
        for at in range(100, 60_000, 100):
            desk.last.body.bring(SEGMENT[at : at + 100])
        desk.clock.advance(NOTIFY_INTERVAL)
        assert len(writes) == 2
        assert b"".join(writes) == SEGMENT[:60_000]

    def test_the_last_who_leaves_closes_the_provider(self, desk):
        one, two = desk.fetch(), desk.fetch()
        desk.last.answer(SEGMENT[:100], 10_000_000)
        takers = [one.read(), two.read()]
        takers[0].reader.stopProducing()
        takers[0].reader.stopProducing()
        assert takers[0].ends == [READER_GONE]
        assert not desk.last.body.closed
        takers[1].reader.stopProducing()
        assert desk.last.body.closed
        assert desk.fetcher.size == 0
        desk.fetch()
        assert len(desk.asked) == 2
        desk.last.fail()

    def test_but_not_if_little_is_missing(self, desk):
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:100], 100 + FINISH_BYTES)
        fetched.resource.close()
        assert not desk.last.body.closed
        desk.last.body.bring(bytes(FINISH_BYTES))
        desk.last.body.end()
        assert desk.fetch(max_age=1.0).all() == SEGMENT[:100] + bytes(FINISH_BYTES)

    def test_a_reader_that_takes_nothing_is_given_up(self):
        desk = Desk(viewer_stall_timeout=10)
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:70_000], len(SEGMENT))
        desk.last.body.bring(SEGMENT[70_000:140_000])
        desk.last.body.bring(SEGMENT[140_000:])
        desk.last.body.end()
        slow = fetched.read(room=1)
        desk.clock.advance(9)
        slow.resume(room=1)
        desk.clock.advance(9)
        assert slow.ends == []
        desk.clock.advance(2)
        assert slow.ends[0].reason is Reason.STALLED
        desk.close()

    @pytest.mark.parametrize("reason", [Reason.TRUNCATED, Reason.RESET])
    def test_a_body_cut_short_is_a_failure(self, desk, reason):
        fetched, other = desk.fetch(), desk.fetch()
        desk.last.answer(SEGMENT[:100], len(SEGMENT), end=SourceError(reason))
        taken = fetched.read()
        assert taken.data == SEGMENT[:100]
        assert taken.ends[0].reason is reason
        assert other.all().value.reason is reason
        assert desk.fetcher.size == 0

    def test_a_clean_end_that_comes_early_is_none(self, desk):
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:100], len(SEGMENT), end=SourceError(Reason.ENDED))
        assert fetched.read().ends[0].reason is Reason.TRUNCATED
        assert desk.fetcher.size == 0
        desk.fetch(max_age=FOREVER)
        assert len(desk.asked) == 2
        desk.last.fail()

    def test_without_a_length_the_end_decides(self, desk):
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:100])
        assert fetched.resource.length is None
        taken = fetched.read()
        desk.last.body.bring(SEGMENT[100:])
        desk.last.body.end()
        assert (taken.data, taken.ends) == (SEGMENT, [None])

    def test_silence(self, desk):
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:100], len(SEGMENT))
        taken = fetched.read()
        desk.clock.advance(0.9)
        desk.last.body.bring(SEGMENT[100:200])
        desk.clock.advance(0.9)
        assert taken.ends == []
        desk.clock.advance(0.2)
        assert taken.data == SEGMENT[:200]
        assert taken.ends[0].reason is Reason.STALLED
        assert desk.last.body.closed

    @pytest.mark.parametrize("page", [b"<html><head></head></html>", b"\xef\xbb\xbf\r\n<!DOCTYPE HTML><html>"])
    def test_a_web_page_is_a_failure(self, desk, page):
        fetched = desk.fetch()
        desk.last.whole(page)
        assert fetched.error.reason is Reason.NOT_VIDEO
        assert desk.fetcher.size == 0

    def test_a_key_of_sixteen_bytes(self, desk):
        fetched = desk.fetch()
        desk.last.whole(b"<" * 16)
        assert fetched.all() == b"<" * 16

    def test_nothing_at_all_is_an_empty_body(self, desk):
        fetched = desk.fetch()
        desk.last.whole(b"")
        assert (fetched.resource.length, fetched.all()) == (0, b"")

    def test_too_large_by_its_head_and_by_its_body(self):
        desk = Desk(hls_resource_bytes=1 << 20)
        fetched = desk.fetch()
        desk.last.answer(None, (1 << 20) + 1)
        assert fetched.error.reason is Reason.TOO_LARGE
        assert desk.last.body.closed
        fetched = desk.fetch()
        desk.last.answer(bytes(1 << 20))
        taken = fetched.read()
        desk.last.body.bring(b"x")
        assert taken.ends[0].reason is Reason.TOO_LARGE
        assert desk.last.body.closed
        desk.close()

    def test_reading_all_has_a_limit(self, desk):
        fetched = desk.fetch()
        desk.last.whole(SEGMENT)
        assert fetched.all(limit=1000).value.reason is Reason.TOO_LARGE

    def test_reading_all_may_be_cancelled(self, desk):
        fetched = desk.fetch()
        desk.last.answer(SEGMENT[:100])
        reading = fetched.resource.read_all(1000)
        reading.addErrback(lambda _: None)
        reading.cancel()
        assert desk.last.body.closed

    def test_stopping_ends_all(self, desk):
        waiting, fetched = desk.fetch("a"), desk.fetch("b")
        desk.last.answer(SEGMENT[:100])
        taken = fetched.read()
        desk.fetcher.stop()
        assert desk.asked[0].cancelled
        assert desk.last.body.closed
        assert waiting.error.reason is taken.ends[0].reason is Reason.STOPPING
        assert desk.fetch().error.reason is Reason.STOPPING


class TestRanges:
    def test_a_part_is_cut_from_a_whole_that_is_kept(self, desk):
        desk.fetcher.prefetch(desk_wanted(desk), None, FOREVER)
        desk.last.whole(SEGMENT)
        for part, start, stop in (
            (ByteRange(10, 19), 10, 20),
            (ByteRange(100, None), 100, len(SEGMENT)),
            (ByteRange(None, 5), len(SEGMENT) - 5, len(SEGMENT)),
            (ByteRange(0, 10**9), 0, len(SEGMENT)),
        ):
            fetched = desk.fetch("seg.ts", part, max_age=FOREVER)
            assert (fetched.resource.status, fetched.resource.length) == (206, stop - start)
            assert fetched.resource.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(SEGMENT)}"
            assert fetched.resource.first_bytes == SEGMENT[start:stop][:512]
            assert fetched.all() == SEGMENT[start:stop]
        assert len(desk.asked) == 1

    def test_a_part_that_is_not_in_there(self, desk):
        desk.fetcher.prefetch(desk_wanted(desk), None, FOREVER)
        desk.last.whole(SEGMENT)
        fetched = desk.fetch("seg.ts", ByteRange(len(SEGMENT), None), max_age=FOREVER)
        assert (fetched.resource.status, fetched.resource.length) == (416, 0)
        assert fetched.resource.headers["Content-Range"] == f"bytes */{len(SEGMENT)}"
        assert fetched.all() == b""

    def test_a_part_of_a_whole_that_is_arriving(self, desk):
        whole = desk.fetch()
        desk.last.answer(SEGMENT[:100], len(SEGMENT))
        taken = desk.fetch("seg.ts", ByteRange(50, 199)).read()
        assert taken.data == SEGMENT[50:100]
        desk.last.body.bring(SEGMENT[100:300])
        desk.clock.advance(NOTIFY_INTERVAL)
        assert (taken.data, taken.ends) == (SEGMENT[50:200], [None])
        assert len(desk.asked) == 1
        whole.resource.close()

    def test_a_part_far_ahead_is_asked_for(self, desk):
        whole = desk.fetch()
        desk.last.answer(SEGMENT[:100], 60_000_000)
        near = desk.fetch("seg.ts", ByteRange(100 + WAIT_AHEAD_BYTES, None))
        assert len(desk.asked) == 1
        near.resource.close()
        far = desk.fetch("seg.ts", ByteRange(101 + WAIT_AHEAD_BYTES, None))
        assert desk.last.byte_range == f"bytes={101 + WAIT_AHEAD_BYTES}-"
        desk.last.fail()
        assert far.error
        whole.resource.close()

    def test_a_part_is_passed_on(self, desk):
        fetched = desk.fetch("seg.ts", ByteRange(1000, 1999))
        desk.last.whole(SEGMENT[1000:2000], status=206, Content_Range="bytes 1000-1999/5000")
        assert (fetched.resource.status, fetched.resource.length) == (206, 1000)
        assert fetched.resource.headers["Content-Range"] == "bytes 1000-1999/5000"
        assert fetched.all() == SEGMENT[1000:2000]

    def test_a_provider_without_ranges_sends_all_once(self, desk):
        first = desk.fetch("seg.ts", ByteRange(0, 9), max_age=FOREVER)
        desk.last.whole(SEGMENT)
        second = desk.fetch("seg.ts", ByteRange(10, 19), max_age=FOREVER)
        assert len(desk.asked) == 1
        assert (first.resource.status, second.resource.status) == (206, 206)
        assert (first.all(), second.all()) == (SEGMENT[:10], SEGMENT[10:20])

    def test_and_without_a_length_the_end_is_waited_for(self, desk):
        fetched = desk.fetch("seg.ts", ByteRange(0, 9))
        desk.last.answer(SEGMENT[:1000])
        assert fetched.resource is None
        desk.last.body.end()
        assert fetched.resource.headers["Content-Range"] == "bytes 0-9/1000"
        assert fetched.all() == SEGMENT[:10]
        broken = desk.fetch("other.ts", ByteRange(0, 9))
        desk.last.answer(SEGMENT[:1000], end=SourceError(Reason.RESET))
        assert broken.error.reason is Reason.RESET

    @pytest.mark.parametrize(
        ("asked", "said", "length"),
        [
            (ByteRange(0, 9), None, 10),
            (ByteRange(0, 9), "bytes 0-9/*x", 10),
            (ByteRange(0, 9), "bytes 0-8/100", 10),
            (None, "bytes 10-19/100", 10),
        ],
    )
    def test_parts_that_make_no_sense(self, desk, asked, said, length):
        fetched = desk.fetch("seg.ts", asked)
        headers = {} if said is None else {"Content_Range": said}
        desk.last.answer(None, length, status=206, **headers)
        assert fetched.error.reason is Reason.BAD_HEAD
        assert desk.last.body.closed

    def test_all_of_it_as_a_part_is_the_whole(self, desk):
        fetched = desk.fetch()
        desk.last.whole(SEGMENT, status=206, Content_Range=f"bytes 0-{len(SEGMENT) - 1}/{len(SEGMENT)}")
        assert fetched.resource.status == 200
        assert "Content-Range" not in fetched.resource.headers
        assert fetched.all() == SEGMENT


class TestAhead:
    def test_what_is_fetched_ahead_is_there(self, desk):
        desk.fetcher.prefetch(desk_wanted(desk), None, FOREVER)
        desk.last.answer(SEGMENT[:100], len(SEGMENT))
        assert not desk.last.body.closed
        desk.last.body.bring(SEGMENT[100:])
        desk.last.body.end()
        assert desk.fetch(max_age=FOREVER).all() == SEGMENT
        assert len(desk.asked) == 1

    def test_it_is_bounded_and_fails_in_silence(self, desk):
        for n in range(10):
            desk.fetcher.prefetch(desk_wanted(desk, f"{n}.ts"), None, FOREVER)
        assert len(desk.asked) == 4
        for asked in desk.asked:
            asked.fail()
        desk.fetcher.prefetch(desk_wanted(desk), None, FOREVER)
        assert len(desk.asked) == 5
        desk.last.answer(SEGMENT[:100], len(SEGMENT), end=SourceError(Reason.RESET))


def desk_wanted(desk, name="seg.ts"):
    from m3uproxy.hls.http_client import ResourceRequest

    return ResourceRequest(f"http://p.example/{name}", desk.source)


class TestGrowing:
    @given(st.lists(st.integers(1, 50_000), max_size=12), st.integers(0, 5), st.data())
    def test_pieces_make_up_the_whole(self, sizes, settle, data):
        body, whole = GrowingBuffer(), b""
        for n, size in enumerate(sizes):
            piece = bytes((n,)) * size
            body.append(piece)
            whole += piece
            if n == settle:
                body.join_small_blocks()
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        assert body.read(start, stop) == whole[start:stop]
        assert body.size == len(whole)

    def test_readers_share_large_blocks(self):
        body = GrowingBuffer()
        block = bytes(70_000)
        body.append(block)
        assert body.piece(0, 70_000) is block
