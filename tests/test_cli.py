"""The ``m3uproxy`` command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from daemon_process import plain_environment

from m3uproxy import __version__
from m3uproxy.cli.main import main
from m3uproxy.settings import Settings


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("m3uproxy.settings.loader.DEFAULT_FILE", tmp_path / "nowhere.toml")
    absent = {name: None for name in os.environ if name not in plain_environment()}

    def invoke(*arguments: str, **environment: str):
        return CliRunner().invoke(main, arguments, env={**absent, **environment})

    return invoke


@pytest.mark.parametrize("command", [(), ("settings",)])
def test_settings_are_printed_with_their_sources(run, tmp_path, command):
    (tmp_path / ".env").write_text("LINGER=2\n")
    (tmp_path / "x.toml").write_text('allowed_hosts = ["a.example", "b.example"]\nhls_gc_enabled = true\n')
    answer = run(*command, "--config", "x.toml", PORT="99")
    assert answer.exit_code == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in answer.stdout.splitlines()}
    assert {name.upper() for name in Settings.model_fields} <= set(rows)
    assert rows["PORT"] == "99 environment"
    assert rows["LINGER"] == "2 .env"
    assert rows["ALLOWED_HOSTS"] == f"a.example, b.example {tmp_path / 'x.toml'}"
    assert rows["RING_BYTES"] == "32MiB default"
    assert rows["HLS_GC_ENABLED"] == f"(no effect) {tmp_path / 'x.toml'}"


@pytest.mark.parametrize("command", [("--json",), ("settings", "--json")])
def test_settings_are_printed_as_json(run, command):
    answer = run(*command, PORT="99", DIRECT_WRITE="no", CORS_ORIGINS="http://a", REDIS_HOST="x")
    tree = json.loads(answer.stdout)
    assert set(tree["settings"]) == set(Settings.model_fields)
    assert tree["settings"]["port"] == {"value": 99, "source": "environment"}
    assert tree["settings"]["direct_write"]["value"] is False
    assert tree["settings"]["cors_origins"]["value"] == ["http://a"]
    assert tree["settings"]["api_token"] == {"value": None, "source": "default"}
    assert tree["no_effect"]["redis_host"]["reason"]


@pytest.mark.parametrize("command", [(), ("--json",)])
def test_secrets_are_cut(run, command):
    answer = run(*command, API_TOKEN="geheim", REDIS_PASSWORD="geheim")
    assert answer.exit_code == 0
    assert "***" in answer.stdout
    assert "geheim" not in answer.output


def test_invalid_setting_is_one_line_and_status_1(run):
    answer = run(PORT="x")
    assert answer.exit_code == 1
    allowed = "a whole number from 0 to 65535"
    assert answer.output == f"m3uproxy: PORT: 'x' (environment) cannot be used; allowed: {allowed}\n"


def test_version_is_printed(run):
    assert run("--version").stdout == f"m3uproxy, version {__version__}\n"


def test_commands_are_imported_on_use():
    code = "import sys, m3uproxy.cli.main; print('pydantic' in sys.modules, 'twisted' in sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout.split() == ["False", "False"]


def test_help_lists_the_commands(run):
    answer = run("--help")
    assert answer.exit_code == 0
    assert "settings  Print the settings" in answer.stdout


def test_unknown_command_is_refused(run):
    answer = run("nonsense")
    assert answer.exit_code == 2
    assert "No such command 'nonsense'" in answer.output
