"""Credentials of a provider and the API token stay out of logs and responses."""

from __future__ import annotations

import json
import re

import pytest
import pytest_twisted
from secret_log_check import API_TOKEN, PASSWORD, SECRETS, TOKEN, USER

from m3uproxy.log import set_level

FAULTS = (
    "burst=1",
    "status=403",
    "status=458",
    "status=500",
    "html=1",
    "redirect=other",
    "redirect=loop",
    "redirect=empty",
    "redirect=ftp",
    "refuse=1",
    "hang=head",
    "hang=body",
    "burst=1&close=100k",
    "burst=1&reset=100k",
    "burst=1&stall=100k",
)


@pytest.fixture
def log_level_debug():
    set_level("debug")
    yield
    set_level("info")


def _path(fault: str) -> str:
    return f"/live/{USER}/{PASSWORD}/1.ts?token={TOKEN}&{fault}"


async def _ask(rig, method: str, path: str, body: object = None, *headers: str):
    content = b"" if body is None else json.dumps(body).encode()
    player = await rig.ask(
        path, method=method, headers=(f"Content-Length: {len(content)}", "Connection: close", *headers)
    )
    player.transport.write(content)
    await rig.until(lambda: player.closed)
    return player


@pytest.mark.parametrize("fault", FAULTS)
@pytest_twisted.ensureDeferred
async def test_no_provider_fault_logs_credentials(rig, secret_log, log_level_debug, fault):
    await rig.start(stream_retry_attempts=1, start_timeout=2, api_token=API_TOKEN)
    url = rig.provider.url(_path(fault)).replace("http://", f"http://{USER}:{PASSWORD}@")
    before = len(secret_log.leaks)
    secret_log.lines.clear()
    stream = rig.register(
        url,
        url.replace("/1.ts", "/2.ts"),
        headers=(("Authorization", f"Bearer {TOKEN}"), ("Cookie", f"session={TOKEN}"), ("X-Any", PASSWORD)),
        metadata={"note": PASSWORD},
    )
    player = await rig.play(stream, headers=(f"X-API-Token: {API_TOKEN}", "Connection: close"))
    await rig.until(lambda: player.closed or len(player.body) > 150_000, 8)
    stream.fail_over()
    await rig.sleep(0.05)
    assert any(stream.id in line for line in secret_log.lines), "nothing was logged at all"
    assert secret_log.leaks[before:] == []
    if player.status != 200:
        assert not any(secret.encode() in player.raw for secret in SECRETS), "sent to a player"


@pytest.mark.parametrize(
    "fault", ["", "status=403", "status=500", "html=1", "redirect=loop", "only=segment&reset=1000"]
)
@pytest_twisted.ensureDeferred
async def test_no_hls_fault_logs_or_sends_credentials(rig, secret_log, log_level_debug, fault):
    await rig.start(stream_retry_attempts=1, start_timeout=2, api_token=API_TOKEN)
    path = f"/hls/{PASSWORD}/master.m3u8?vod=2&target=1&keys=1&uris=absolute&token={TOKEN}&{fault}"
    url = rig.provider.url(path).replace("http://", f"http://{USER}:{PASSWORD}@")
    before = len(secret_log.leaks)
    secret_log.lines.clear()
    stream = rig.register(url, url.replace("vod=2", "vod=1"), headers=(("Authorization", f"Bearer {TOKEN}"),))
    todo, received = [f"/hls/{stream.id}/playlist.m3u8?client_id=me"], b""
    while todo:
        player = await _ask(rig, "GET", todo.pop())
        playlist = b"#EXTM3U" in player.body
        if playlist or player.status != 200:
            received += player.raw
        if playlist:
            todo += re.findall(r'(?m)^/[^\s"]+|(?<=URI=")/[^"]+', player.body.decode("latin-1"))
    stream.fail_over()
    assert any(stream.id in line for line in secret_log.lines), "nothing was logged at all"
    assert secret_log.leaks[before:] == []
    assert not any(secret.encode() in received for secret in SECRETS), "sent to a player"


@pytest_twisted.ensureDeferred
async def test_the_api_logs_no_credentials(rig, secret_log, log_level_debug):
    await rig.start(api_token=API_TOKEN)
    secret_log.lines.clear()
    body = {"url": rig.provider.url(_path("")), "headers": {"X-Key": TOKEN}, "failover_urls": [f"ftp://{PASSWORD}"]}
    token = f"X-API-Token: {API_TOKEN}"
    assert (await _ask(rig, "POST", "/streams", body, token)).status == 422
    del body["failover_urls"]
    assert (await _ask(rig, "POST", f"/streams?api_token={API_TOKEN}", body)).status == 200
    assert (await _ask(rig, "POST", f"/streams?api_token={TOKEN}", body)).status == 403
    assert (await _ask(rig, "GET", f"/nowhere/{PASSWORD}?api_token={API_TOKEN}", None)).status == 404
    assert (await _ask(rig, "GET", f"/stream/{PASSWORD}?username={USER}", None)).status == 404
    listing = await _ask(rig, "GET", "/streams", None, token)
    assert b'"X-Key":"***"' in listing.raw
    assert secret_log.lines != []
    assert secret_log.leaks == []
