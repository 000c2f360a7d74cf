"""The fetcher in memory, on a clock."""

from __future__ import annotations

import pytest
from fetching import FetcherRig, fetcher_rig
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.hls.uri_rewriter import ResourceKind
from m3uproxy.core.http.byte_ranges import ByteRange
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.cache import MAX_PAUSE, MAX_READING
from m3uproxy.hls.download import FINISH_BYTES, NOTIFY_INTERVAL
from m3uproxy.hls.fetcher import ERROR_MAX_AGE, RETENTION, WAIT_AHEAD_BYTES
from m3uproxy.hls.growing_buffer import GrowingBuffer

__all__ = ["fetcher_rig"]

SEGMENT = bytes(range(256)) * 1000
FOREVER = float("inf")


def in_pieces(asked, size):
    """Send a whole body in pieces of 16 KiB."""
    asked.answer(length=size)
    for _ in range(size >> 14):
        asked.body.bring(b"x" * (1 << 14))
    asked.body.end()


class TestSingleFlight:
    def test_fifty_requests_share_one_download(self, fetcher_rig):
        before = [fetcher_rig.fetch() for _ in range(25)]
        fetcher_rig.last.answer(SEGMENT[:1000], len(SEGMENT))
        after = [fetcher_rig.fetch() for _ in range(25)]
        taken = [each.read() for each in before + after]
        fetcher_rig.last.body.bring(SEGMENT[1000:])
        fetcher_rig.last.body.end()
        assert len(fetcher_rig.requests) == 1
        assert {each.data for each in taken} == {SEGMENT}
        assert all(each.ended_with == [None] for each in taken)

    def test_other_headers_other_urls_and_other_ranges_are_other_requests(self, fetcher_rig):
        fetcher_rig.fetch("a.ts")
        fetcher_rig.fetch("b.ts")
        fetcher_rig.fetch("a.ts", ByteRange(0, 9))
        fetcher_rig.fetch("a.ts", ByteRange(0, 8))
        assert [each.byte_range for each in fetcher_rig.requests] == [None, None, "bytes=0-9", "bytes=0-8"]
        for asked in fetcher_rig.requests:
            asked.fail()

    def test_requests_wait_for_the_first_bytes(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:15], len(SEGMENT))
        assert fetched.resource is None
        fetcher_rig.last.body.bring(SEGMENT[15:16])
        assert fetched.resource.first_bytes == SEGMENT[:16]
        assert (fetched.resource.status, fetched.resource.length) == (200, len(SEGMENT))
        fetched.resource.close()

    def test_failure_reaches_all_requests_and_is_not_cached(self, fetcher_rig):
        both = [fetcher_rig.fetch(max_age=FOREVER), fetcher_rig.fetch(max_age=FOREVER)]
        fetcher_rig.last.fail(Reason.FIRST_BYTE_TIMEOUT)
        assert [each.error.reason for each in both] == [Reason.FIRST_BYTE_TIMEOUT] * 2
        again = fetcher_rig.fetch(max_age=FOREVER)
        assert len(fetcher_rig.requests) == 2
        fetcher_rig.last.answer_whole(SEGMENT)
        assert again.all() == SEGMENT

    def test_failed_request_can_be_repeated_at_once(self, fetcher_rig):
        again = []
        fetcher_rig.fetch().deferred.addCallback(lambda _: again.append(fetcher_rig.fetch()))
        fetcher_rig.fetch()
        fetcher_rig.last.fail()
        assert len(fetcher_rig.requests) == 2
        fetcher_rig.last.answer_whole(SEGMENT)
        assert again[0].all() == SEGMENT

    def test_cancelled_request_leaves_others_and_the_last_closes_the_download(self, fetcher_rig):
        one, two = fetcher_rig.fetch(), fetcher_rig.fetch()
        one.deferred.cancel()
        assert not fetcher_rig.last.cancelled
        two.deferred.cancel()
        assert fetcher_rig.last.cancelled
        assert fetcher_rig.fetcher.size == 0

    def test_request_cancelled_while_waiting_requests_are_answered(self, fetcher_rig):
        one, two, three = fetcher_rig.fetch(), fetcher_rig.fetch(), fetcher_rig.fetch()
        one.deferred.addCallback(lambda _: two.deferred.cancel())
        fetcher_rig.last.answer_whole(SEGMENT)
        assert (two.resource, three.all()) == (None, SEGMENT)
        one.resource.close()

    def test_provider_statuses_are_passed_on(self, fetcher_rig):
        fetched = [fetcher_rig.fetch(max_age=FOREVER), fetcher_rig.fetch(max_age=FOREVER)]
        fetcher_rig.last.answer(status=404, Retry_After="7")
        for each in fetched:
            assert (each.resource.status, each.resource.length, each.all()) == (404, 0, b"")
            assert each.resource.headers["Retry-After"] == "7"

    def test_extra_timeout_applies_to_the_head(self, fetcher_rig):
        fetcher_rig.fetch(extra_timeout=6.0)
        assert fetcher_rig.last.limits.first_byte == 8.0
        fetcher_rig.last.fail()


class TestCache:
    def test_cached_response_is_served_up_to_its_maximum_age(self, fetcher_rig):
        first = fetcher_rig.fetch("a.m3u8")
        fetcher_rig.clock.advance(5)  # held back by the provider, and new when it comes
        fetcher_rig.last.answer_whole(b"#EXTM3U\n" * 4)
        first.resource.close()
        fetcher_rig.clock.advance(1.9)
        assert fetcher_rig.fetch("a.m3u8", max_age=2.0).all() == b"#EXTM3U\n" * 4
        fetcher_rig.clock.advance(0.2)
        young = fetcher_rig.fetch("a.m3u8", max_age=2.0)
        assert len(fetcher_rig.requests) == 2
        fetcher_rig.last.answer_whole(b"#EXTM3U\n" * 5)
        assert round(young.resource.age) == 0
        assert young.all() == b"#EXTM3U\n" * 5

    def test_maximum_age_zero_requests_each_time(self, fetcher_rig):
        for _ in range(3):
            fetched = fetcher_rig.fetch()
            fetcher_rig.last.answer_whole(SEGMENT)
            fetched.resource.close()
        assert len(fetcher_rig.requests) == 3

    def test_error_status_is_cached_for_a_moment(self, fetcher_rig):
        fetcher_rig.fetch(max_age=FOREVER)
        fetcher_rig.last.answer(status=404)
        fetcher_rig.clock.advance(ERROR_MAX_AGE - 0.1)
        assert fetcher_rig.fetch(max_age=FOREVER).resource.status == 404
        fetcher_rig.clock.advance(0.2)
        fetcher_rig.fetch(max_age=FOREVER)
        assert len(fetcher_rig.requests) == 2
        fetcher_rig.last.fail()

    def test_unrequested_entry_is_removed_after_its_retention(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer_whole(SEGMENT)
        assert fetcher_rig.fetcher.size == len(SEGMENT)
        fetched.resource.close()
        fetcher_rig.clock.pump([RETENTION / 8] * 12)
        assert fetcher_rig.fetcher.size == 0
        fetcher_rig.clock.pump([RETENTION / 8] * 4)
        assert fetcher_rig.clock.getDelayedCalls() == []

    def test_requested_entry_stays_in_the_cache(self, fetcher_rig):
        fetcher_rig.fetcher.prefetch(resource_request(fetcher_rig, "a.ts"), None, FOREVER)
        fetcher_rig.last.answer_whole(SEGMENT)
        for _ in range(8):
            fetcher_rig.clock.advance(RETENTION / 4)
            assert fetcher_rig.fetch("a.ts", max_age=FOREVER).all() == SEGMENT
        assert len(fetcher_rig.requests) == 1

    def test_least_recently_used_entry_is_removed_over_the_limit(self):
        fetcher_rig = FetcherRig(hls_cache_bytes=4 << 20, hls_resource_bytes=2 << 20)
        for name in "abc":
            fetched = fetcher_rig.fetch(name, max_age=FOREVER)
            fetcher_rig.last.answer_whole(name.encode() * (1 << 20))
            fetched.resource.close()
        assert len(fetcher_rig.fetch("a", max_age=FOREVER).all()) == 1 << 20
        fetched = fetcher_rig.fetch("d", max_age=FOREVER)
        fetcher_rig.last.answer_whole(b"d" * (2 << 20))
        fetched.resource.close()
        assert fetcher_rig.fetcher.size <= 4 << 20
        fetcher_rig.fetch("a", max_age=FOREVER)
        assert len(fetcher_rig.requests) == 4
        fetcher_rig.fetch("b", max_age=FOREVER)
        assert len(fetcher_rig.requests) == 5
        fetcher_rig.last.fail()
        fetcher_rig.fetcher.stop()
        assert fetcher_rig.clock.getDelayedCalls() == []

    def test_memory_being_read_counts_against_the_limit(self):
        fetcher_rig = FetcherRig(hls_cache_bytes=4 << 20, hls_resource_bytes=2 << 20)
        held = []
        for name in "ab":
            held.append(fetcher_rig.fetch(name))
            fetcher_rig.last.answer_whole(b"x" * (2 << 20))
        one_more = fetcher_rig.fetch("c")
        fetcher_rig.last.answer(b"x" * 100, 1000)
        assert one_more.error.reason is Reason.FULL
        assert one_more.error.player_status == 503
        assert fetcher_rig.last.body.closed
        for each in held:
            assert len(each.all()) == 2 << 20
        one_more = fetcher_rig.fetch("c")
        fetcher_rig.last.answer_whole(b"y" * 1000)
        assert one_more.all() == b"y" * 1000
        fetcher_rig.close()

    def test_paused_reader_is_aborted_if_memory_is_short(self):
        fetcher_rig = FetcherRig(hls_cache_bytes=4 << 20, hls_resource_bytes=2 << 20)
        slow, quick = fetcher_rig.fetch("a"), fetcher_rig.fetch("b")
        for asked in fetcher_rig.requests:
            in_pieces(asked, 2 << 20)
        paused, reading = slow.read(room=1000), quick.read(room=1000)
        fetcher_rig.clock.advance(MAX_PAUSE - 1)
        reading.resume(room=1000)
        refused = fetcher_rig.fetch("c")
        fetcher_rig.last.answer(b"x" * 100, 1000)
        assert refused.error.reason is Reason.FULL
        fetcher_rig.clock.advance(1)
        newest = fetcher_rig.fetch("c")
        fetcher_rig.last.answer_whole(b"y" * 1000)
        assert newest.all() == b"y" * 1000
        assert [end.reason for end in paused.ended_with] == [Reason.FULL]
        assert reading.ended_with == []
        assert fetcher_rig.fetcher.size == (2 << 20) + 1000
        reading.resume()
        assert reading.ended_with == [None]
        fetcher_rig.close()

    def test_reader_of_few_bytes_is_aborted_if_memory_is_short(self):
        fetcher_rig = FetcherRig(hls_cache_bytes=4 << 20, hls_resource_bytes=4 << 20)
        fetched = fetcher_rig.fetch("a")
        in_pieces(fetcher_rig.last, 4 << 20)
        drop = fetched.read(room=1)
        for _ in range(int(MAX_READING / 4)):
            fetcher_rig.clock.advance(4)
            drop.resume(room=1)
        assert 0 < len(drop.data) < 4 << 20
        newest = fetcher_rig.fetch("b")
        fetcher_rig.last.answer_whole(b"y" * 1000)
        assert newest.all() == b"y" * 1000
        assert [end.reason for end in drop.ended_with] == [Reason.FULL]
        fetcher_rig.close()

    def test_slow_reader_stays_while_another_reads_the_same_download(self):
        fetcher_rig = FetcherRig(hls_cache_bytes=4 << 20, hls_resource_bytes=4 << 20)
        both = [fetcher_rig.fetch("a"), fetcher_rig.fetch("a")]
        in_pieces(fetcher_rig.last, 4 << 20)
        slow, quick = (each.read(room=1000) for each in both)
        fetcher_rig.clock.advance(MAX_PAUSE)
        quick.resume(room=1000)
        refused = fetcher_rig.fetch("b")
        fetcher_rig.last.answer(b"x" * 100, 1000)
        assert refused.error.reason is Reason.FULL
        assert slow.ended_with == quick.ended_with == []
        slow.reader.stopProducing()
        quick.reader.stopProducing()
        fetcher_rig.close()


class TestDownload:
    def test_readers_follow_a_download_each_at_its_pace(self, fetcher_rig):
        one, two = fetcher_rig.fetch(), fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT))
        quick, slow = one.read(), two.read(room=50)
        assert (quick.data, slow.data) == (SEGMENT[:100], SEGMENT[:100])
        fetcher_rig.last.body.bring(SEGMENT[100:2000])
        assert quick.data == SEGMENT[:100]
        fetcher_rig.clock.advance(NOTIFY_INTERVAL)
        assert quick.data == SEGMENT[:2000]
        fetcher_rig.last.body.bring(SEGMENT[2000:])
        assert not fetcher_rig.last.body.pauses
        fetcher_rig.last.body.end()
        assert quick.ended_with == [None]
        assert slow.data == SEGMENT[:100]
        slow.resume()
        assert (slow.data, slow.ended_with) == (SEGMENT, [None])

    def test_small_pieces_are_gathered_before_readers_are_notified(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT))
        writes = []
        fetched.resource.deliver(writes.append, lambda _: None).start()
        for at in range(100, 60_000, 100):
            fetcher_rig.last.body.bring(SEGMENT[at : at + 100])
        fetcher_rig.clock.advance(NOTIFY_INTERVAL)
        assert len(writes) == 2
        assert b"".join(writes) == SEGMENT[:60_000]

    def test_last_reader_that_stops_closes_the_provider_connection(self, fetcher_rig):
        one, two = fetcher_rig.fetch(), fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], 10_000_000)
        takers = [one.read(), two.read()]
        takers[0].reader.stopProducing()
        takers[0].reader.stopProducing()
        assert [end.reason for end in takers[0].ended_with] == [Reason.UNUSED]
        assert not fetcher_rig.last.body.closed
        takers[1].reader.stopProducing()
        assert fetcher_rig.last.body.closed
        assert fetcher_rig.fetcher.size == 0
        fetcher_rig.fetch()
        assert len(fetcher_rig.requests) == 2
        fetcher_rig.last.fail()

    def test_reader_that_fails_does_not_affect_the_others(self, fetcher_rig):
        one, two = fetcher_rig.fetch(), fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT))
        ended: list[SourceError | None] = []
        one.resource.deliver(lambda data: 1 / 0, ended.append).start()
        taken = two.read()
        fetcher_rig.last.body.bring(SEGMENT[100:])
        fetcher_rig.last.body.end()
        assert [end.reason for end in ended] == [Reason.INTERNAL]
        assert (taken.data, taken.ended_with) == (SEGMENT, [None])

    def test_nearly_complete_download_goes_on_without_readers(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], 100 + FINISH_BYTES)
        fetched.resource.close()
        assert not fetcher_rig.last.body.closed
        fetcher_rig.last.body.bring(bytes(FINISH_BYTES))
        fetcher_rig.last.body.end()
        assert fetcher_rig.fetch(max_age=1.0).all() == SEGMENT[:100] + bytes(FINISH_BYTES)

    def test_stalled_reader_is_ended(self):
        fetcher_rig = FetcherRig(viewer_stall_timeout=10)
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:70_000], len(SEGMENT))
        fetcher_rig.last.body.bring(SEGMENT[70_000:140_000])
        fetcher_rig.last.body.bring(SEGMENT[140_000:])
        fetcher_rig.last.body.end()
        slow = fetched.read(room=1)
        fetcher_rig.clock.advance(9)
        slow.resume(room=1)
        fetcher_rig.clock.advance(9)
        assert slow.ended_with == []
        fetcher_rig.clock.advance(2)
        assert slow.ended_with[0].reason is Reason.STALLED
        fetcher_rig.close()

    @pytest.mark.parametrize("reason", [Reason.TRUNCATED, Reason.RESET])
    def test_truncated_body_is_a_failure(self, fetcher_rig, reason):
        fetched, other = fetcher_rig.fetch(), fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT), end=SourceError(reason))
        taken = fetched.read()
        assert taken.data == SEGMENT[:100]
        assert taken.ended_with[0].reason is reason
        assert other.all().value.reason is reason
        assert fetcher_rig.fetcher.size == 0

    def test_clean_end_before_the_length_is_a_truncation(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT), end=SourceError(Reason.ENDED))
        assert fetched.read().ended_with[0].reason is Reason.TRUNCATED
        assert fetcher_rig.fetcher.size == 0
        fetcher_rig.fetch(max_age=FOREVER)
        assert len(fetcher_rig.requests) == 2
        fetcher_rig.last.fail()

    def test_clean_end_completes_a_body_without_length(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100])
        assert fetched.resource.length is None
        taken = fetched.read()
        fetcher_rig.last.body.bring(SEGMENT[100:])
        fetcher_rig.last.body.end()
        assert (taken.data, taken.ended_with) == (SEGMENT, [None])

    def test_silent_provider_counts_as_stalled(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT))
        taken = fetched.read()
        fetcher_rig.clock.advance(0.9)
        fetcher_rig.last.body.bring(SEGMENT[100:200])
        fetcher_rig.clock.advance(0.9)
        assert taken.ended_with == []
        fetcher_rig.clock.advance(0.2)
        assert taken.data == SEGMENT[:200]
        assert taken.ended_with[0].reason is Reason.STALLED
        assert fetcher_rig.last.body.closed

    @pytest.mark.parametrize("page", [b"<html><head></head></html>", b"\xef\xbb\xbf\r\n<!DOCTYPE HTML><html>"])
    def test_web_page_is_a_failure(self, fetcher_rig, page):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer_whole(page)
        assert fetched.error.reason is Reason.NOT_VIDEO
        assert fetcher_rig.fetcher.size == 0

    def test_key_of_sixteen_bytes_is_delivered(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer_whole(b"<" * 16)
        assert fetched.all() == b"<" * 16

    def test_empty_body_is_complete(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer_whole(b"")
        assert (fetched.resource.length, fetched.all()) == (0, b"")

    def test_too_large_resource_fails_by_head_and_by_body(self):
        fetcher_rig = FetcherRig(hls_resource_bytes=1 << 20)
        fetched = fetcher_rig.fetch(kind=ResourceKind.SEGMENT)
        fetcher_rig.last.answer(None, (1 << 20) + 1)
        assert fetched.error.reason is Reason.TOO_LARGE
        assert fetcher_rig.last.body.closed
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(bytes(1 << 20))
        taken = fetched.read()
        fetcher_rig.last.body.bring(b"x")
        assert taken.ended_with[0].reason is Reason.TOO_LARGE
        assert fetcher_rig.last.body.closed
        fetcher_rig.close()

    def test_reading_all_has_a_limit(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer_whole(SEGMENT)
        assert fetched.all(limit=1000).value.reason is Reason.TOO_LARGE

    def test_reading_all_may_be_cancelled(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100])
        reading = fetched.resource.read_all(1000)
        reading.addErrback(lambda _: None)
        reading.cancel()
        assert fetcher_rig.last.body.closed

    def test_stop_fails_all_requests_and_readers(self, fetcher_rig):
        waiting, fetched = fetcher_rig.fetch("a"), fetcher_rig.fetch("b")
        fetcher_rig.last.answer(SEGMENT[:100])
        taken = fetched.read()
        fetcher_rig.fetcher.stop()
        assert fetcher_rig.requests[0].cancelled
        assert fetcher_rig.last.body.closed
        assert waiting.error.reason is taken.ended_with[0].reason is Reason.STOPPING
        assert fetcher_rig.fetch().error.reason is Reason.STOPPING


class TestRanges:
    def test_range_is_cut_from_a_cached_whole(self, fetcher_rig):
        fetcher_rig.fetcher.prefetch(resource_request(fetcher_rig), None, FOREVER)
        fetcher_rig.last.answer_whole(SEGMENT)
        for part, start, stop in (
            (ByteRange(10, 19), 10, 20),
            (ByteRange(100, None), 100, len(SEGMENT)),
            (ByteRange(None, 5), len(SEGMENT) - 5, len(SEGMENT)),
            (ByteRange(0, 10**9), 0, len(SEGMENT)),
        ):
            fetched = fetcher_rig.fetch("seg.ts", part, max_age=FOREVER)
            assert (fetched.resource.status, fetched.resource.length) == (206, stop - start)
            assert fetched.resource.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(SEGMENT)}"
            assert fetched.resource.first_bytes == SEGMENT[start:stop][:512]
            assert fetched.all() == SEGMENT[start:stop]
        assert len(fetcher_rig.requests) == 1

    def test_unsatisfiable_range_of_a_cached_whole(self, fetcher_rig):
        fetcher_rig.fetcher.prefetch(resource_request(fetcher_rig), None, FOREVER)
        fetcher_rig.last.answer_whole(SEGMENT)
        fetched = fetcher_rig.fetch("seg.ts", ByteRange(len(SEGMENT), None), max_age=FOREVER)
        assert (fetched.resource.status, fetched.resource.length) == (416, 0)
        assert fetched.resource.headers["Content-Range"] == f"bytes */{len(SEGMENT)}"
        assert fetched.all() == b""

    def test_range_of_a_whole_that_is_arriving(self, fetcher_rig):
        whole = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT))
        taken = fetcher_rig.fetch("seg.ts", ByteRange(50, 199)).read()
        assert taken.data == SEGMENT[50:100]
        fetcher_rig.last.body.bring(SEGMENT[100:300])
        fetcher_rig.clock.advance(NOTIFY_INTERVAL)
        assert (taken.data, taken.ended_with) == (SEGMENT[50:200], [None])
        assert len(fetcher_rig.requests) == 1
        whole.resource.close()

    def test_range_far_ahead_is_requested_from_the_provider(self, fetcher_rig):
        whole = fetcher_rig.fetch()
        fetcher_rig.last.answer(SEGMENT[:100], 60_000_000)
        near = fetcher_rig.fetch("seg.ts", ByteRange(100 + WAIT_AHEAD_BYTES, None))
        assert len(fetcher_rig.requests) == 1
        near.resource.close()
        far = fetcher_rig.fetch("seg.ts", ByteRange(101 + WAIT_AHEAD_BYTES, None))
        assert fetcher_rig.last.byte_range == f"bytes={101 + WAIT_AHEAD_BYTES}-"
        fetcher_rig.last.fail()
        assert far.error
        whole.resource.close()

    def test_partial_response_is_passed_on(self, fetcher_rig):
        fetched = fetcher_rig.fetch("seg.ts", ByteRange(1000, 1999))
        fetcher_rig.last.answer_whole(SEGMENT[1000:2000], status=206, Content_Range="bytes 1000-1999/5000")
        assert (fetched.resource.status, fetched.resource.length) == (206, 1000)
        assert fetched.resource.headers["Content-Range"] == "bytes 1000-1999/5000"
        assert fetched.all() == SEGMENT[1000:2000]

    def test_provider_without_ranges_sends_the_whole_once(self, fetcher_rig):
        first = fetcher_rig.fetch("seg.ts", ByteRange(0, 9), max_age=FOREVER)
        fetcher_rig.last.answer_whole(SEGMENT)
        second = fetcher_rig.fetch("seg.ts", ByteRange(10, 19), max_age=FOREVER)
        assert len(fetcher_rig.requests) == 1
        assert (first.resource.status, second.resource.status) == (206, 206)
        assert (first.all(), second.all()) == (SEGMENT[:10], SEGMENT[10:20])

    def test_range_of_a_body_without_length_waits_for_its_end(self, fetcher_rig):
        fetched = fetcher_rig.fetch("seg.ts", ByteRange(0, 9))
        fetcher_rig.last.answer(SEGMENT[:1000])
        assert fetched.resource is None
        fetcher_rig.last.body.end()
        assert fetched.resource.headers["Content-Range"] == "bytes 0-9/1000"
        assert fetched.all() == SEGMENT[:10]
        broken = fetcher_rig.fetch("other.ts", ByteRange(0, 9))
        fetcher_rig.last.answer(SEGMENT[:1000], end=SourceError(Reason.RESET))
        assert broken.error.reason is Reason.RESET

    @pytest.mark.parametrize(
        ("asked", "said", "length"),
        [
            (ByteRange(0, 9), None, 10),
            (ByteRange(0, 9), "bytes 0-9/*x", 10),
            (ByteRange(0, 9), "bytes 0-8/100", 10),
            (None, "bytes 10-19/100", 10),
            (None, "bytes 10-9007199254740991/*", None),
            (None, "bytes 0-9/100", None),
            (None, "bytes 0-9/*x", 10),
            (ByteRange(0), "bytes 0-9/*", 11),
        ],
    )
    def test_invalid_partial_responses_fail(self, fetcher_rig, asked, said, length):
        fetched = fetcher_rig.fetch("seg.ts", asked)
        headers = {} if said is None else {"Content_Range": said}
        fetcher_rig.last.answer(None, length, status=206, **headers)
        assert fetched.error.reason is Reason.BAD_HEAD
        assert fetcher_rig.last.body.closed

    def test_partial_response_of_everything_is_the_whole(self, fetcher_rig):
        fetched = fetcher_rig.fetch()
        fetcher_rig.last.answer_whole(SEGMENT, status=206, Content_Range=f"bytes 0-{len(SEGMENT) - 1}/{len(SEGMENT)}")
        assert fetched.resource.status == 200
        assert "Content-Range" not in fetched.resource.headers
        assert fetched.all() == SEGMENT


class TestGrowingResources:
    """RFC 8673: the end of a resource that is still being made is not known, and no length is promised."""

    LAST = 9_007_199_254_740_991

    @pytest.mark.parametrize("last", [LAST, 2**63 - 1, 2**64 - 1, 5_000_000_000, 99_999])
    @pytest.mark.parametrize("asked", [ByteRange(1000), ByteRange(1000, LAST)])
    def test_range_without_end_is_complete_when_its_body_ends(self, fetcher_rig, asked, last):
        fetched = fetcher_rig.fetch("part.m4s", asked)
        fetcher_rig.last.answer(SEGMENT[:1000], status=206, Content_Range=f"bytes 1000-{last}/*")
        assert (fetched.resource.status, fetched.resource.length) == (206, None)
        assert fetched.resource.headers["Content-Range"] == f"bytes 1000-{min(last, 2**63 - 2)}/*"
        taken = fetched.read()
        fetcher_rig.last.body.bring(SEGMENT[1000:3000])
        fetcher_rig.last.body.end()
        assert (taken.data, taken.ended_with) == (SEGMENT[:3000], [None])
        again = fetcher_rig.fetch("part.m4s", asked, max_age=FOREVER)
        assert (again.resource.length, again.resource.headers["Content-Range"]) == (3000, "bytes 1000-3999/*")
        assert again.all() == SEGMENT[:3000]

    def test_range_without_end_that_breaks_off_is_a_failure(self, fetcher_rig):
        taken = None
        fetched = fetcher_rig.fetch("part.m4s", ByteRange(1000))
        fetcher_rig.last.answer(SEGMENT[:1000], status=206, Content_Range=f"bytes 1000-{self.LAST}/*")
        taken = fetched.read()
        fetcher_rig.last.body.end(SourceError(Reason.TRUNCATED))
        assert [error.reason for error in taken.ended_with] == [Reason.TRUNCATED]

    def test_stated_length_counts_more_than_an_end_that_is_no_promise(self, fetcher_rig):
        fetched = fetcher_rig.fetch("part.m4s", ByteRange(1000))
        fetcher_rig.last.answer(SEGMENT[:500], 1000, status=206, Content_Range=f"bytes 1000-{self.LAST}/*")
        assert (fetched.resource.length, fetched.resource.headers["Content-Range"]) == (1000, "bytes 1000-1999/*")
        taken = fetched.read()
        fetcher_rig.last.body.end()
        assert [error.reason for error in taken.ended_with] == [Reason.TRUNCATED]

    def test_huge_total_is_no_promise(self, fetcher_rig):
        fetched = fetcher_rig.fetch("part.m4s", ByteRange(1000))
        fetcher_rig.last.answer(SEGMENT[:500], status=206, Content_Range=f"bytes 1000-{self.LAST}/{self.LAST + 1}")
        assert fetched.resource.length is None
        fetcher_rig.last.body.end()
        assert fetched.all() == SEGMENT[:500]

    def test_more_than_the_range_is_a_failure(self, fetcher_rig):
        fetched = fetcher_rig.fetch("part.m4s", ByteRange(0, 999))
        fetcher_rig.last.answer(SEGMENT[:900], status=206, Content_Range="bytes 0-999/*")
        taken = fetched.read()
        fetcher_rig.last.body.bring(SEGMENT[:101])
        assert [error.reason for error in taken.ended_with] == [Reason.TOO_LARGE]

    @pytest.mark.parametrize("said", [None, f"bytes 0-{LAST}/*", f"bytes 0-{LAST}/{LAST + 1}", "bytes 0-99999/*"])
    @pytest.mark.parametrize("length", [None, 3000])
    def test_unrequested_range_from_the_first_byte_is_the_whole(self, fetcher_rig, said, length):
        fetched = fetcher_rig.fetch("seg.m4s")
        headers = {} if said is None else {"Content_Range": said}
        fetcher_rig.last.answer(SEGMENT[:1000], length, status=206, **headers)
        assert (fetched.resource.status, fetched.resource.length) == (200, length)
        assert "Content-Range" not in fetched.resource.headers
        taken = fetched.read()
        fetcher_rig.last.body.bring(SEGMENT[1000:3000])
        fetcher_rig.last.body.end()
        assert (taken.data, taken.ended_with) == (SEGMENT[:3000], [None])


class TestPrefetch:
    def test_prefetched_resource_is_cached(self, fetcher_rig):
        fetcher_rig.fetcher.prefetch(resource_request(fetcher_rig), None, FOREVER)
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT))
        assert not fetcher_rig.last.body.closed
        fetcher_rig.last.body.bring(SEGMENT[100:])
        fetcher_rig.last.body.end()
        assert fetcher_rig.fetch(max_age=FOREVER).all() == SEGMENT
        assert len(fetcher_rig.requests) == 1

    def test_prefetches_are_limited_and_fail_silently(self, fetcher_rig):
        for n in range(10):
            fetcher_rig.fetcher.prefetch(resource_request(fetcher_rig, f"{n}.ts"), None, FOREVER)
        assert len(fetcher_rig.requests) == 4
        for asked in fetcher_rig.requests:
            asked.fail()
        fetcher_rig.fetcher.prefetch(resource_request(fetcher_rig), None, FOREVER)
        assert len(fetcher_rig.requests) == 5
        fetcher_rig.last.answer(SEGMENT[:100], len(SEGMENT), end=SourceError(Reason.RESET))


def resource_request(fetcher_rig, name="seg.ts"):
    from m3uproxy.hls.http_client import ResourceRequest

    return ResourceRequest(f"http://p.example/{name}", fetcher_rig.source)


class TestGrowingBuffer:
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
