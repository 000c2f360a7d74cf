"""The command ``m3uproxy settings``: print the settings that a daemon would read in this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .display import display_value, json_value
from .ignored import NO_EFFECT
from .loader import LoadedSettings, SettingsError, SettingsLoader
from .model import Settings


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="TOML file to read, as for twistd m3uproxy --config.")
@click.option("--json", "as_json_text", is_flag=True, help="Print JSON.")
def settings(config: Path | None, as_json_text: bool) -> None:
    """Print the settings as a daemon would read them here: name, value, and where it comes from.

    Tokens, and users and passwords in URLs, are cut.
    """
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
                "value": json_value(name, getattr(loaded.settings, name)),
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
        (name.upper(), display_value(name, getattr(loaded.settings, name)), loaded.origins.get(name, "default"))
        for name in Settings.model_fields
    ]
    rows += [(name.upper(), "(no effect)", origin) for name, origin in loaded.without_effect.items()]
    first = max(len(row[0]) for row in rows)
    second = min(44, max(len(row[1]) for row in rows))
    return "\n".join(f"{name:<{first}}  {value:<{second}}  {origin}" for name, value, origin in rows)
