"""The running daemon conforms to its description: valid and invalid requests generated from ``/openapi.json``."""

from __future__ import annotations

import pytest
import schemathesis
from daemon_process import Daemon
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

TOKEN = "s3cret"
EXAMPLES = 12
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: A URL without a server: connections are refused at once.
NOWHERE = "http://127.0.0.1:9/live/1.ts"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live") / "cwd"
    folder.mkdir()
    running = Daemon(folder, API_TOKEN=TOKEN, STREAM_TIMEOUT="60", STREAM_RETRY_ATTEMPTS="1", START_TIMEOUT="2")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def schema(daemon):
    return schemathesis.openapi.from_url(f"{daemon.base()}/openapi.json")


def operations(schema):
    return {f"{one.ok().method.upper()} {one.ok().path}": one.ok() for one in schema.get_all_operations()}


def registered_stream(daemon) -> str:
    """Register a stream and return its id."""
    body = {"url": NOWHERE, "failover_urls": [NOWHERE], "metadata": {"id": 7}}
    return daemon.ask("/streams", body, headers={"X-API-Token": TOKEN})["stream_id"]


def use_existing_objects(case, daemon) -> None:
    """Change a generated request so that its stream, file or URL exists."""
    if "stream_id" in (case.path_parameters or {}):
        case.path_parameters["stream_id"] = registered_stream(daemon)
    if "name" in (case.path_parameters or {}):
        case.path_parameters["name"] = "logo.png"
    if case.path == "/streams" and isinstance(case.body, dict):
        case.body.update(url=NOWHERE, failover_urls=[NOWHERE], failover_resolver_url=None, headers={"A": "b"})
    if "metadata" in case.path:
        registered_stream(daemon)
        case.query = {**(case.query or {}), "field": "id", "value": "7"}


def send(case, daemon, headers) -> int:
    if case.path == "/test-connection" and isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
        case.body["url"] = NOWHERE
    response = case.call(base_url=daemon.base(), headers=headers, timeout=10)
    case.validate_response(response, checks=CHECKS)
    assert response.status_code not in (400, 500), response.text
    return response.status_code


@pytest.mark.exhaustive
def test_every_operation_conforms_to_its_description(daemon, schema):
    seen: dict[str, set[int]] = {}
    for name, operation in operations(schema).items():
        statuses = seen.setdefault(name, set())
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            if mode is schemathesis.GenerationMode.NEGATIVE and not operation.definition.raw.get("requestBody"):
                continue
            attempt(operation.as_strategy(generation_mode=mode), daemon, statuses)
    assert "POST /test-connection" in seen
    # Media needs a provider, and this test has none.
    played = ("/stream/{stream_id}", "/playlist.m3u8", "/segment.ts", "/segment")
    missing = {name for name, statuses in seen.items() if 200 not in statuses and not name.endswith(played)}
    assert missing == set()
    assert {404, 502} <= seen["GET /stream/{stream_id}"]
    assert {200, 404} <= seen["GET /streams/{stream_id}"]
    assert 422 in seen["POST /streams"]
    assert daemon.ask("/health", headers={"X-API-Token": TOKEN})["status"] == "healthy"


def attempt(strategy, daemon, statuses: set[int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, real=st.booleans())
    def one(case, real):
        if real:
            use_existing_objects(case, daemon)
        statuses.add(send(case, daemon, {"X-API-Token": TOKEN}))

    one()


def test_guarded_operations_need_the_token(daemon, schema):
    for name, operation in operations(schema).items():
        guarded = operation.definition.raw.get("security") != []
        statuses: set[int] = set()

        @settings(
            max_examples=1, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy())
        def one(case):
            statuses.add(send(case, daemon, {}))  # noqa: B023

        one()
        assert (statuses == {401}) == guarded, name


def test_requests_cause_no_internal_error(daemon):
    text = daemon.log.read_text()
    assert "Traceback" not in text
    assert "#error" not in text
    assert "#critical" not in text
    assert TOKEN not in text
