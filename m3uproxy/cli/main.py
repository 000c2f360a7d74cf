"""``m3uproxy``: what an operator asks from a shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .._version import __version__
from ..settings.display import as_json, shown
from ..settings.ignored import NO_EFFECT
from ..settings.loader import LoadedSettings, Settings, SettingsError, SettingsLoader

_CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file to read, as for twistd m3uproxy --config."
)
_JSON = click.option("--json", "as_json_text", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="m3uproxy")
@_CONFIG
@_JSON
@click.pass_context
def main(context: click.Context, config: Path | None, as_json_text: bool) -> None:
    """Look after the proxy. Without a command: print the settings in force.

    The daemon itself is started with "twistd m3uproxy".
    """
    if context.invoked_subcommand is None:
        _print_settings(config, as_json_text)


@main.command()
@_CONFIG
@_JSON
def settings(config: Path | None, as_json_text: bool) -> None:
    """Print the settings as a daemon would read them here: name, value, and where it comes from.

    Tokens, and users and passwords in URLs, are cut.
    """
    _print_settings(config, as_json_text)


def _print_settings(config: Path | None, as_json_text: bool) -> None:
    try:
        loaded = SettingsLoader({} if config is None else {"config_file": config}).read()
    except SettingsError as error:
        click.echo(f"m3uproxy: {error}", err=True)
        raise SystemExit(1) from None
    click.echo(json.dumps(_tree(loaded), indent=2) if as_json_text else _table(loaded))


def _tree(loaded: LoadedSettings) -> dict[str, Any]:
    return {
        "settings": {
            name: {
                "value": as_json(name, getattr(loaded.settings, name)),
                "source": loaded.origins.get(name, "default"),
            }
            for name in Settings.model_fields
        },
        "no_effect": {
            name: {"source": origin, "reason": NO_EFFECT[name]} for name, origin in loaded.without_effect.items()
        },
    }


def _table(loaded: LoadedSettings) -> str:
    rows = [
        (name.upper(), shown(name, getattr(loaded.settings, name)), loaded.origins.get(name, "default"))
        for name in Settings.model_fields
    ]
    rows += [(name.upper(), "(no effect)", origin) for name, origin in loaded.without_effect.items()]
    first = max(len(row[0]) for row in rows)
    second = min(44, max(len(row[1]) for row in rows))
    return "\n".join(f"{name:<{first}}  {value:<{second}}  {origin}" for name, value, origin in rows)
