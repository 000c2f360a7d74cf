"""The rules of a stream, from its registration and the settings."""

from __future__ import annotations

import attrs
import pytest

from m3uproxy.core.http.redirects import first_hop
from m3uproxy.settings import Settings
from m3uproxy.settings.model import ProviderTable
from m3uproxy.streams.context import failover_policy, source_requests
from m3uproxy.streams.spec import StreamSpec


def test_strict_streams_avoid_a_stalled_source_for_longer() -> None:
    settings = Settings(strict_live_ts_circuit_breaker_cooldown=90)
    assert failover_policy(settings, strict=True).stall_cool_down == 90
    assert failover_policy(settings).stall_cool_down != 90


def test_each_source_has_a_request() -> None:
    spec = StreamSpec("http://a/1.ts", "TV/1", failover_urls=("http://b/1.ts",), provider="home", max_connections=1)
    requests = source_requests(spec, Settings())
    assert [request.url for request in requests] == ["http://a/1.ts", "http://b/1.ts"]
    assert {request.user_agent for request in requests} == {"TV/1"}


def test_headers_behind_a_url_belong_to_that_source() -> None:
    piped = "http://b/1.m3u8 |User-Agent=VLC%2F3&X-Key=theirs&Referer=http://x/"
    spec = StreamSpec("http://a/1.ts", "TV/1", (("x-key", "ours"),), (piped,), max_connections=1)
    first, second = source_requests(spec, Settings())
    assert first.headers == (("x-key", "ours"),)
    assert second.url == "http://b/1.m3u8"
    assert second.headers == (("User-Agent", "VLC/3"), ("Referer", "http://x/"), ("x-key", "ours"))
    assert second.account is not None
    assert second.account.intermittent, "HLS"
    sent = dict(first_hop(second.url, second.user_agent, second.headers).headers)
    assert sent["User-Agent"] == "VLC/3"


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize("table", [True, False, None])
@pytest.mark.parametrize("own", [True, False, None])
def test_verification_of_the_stream_goes_before_table_and_setting(
    own: bool | None, table: bool | None, setting: bool
) -> None:
    entries = [ProviderTable(name="a", hosts=("a",), verify_tls=table)]
    settings = Settings(provider=entries, verify_tls=setting)
    spec = StreamSpec("https://a/1.ts", "TV/1", failover_urls=("https://b/1.ts",), verify_tls=own)
    listed, other = source_requests(spec, settings)
    outside = own if own is not None else setting
    assert listed.verify_tls is (own if own is not None else table if table is not None else setting)
    assert other.verify_tls is outside
    assert listed.verify_tls_elsewhere is other.verify_tls_elsewhere is setting
    named = source_requests(attrs.evolve(spec, provider="a"), settings)
    assert named[1].verify_tls is listed.verify_tls


def test_failover_policy_follows_the_settings() -> None:
    made = failover_policy(Settings(stream_retry_attempts=0, start_timeout=20, stream_total_timeout=0))
    assert made.laps == 1
    assert made.start == 19
    assert made.total == 0
