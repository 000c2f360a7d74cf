"""The settings loader: the TOML file, the origin of values, reloads, and settings without effect."""

from __future__ import annotations

import os
import re

import pytest

from m3uproxy.core.slots.accounts import Account
from m3uproxy.settings import (
    FOR_NEW_STREAMS,
    MIB,
    NEED_RESTART,
    NO_EFFECT,
    Settings,
    SettingsError,
    SettingsLoader,
    apply_reload,
    display_value,
    load,
    no_effect_notes,
)

#: Settings of m3u-proxy (its wire contract, section 3.11), and further settings of its compose files.
OF_M3U_PROXY = """
HOST PORT LOG_LEVEL APP_DEBUG RELOAD DOCS_URL REDOC_URL OPENAPI_URL ROOT_PATH API_TOKEN CLIENT_TIMEOUT STREAM_TIMEOUT
CLEANUP_INTERVAL SHARED_STREAM_TIMEOUT SHARED_STREAM_GRACE STREAM_SHARING_STRATEGY DEFAULT_USER_AGENT
DEFAULT_CONNECTION_TIMEOUT DEFAULT_READ_TIMEOUT DEFAULT_MAX_RETRIES DEFAULT_BACKOFF_FACTOR
DEFAULT_HEALTH_CHECK_INTERVAL DEFAULT_RETRY_ATTEMPTS DEFAULT_RETRY_DELAY VOD_READ_TIMEOUT VOD_WRITE_TIMEOUT
LIVE_TV_WRITE_TIMEOUT ENABLE_CONNECTION_IDLE_MONITORING CONNECTION_IDLE_ALERT_THRESHOLD
CONNECTION_IDLE_ERROR_THRESHOLD TEMP_DIR LOG_FILE LIVE_CHUNK_TIMEOUT_SECONDS STREAM_RETRY_ATTEMPTS STREAM_RETRY_DELAY
STREAM_RETRY_EXPONENTIAL_BACKOFF STREAM_TOTAL_TIMEOUT MAX_FAILOVER_ATTEMPTS STRICT_LIVE_TS
STRICT_LIVE_TS_PREBUFFER_SIZE STRICT_LIVE_TS_PREBUFFER_TIMEOUT STRICT_LIVE_TS_CIRCUIT_BREAKER_TIMEOUT
STRICT_LIVE_TS_CIRCUIT_BREAKER_COOLDOWN ENABLE_BITRATE_MONITORING MIN_BITRATE_THRESHOLD BITRATE_CHECK_INTERVAL
BITRATE_FAILOVER_THRESHOLD BITRATE_MONITORING_GRACE_PERIOD ENABLE_SILENCE_DETECTION SILENCE_THRESHOLD_DB
SILENCE_DURATION SILENCE_CHECK_INTERVAL SILENCE_FAILOVER_THRESHOLD SILENCE_MONITORING_GRACE_PERIOD STREAMLINK_ENABLED
YTDLP_ENABLED USE_STICKY_SESSION REDIS_ENABLED ENABLE_TRANSCODING_POOLING REDIS_HOST REDIS_SERVER_PORT REDIS_DB
REDIS_PASSWORD REDIS_URL MAX_CLIENTS_PER_SHARED_STREAM CHANGE_BUFFER_CHUNKS WORKER_ID HEARTBEAT_INTERVAL HLS_TEMP_DIR
HLS_WAIT_TIME HLS_GC_ENABLED HLS_GC_INTERVAL HLS_GC_AGE_THRESHOLD HLS_BROADCAST_DIR DVR_RECORDING_DIR
BROADCAST_GC_ENABLED BROADCAST_CALLBACK_TIMEOUT BROADCAST_MAX_START_RETRIES BROADCAST_START_RETRY_WINDOW
BROADCAST_START_RETRY_COOLDOWN BROADCAST_START_FAILURE_GRACE HW_ACCEL_AVAILABLE HW_ACCEL_TYPE HW_ACCEL_DEVICE
REDIS_PORT ENABLE_REDIS_POOLING
"""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower() in {*Settings.model_fields, *NO_EFFECT}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("m3uproxy.settings.loader.DEFAULT_FILE", tmp_path / "default.toml")


@pytest.fixture
def toml(tmp_path):
    """Return a function that writes the default TOML file."""

    def write(text: str):
        path = tmp_path / "default.toml"
        path.write_text(text)
        return path

    return write


class TestToml:
    def test_values_of_all_types(self, toml):
        path = toml(
            'port = 1\nlinger = 1.5\ndirect_write = false\nring_bytes = "64MiB"\nroot_path = ""\n'
            'allowed_hosts = ["a.example", "b.example"]\ntrusted_proxies = []\nlisten = ["unix:/a b"]\n'
        )
        chosen = load({})
        assert (chosen.port, chosen.linger, chosen.direct_write, chosen.ring_bytes) == (1, 1.5, False, 64 * MIB)
        assert (chosen.root_path, chosen.allowed_hosts, chosen.trusted_proxies) == ("", ("a.example", "b.example"), ())
        assert chosen.listen == ("unix:/a b",)
        assert chosen.config_file == path

    def test_other_sources_override_the_file(self, toml, tmp_path, monkeypatch):
        toml("port = 4\nlinger = 4\ntick = 0.4\njoin_wait = 4\n")
        (tmp_path / ".env").write_text("PORT=3\nLINGER=3\nTICK=0.3\n")
        monkeypatch.setenv("Port", "2")
        monkeypatch.setenv("LINGER", "2")
        loaded = SettingsLoader({"port": "1"}).read()
        chosen = loaded.settings
        assert (chosen.port, chosen.linger, chosen.tick, chosen.join_wait) == (1, 2, 0.3, 4)
        assert loaded.origins == {
            "port": "option --port",
            "linger": "environment",
            "tick": ".env",
            "join_wait": str(tmp_path / "default.toml"),
        }

    @pytest.mark.parametrize("way", ["option", "environment", ".env"])
    def test_file_can_be_named(self, toml, tmp_path, monkeypatch, way):
        toml("port = 1\n")
        (tmp_path / "mine.toml").write_text("port = 2\n")
        if way == "environment":
            monkeypatch.setenv("CONFIG_FILE", "mine.toml")
        elif way == ".env":
            (tmp_path / ".env").write_text("CONFIG_FILE=mine.toml\n")
        sources = SettingsLoader({"config_file": "mine.toml"} if way == "option" else {})
        monkeypatch.chdir("/")
        assert sources.read().settings.port == 2

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("prot = 1\n", r"{file}: 'prot' is not a setting; the closest one is 'port'"),
            ("PORT = 1\n", r"{file}: 'PORT' is not a setting; the closest one is 'port'"),
            ("[server]\nport = 1\n", r"{file}: 'server' is not a setting; the closest one is '\w+'"),
            ("config_file = 'x'\n", r"{file}: 'config_file' is not a setting; the closest one is '\w+'"),
            ("port = \n", r"CONFIG_FILE: '{file}' is not TOML: .*line 1.*"),
            ("port = true\n", r"PORT: 'true' \({file}\) cannot be used; allowed: a whole number from 0 to 65535"),
            ("linger = true\n", r"LINGER: 'true' \({file}\) cannot be used; allowed: seconds from 0 to 3600"),
            ("port = [1]\n", r"PORT: '1' \({file}\) cannot be used; allowed: a whole number from 0 to 65535"),
            ("api_token = 77777\n", r"API_TOKEN: '\*\*\*' \({file}\) cannot be used; allowed: printable text"),
            ("allowed_hosts = [1]\n", r"ALLOWED_HOSTS: '1' \({file}\) cannot be used; allowed: host names, .*"),
        ],
    )
    def test_invalid_file_is_refused(self, toml, text, said):
        file = re.escape(str(toml(text)))
        with pytest.raises(SettingsError) as refused:
            load({})
        assert re.fullmatch(said.replace("{file}", file), str(refused.value))

    def test_missing_named_file_is_refused(self, tmp_path):
        with pytest.raises(
            SettingsError, match=r"^CONFIG_FILE: '.*/no.toml' cannot be read: No such file or directory$"
        ):
            load({"config_file": "no.toml"})

    def test_file_that_is_not_utf8_is_refused(self, tmp_path):
        (tmp_path / "default.toml").write_bytes(b"port = '\xff'")
        with pytest.raises(SettingsError, match=r"^CONFIG_FILE: '[^']*' is not TOML: [^\n]*$"):
            load({})

    def test_settings_without_effect_are_no_error(self, toml):
        toml("redis_enabled = false\n")
        assert list(SettingsLoader({}).read().without_effect) == ["redis_enabled"]


class TestProviders:
    def test_tables(self, toml, monkeypatch):
        monkeypatch.setenv("PROVIDER", "of another program")
        toml(
            '[[provider]]\nname = "acme"\nhosts = ["*.acme.tv"]\nmax_connections = 2\n'
            '[[provider]]\nname = "ann"\naccount = "ann7"\n'
        )
        acme, ann = load({}).providers
        assert acme.counted_account == Account("acme", 2)
        assert ann.counted_account == Account("ann", None)
        assert acme.matches("http://x.acme.tv/1.ts")
        assert ann.matches("http://beta.tv/live/ann7/pw/1.ts")

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ('name = "a"', "a provider has neither hosts nor account"),
            ('name = "a"\nhosts = ["b"]\n[[provider]]\nname = "a"\naccount = "c"', "two providers have the same name"),
            ('name = "a"\nhosts = ["b"]\nlimit = 1', "PROVIDER"),
            ('name = "a"\naccount = "ann7"\nmax_connections = -1', "PROVIDER"),
        ],
    )
    def test_invalid_table_is_refused(self, toml, table, said):
        toml(f"[[provider]]\n{table}\n")
        with pytest.raises(SettingsError) as refused:
            load({})
        assert said in str(refused.value)
        assert "each with a name of its own" in str(refused.value)
        assert "ann7" not in str(refused.value)

    def test_account_is_not_displayed(self, toml):
        toml('[[provider]]\nname = "a"\naccount = "ann7"\n')
        assert "ann7" not in display_value("provider", load({}).provider)


class TestIgnored:
    def test_every_setting_of_m3u_proxy_is_known(self):
        known = {*Settings.model_fields, *NO_EFFECT}
        assert not {name.lower() for name in OF_M3U_PROXY.split()} - known
        assert not set(Settings.model_fields) & set(NO_EFFECT)

    def test_one_note_for_each_reason(self, monkeypatch):
        monkeypatch.setenv("REDIS_HOST", "a")
        monkeypatch.setenv("REDIS_DB", "0")
        monkeypatch.setenv("RELOAD", "")
        monkeypatch.setenv("DOCS_URL", "/docs")
        loaded = SettingsLoader({}).read()
        assert loaded.without_effect == dict.fromkeys(("redis_host", "redis_db", "docs_url"), "environment")
        assert sorted(no_effect_notes({*loaded.without_effect})) == [
            "DOCS_URL is set but has no effect: the documentation is always at /docs",
            "REDIS_HOST, REDIS_DB are set but have no effect: one process serves all streams, without Redis",
        ]

    def test_unknown_environment_variables_are_ignored(self, monkeypatch):
        monkeypatch.setenv("PROT", "1")
        loaded = SettingsLoader({}).read()
        assert not loaded.origins
        assert not loaded.without_effect


class TestReload:
    def test_shared_object_is_changed(self):
        settings = load({"linger": "1"})
        changed, waiting = apply_reload(settings, load({"linger": "2", "log_level": "debug"}))
        assert (settings.linger, settings.log_level) == (2, "debug")
        assert changed == ["LOG_LEVEL: 'info' -> 'debug'", "LINGER: '1' -> '2'"]
        assert waiting == []

    def test_settings_that_need_a_restart_stay(self):
        settings = load({})
        changed, waiting = apply_reload(settings, load({"port": "1", "tick": "0.1"}))
        assert (settings.port, settings.tick) == (8085, 0.08)
        assert changed == []
        assert waiting == ["PORT: '8085' -> '1'", "TICK: '0.08' -> '0.1'"]

    def test_secrets_are_cut(self):
        settings = load({"api_token": "vorher"})
        changed, _ = apply_reload(settings, load({"api_token": "nachher"}))
        assert changed == ["API_TOKEN: '***' -> '***'"]
        assert settings.api_token.get_secret_value() == "nachher"

    def test_equal_settings_change_nothing(self):
        assert apply_reload(load({}), load({})) == ([], [])

    def test_settings_that_are_given_are_known_after_a_reload(self):
        settings = load({})
        apply_reload(settings, load({"live_chunk_timeout_seconds": "3"}))
        assert "live_chunk_timeout_seconds" in settings.model_fields_set
        apply_reload(settings, load({}))
        assert "live_chunk_timeout_seconds" not in settings.model_fields_set

    def test_the_lists_name_settings(self):
        assert set(Settings.model_fields) >= NEED_RESTART
        assert set(Settings.model_fields) >= FOR_NEW_STREAMS
        assert not NEED_RESTART & FOR_NEW_STREAMS
