"""``m3uproxy``: the commands for an operator at a shell."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

import click

from .._version import __version__

#: The commands: name, then module and attribute. A command is imported when it is used, with all that it needs.
COMMANDS = {"settings": "m3uproxy.settings.command:settings"}


class LazyGroup(click.Group):
    """A group of commands that are imported when they are used."""

    #: Names of commands, with ``module:attribute``.
    lazy_commands: Mapping[str, str] = COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, for the help."""
        return sorted({*super().list_commands(ctx), *self.lazy_commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if its name is unknown."""
        place = self.lazy_commands.get(cmd_name)
        return super().get_command(ctx, cmd_name) if place is None else _imported(place)


def _imported(place: str) -> click.Command:
    module, _, attribute = place.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command), place
    return command


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="m3uproxy")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file to read, as for twistd m3uproxy --config.")
@click.option("--json", "as_json_text", is_flag=True, help="Print JSON.")
@click.pass_context
def main(context: click.Context, config: Path | None, as_json_text: bool) -> None:
    """Inspect the configuration of the proxy. Without a command: print the settings in force.

    The daemon itself is started with "twistd m3uproxy".
    """
    if context.invoked_subcommand is None:
        context.invoke(_imported(COMMANDS["settings"]), config=config, as_json_text=as_json_text)
