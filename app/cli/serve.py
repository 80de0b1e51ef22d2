"""`hearth serve`: becomes the runtime, in the foreground, with no window."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

from app.cli.common import Invocation, home_option
from app.cli.output import say


@click.command(short_help="Run the runtime in the foreground, with no window.")
@home_option
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A GGUF model file to use instead of the built-in model.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the database's key in this file instead of the system's keyring; a new home gets a new key.",
)
@click.option("--passphrase", is_flag=True, help="Protect the database with a passphrase, asked for here.")
@click.option("--passphrase-stdin", is_flag=True, help="Read that passphrase from the standard input.")
@click.option("--insecure-no-encryption", is_flag=True, help="Keep the database unencrypted.")
@click.option(
    "--restore-backup",
    is_flag=True,
    help="If the database is damaged, put its newest backup in its place and keep the damaged file.",
)
@click.option(
    "--listen",
    metavar="127.0.0.1:PORT",
    help="Serve the models to other programs on this computer, in the ways of the OpenAI and Anthropic APIs.",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file with the key that those programs must send (default: api.key in the home); made where there is none.",
)
@click.pass_obj
def serve(
    call: Invocation,
    model: Path | None,
    key_file: Path | None,
    passphrase: bool,
    passphrase_stdin: bool,
    insecure_no_encryption: bool,
    restore_backup: bool,
    listen: str | None,
    api_key_file: Path | None,
) -> None:
    """Run the runtime in the foreground, with no window.

    Agents work as long as it runs. Ctrl-C or `hearth stop` ends it in order. The key's options are needed once, for a
    new home on a machine with no keyring; the home remembers the choice.
    """
    if call.json:
        raise click.UsageError("`serve` has no JSON output.", click.get_current_context())
    if sum((key_file is not None, passphrase, passphrase_stdin, insecure_no_encryption)) > 1:
        raise click.UsageError(
            "Choose one of --key-file, --passphrase, --passphrase-stdin and --insecure-no-encryption.",
            click.get_current_context(),
        )
    if api_key_file is not None and listen is None:
        raise click.UsageError("--api-key-file needs --listen 127.0.0.1:PORT.", click.get_current_context())
    from app.launch import LaunchOptions, runtime_command

    options = LaunchOptions(
        key_file=key_file and key_file.expanduser(),
        insecure_no_encryption=insecure_no_encryption,
        restore_backup=restore_backup,
        model=model and model.expanduser(),
        listen=listen,
        api_key_file=api_key_file and api_key_file.expanduser(),
    )
    command = runtime_command(call.paths.root, options)
    if passphrase:
        command += ["--passphrase"]
    if passphrase_stdin:
        command += ["--passphrase-stdin"]
    if sys.stdout.isatty():
        say(f"Starting Hearth for {call.paths.root}; Ctrl-C ends it.")
    _become(command)


def _become(command: list[str]) -> NoReturn:
    """Replaces this process, so that a service manager's signals and the exit code reach and come from the runtime."""
    from app.launch import runtime_environment

    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":
        sys.exit(subprocess.call(command, env=runtime_environment()))
    os.execve(command[0], command, runtime_environment())  # noqa: S606 - a list of arguments, no shell
