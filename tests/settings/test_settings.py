"""Settings: precedence of sources, validation, error messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3uproxy.settings import MIB, Settings, SettingsError, load

LISTEN_ALLOWED = "endpoints that begin with tcp:, tcp6:, ssl:, unix: or systemd:, as in tcp:8085:interface=127.0.0.1"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("m3uproxy.settings.loader.DEFAULT_FILE", tmp_path / "nowhere.toml")


def test_defaults():
    chosen = load({})
    assert (chosen.host, chosen.port, chosen.root_path, chosen.log_level) == ("0.0.0.0", 8085, "/m3u-proxy", "info")
    assert chosen.api_token is None
    assert chosen.stream_timeout == 60
    assert chosen.state_dir.is_absolute()
    assert chosen.ring_bytes == 32 * MIB


def test_every_default_is_within_its_own_limits():
    """Defaults pass the validation that pydantic skips for them."""
    defaults = load({}).model_dump()
    assert load(defaults) == load({})


def test_options_win_over_environment_over_file_over_default(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("PORT=1\nLINGER=1\nTICK=0.1\nNOT_OURS=x\n")
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("LINGER", "2")
    chosen = load({"port": "3"})
    assert (chosen.port, chosen.linger, chosen.tick, chosen.join_seconds) == (3, 2, 0.1, 3)


@pytest.mark.parametrize("name", ["stream_timeout", "STREAM_TIMEOUT", "Stream_Timeout"])
def test_names_are_case_insensitive(monkeypatch, name):
    monkeypatch.setenv(name, "0")
    assert load({}).stream_timeout == 0


def test_empty_counts_as_not_set(monkeypatch):
    for name in ("PORT", "API_TOKEN", "STATE_DIR", "LOG_LEVEL", "HOST"):
        monkeypatch.setenv(name, "")
    assert load({}) == Settings()
    assert load({}).port == 8085
    monkeypatch.setenv("ROOT_PATH", "")
    assert load({}).root_path == ""


def test_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load({}).port = 1


def test_token_is_not_in_the_repr():
    chosen = load({"api_token": "geheim"})
    assert chosen.api_token.get_secret_value() == "geheim"
    assert "geheim" not in repr(chosen)


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("host", "0.0.0.0", "0.0.0.0"),
        ("host", "[::1]", "::1"),
        ("host", "::", "::"),
        ("host", "localhost", "localhost"),
        ("host", "tv-box.lan", "tv-box.lan"),
        ("log_level", "WARN", "warning"),
        ("log_level", "Debug", "debug"),
        ("root_path", "/", ""),
        ("root_path", "/a/b/", "/a/b"),
        ("root_path", "/proxy/stream", "/proxy/stream"),
        ("root_path", "/streaming", "/streaming"),
        ("redoc_url", "/my/docs", "/my/docs"),
        ("ring_bytes", "64MiB", 64 * MIB),
        ("ring_bytes", "64000000", 64_000_000),
        ("direct_write", "off", False),
        ("lag_policy", "evict", "evict"),
        ("state_dir", "~/x", Path.home() / "x"),
        ("redoc_url", "", ""),
        ("redoc_url", "/doc/", "/doc"),
        ("openapi_url", "", ""),
        ("allowed_hosts", "TV.example. , *,tv.example", ("tv.example", "*")),
        (
            "cors_origins",
            "HTTPS://Ed.example:443/, http://[::1]:80 http://a:81",
            ("https://ed.example", "http://[::1]", "http://a:81"),
        ),
        ("trusted_proxies", "10.1.2.3/8, ::1", ("10.0.0.0/8", "::1")),
        ("trusted_proxies", "none", ()),
        ("public_url", "https://TV.example/m3u-proxy/", "https://tv.example/m3u-proxy"),
        ("public_url", "http://[2001:DB8::1]:8085", "http://[2001:db8::1]:8085"),
        ("listen", "tcp:8085, unix:/a", ("tcp:8085", "unix:/a")),
        ("listen", ("unix:/a b",), ("unix:/a b",)),
    ],
)
def test_values(name, value, result):
    assert getattr(load({name: value}), name) == result


def test_relative_state_dir_is_resolved_at_start(tmp_path, monkeypatch):
    chosen = load({"state_dir": "state"})
    monkeypatch.chdir("/")
    assert chosen.state_dir == tmp_path / "state"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("port", "http", "a whole number from 0 to 65535"),
        ("port", "-1", "a whole number from 0 to 65535"),
        ("port", "1.5", "a whole number from 0 to 65535"),
        ("port", "1_8", "a whole number from 0 to 65535"),
        ("linger", "1_8", "seconds from 0 to 3600"),
        ("max_failover_attempts", "1_8", "a whole number from 0 to 1000"),
        ("ring_bytes", "64_000_000", "a number of bytes from 1048576 to 4294967296, or one with a unit as in 32MiB"),
        ("host", "1.2.3", "an IPv4 or IPv6 address or a host name"),
        ("host", "a b", "an IPv4 or IPv6 address or a host name"),
        ("log_level", "loud", "one of debug, info, warning, error, critical"),
        ("root_path", "m3u", "empty, or segments that each begin with '/' as in /m3u-proxy"),
        ("root_path", "/a//b", "empty, or segments that each begin with '/' as in /m3u-proxy"),
        ("root_path", "/..", "empty, or segments that each begin with '/' as in /m3u-proxy"),
        ("tick", "0", "seconds from 0.005 to 1"),
        ("tick", "nan", "seconds from 0.005 to 1"),
        ("linger", "inf", "seconds from 0 to 3600"),
        ("lag_policy", "wait", "one of skip, evict"),
        ("direct_write", "maybe", "true or false"),
        ("ring_bytes", "1", "a number of bytes from 1048576 to 4294967296, or one with a unit as in 32MiB"),
        ("default_user_agent", "a\nb", "printable ASCII text"),
        ("allowed_hosts", "a.example/x", "host names, separated by commas, or *"),
        ("allowed_hosts", "a.example:80", "host names, separated by commas, or *"),
        ("cors_origins", "*", "origins as in https://editor.example:8080, separated by commas"),
        ("cors_origins", "null", "origins as in https://editor.example:8080, separated by commas"),
        ("trusted_proxies", "10.0.0.0/33", "addresses and networks as in 10.0.0.0/8, separated by commas, or none"),
        ("trusted_proxies", "nginx", "addresses and networks as in 10.0.0.0/8, separated by commas, or none"),
        ("public_url", "tv.example", "a URL without user and query as in https://tv.example/m3u-proxy"),
        ("public_url", "ftp://tv.example", "a URL without user and query as in https://tv.example/m3u-proxy"),
        ("public_url", "http://tv.example:99999", "a URL without user and query as in https://tv.example/m3u-proxy"),
        ("public_url", "https://tv.example:0/x", "a URL without user and query as in https://tv.example/m3u-proxy"),
        ("redoc_url", "redoc", "empty or a path as in /redoc"),
        ("join_seconds", "601", "seconds from 0 to 600, and no more than RING_SECONDS"),
        ("join_seconds", "-1", "seconds from 0 to 600, and no more than RING_SECONDS"),
        ("listen", "http:80", LISTEN_ALLOWED),
        ("listen", "tcp", LISTEN_ALLOWED),
    ],
)
def test_invalid_value_is_refused(name, value, allowed):
    with pytest.raises(SettingsError) as refused:
        load({name: value})
    option = "--" + name.replace("_", "-")
    assert str(refused.value) == f"{name.upper()}: {value!r} (option {option}) cannot be used; allowed: {allowed}"


def test_all_errors_are_reported_at_once():
    with pytest.raises(SettingsError, match=r"^PORT: .*; LINGER: [^\n]*$"):
        load({"port": "x", "linger": "x"})


@pytest.mark.parametrize(("ring", "join"), [("2", 2), ("2.5", 2.5), ("3", 3), ("60", 3)])
def test_default_join_is_within_the_ring(ring, join):
    assert load({"ring_seconds": ring}).join_seconds == join
    assert Settings(ring_seconds=float(ring)).join_seconds == join


def test_given_join_is_kept_or_refused(monkeypatch):
    assert load({"ring_seconds": "2", "join_seconds": "1"}).join_seconds == 1
    assert load({"join_seconds": "10"}).join_seconds == 10
    allowed = "seconds from 0 to 600, and no more than RING_SECONDS"
    with pytest.raises(SettingsError) as refused:
        load({"join_seconds": "20"})
    both = "JOIN_SECONDS: '20' (option --join-seconds) cannot be used with RING_SECONDS: '10' (default)"
    assert str(refused.value) == f"{both}; allowed: {allowed}"
    monkeypatch.setenv("JOIN_SECONDS", "3")
    with pytest.raises(SettingsError) as refused:
        load({"ring_seconds": "2"})
    both = "JOIN_SECONDS: '3' (environment) cannot be used with RING_SECONDS: '2' (option --ring-seconds)"
    assert str(refused.value) == f"{both}; allowed: {allowed}"


def test_invalid_ring_is_the_only_error():
    with pytest.raises(SettingsError, match=r"^RING_SECONDS: '0' [^;]*; allowed: seconds from 1 to 600$"):
        load({"ring_seconds": "0"})


OF_THE_API = (
    "streams stream hls clients stats health info static docs test-connection webhooks broadcast transcode"
    " validate-cookies-file favicon.ico"
).split()


@pytest.mark.parametrize("segment", [*OF_THE_API, "redoc", "openapi.json"])
@pytest.mark.parametrize("rest", ["", "/", "/x"])
def test_prefix_must_not_be_a_path_of_the_api(segment, rest):
    with pytest.raises(SettingsError) as refused:
        load({"root_path": f"/{segment}{rest}"})
    assert str(refused.value) == (
        f"ROOT_PATH: '/{segment}{rest}' (option --root-path) cannot be used: /{segment} is a path of the API and would "
        "no longer be found; allowed: empty, or segments that each begin with '/' as in /m3u-proxy"
    )


@pytest.mark.parametrize("segment", OF_THE_API)
@pytest.mark.parametrize("name", ["redoc_url", "openapi_url"])
def test_page_must_not_be_a_path_of_the_api(name, segment):
    for path in (f"/{segment}", f"/{segment}/", f"/{segment}/x"):
        with pytest.raises(SettingsError, match=f"cannot be used: /{segment} is a path of the API and not free; "):
            load({name: path})


@pytest.mark.parametrize("name", ["redoc_url", "openapi_url"])
def test_page_must_not_be_the_root(name):
    with pytest.raises(SettingsError, match=f"^{name.upper()}: '/' .* cannot be used: / is a path of the API; "):
        load({name: "/"})


def test_page_must_not_be_a_route():
    """The reserved segments include those of m3u-proxy that the API does not have."""
    from m3uproxy.web.api.app import Api

    nothing = object()
    api = Api(nothing, Settings(redoc_url="", openapi_url=""), nothing, nothing, nothing, None)
    first = {operation.path.split("/")[1] for operation in api.operations} - {""}
    assert "streams" in first
    assert first <= set(OF_THE_API)


def test_pages_must_have_different_paths(monkeypatch):
    monkeypatch.setenv("OPENAPI_URL", "/redoc/")
    with pytest.raises(SettingsError) as refused:
        load({})
    assert str(refused.value) == (
        "OPENAPI_URL: '/redoc/' (environment) cannot be used with REDOC_URL: '/redoc' (default); "
        "allowed: empty or a path as in /openapi.json, other than REDOC_URL"
    )
    assert load({"redoc_url": ""}).openapi_url == "/redoc"
    assert load({"redoc_url": "", "openapi_url": ""}).openapi_url == ""


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("api_token", "geheim\n", "API_TOKEN: '***' (option --api-token) cannot be used"),
        ("public_url", "http://user:geheim@tv.example", "PUBLIC_URL: 'http://***@tv.example' (option"),
        ("public_url", "http://tv.example/?t=geheim", "PUBLIC_URL: 'http://tv.example/?t=***' (option"),
    ],
)
def test_errors_hold_no_secrets(name, value, part):
    with pytest.raises(SettingsError) as refused:
        load({name: value})
    assert part in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("name", ["state_dir", "config_file"])
def test_unknown_home_directory_is_refused(name):
    with pytest.raises(
        SettingsError, match=rf"^{name.upper()}: '~nobody-at-all/x'.*the home directory of that user is unknown"
    ):
        load({name: "~nobody-at-all/x"})


def test_dot_env_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"^\.env: cannot be read: [^\n]+$"):
        load({})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(Settings.model_fields)), value=st.text())
def test_any_text_is_accepted_or_refused_in_one_line(name, value):
    message = None
    try:
        load({name: value})
    except SettingsError as refused:
        message = str(refused)
    if message is not None:
        assert message.startswith(f"{name.upper()}: ")
        assert len(message.splitlines()) == 1
