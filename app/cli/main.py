"""The root of the command line: finds the command, and turns every way to end into one sentence and an exit code.

0 done · 1 the work failed · 2 wrong usage · 3 the runtime can't be reached · 4 waiting for an approval
130 interrupted (Ctrl-C) · 141 nobody reads the output any more
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from app.cli.common import Invocation, home_option, json_option
from app.cli.ending import end
from app.cli.streams import standard_streams

# Loaded by name when they are asked for: `hearth` opens the desktop without loading an HTTP client.
_COMMANDS = {
    "serve": "app.cli.serve:serve",
    "stop": "app.cli.stop:stop",
    "status": "app.cli.status:status",
    "doctor": "app.cli.doctor:doctor",
    "demo": "app.cli.demo.command:demo",
    "ask": "app.cli.ask:ask",
    "agents": "app.cli.agents:agents",
    "runs": "app.cli.runs:runs",
    "models": "app.cli.models:models",
    "limits": "app.cli.limits:limits",
    "bench": "app.cli.bench:bench",
}


class RootGroup(click.Group):
    """`hearth` and its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


def _print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"Hearth {version('hearth')}")
        except PackageNotFoundError:
            click.echo("Hearth (not installed, run from its source folder)")
        context.exit()


@click.group(
    cls=RootGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@home_option
@json_option
@click.option(
    "--background", is_flag=True, help="Without a command: start the desktop as a tray icon, with no window."
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and end.",
)
@click.pass_context
def hearth(context: click.Context, background: bool) -> int:
    """An always-on home for local AI agents.

    Without a command it opens the desktop, and starts the runtime when none runs. The commands below do the same work
    in a terminal; each has its own --help.
    """
    call = context.ensure_object(Invocation)
    if context.invoked_subcommand is not None:
        return 0
    from app.cli.desktop import open_desktop

    if call.json:
        raise click.UsageError("The desktop has no JSON output; name a command.", context)
    return open_desktop(context, call.paths.root, background=background)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code. Never raises, never shows a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    call = Invocation()
    with standard_streams():
        try:
            result = hearth.main(args=given, prog_name="hearth", standalone_mode=False, obj=call)
            sys.stdout.flush()
        except BaseException as error:  # noqa: BLE001 - the one place where every way to end is known
            return end(error, call, given)
    return result if isinstance(result, int) else 0
