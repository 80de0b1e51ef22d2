"""`hearth bench`: starts a benchmark in a process of its own and becomes it, so that its output and its end are its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

from app.cli.common import Invocation, WrongInput, shared_options


@click.group(short_help="Measure Hearth on this machine.")
def bench() -> None:
    """Measure Hearth on this machine, beside other programs where you name some."""


@bench.command(short_help="Measure the engine: speed, waiting times, cost.")
@shared_options
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME[=PATH]",
    help="Compare with llama-server=PATH (`make bench-peer` builds one) or llama-cpp-python; can be repeated.",
)
@click.option("--row", "rows", multiple=True, metavar="NAME", help="Measure only this row; can be repeated.")
@click.option("--repeat", type=click.IntRange(1, 100), metavar="N", help="Samples of each measurement.")
@click.option("--quick", is_flag=True, help="A short look; the numbers are rougher.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A GGUF model file to use instead of the built-in model.",
)
def engine(
    call: Invocation,
    peers: tuple[str, ...],
    rows: tuple[str, ...],
    repeat: int | None,
    quick: bool,
    model: Path | None,
) -> None:
    """Measure the engine: speed, waiting times, and what it costs the rest of the machine.

    Takes some minutes, longer on a busy machine. Nothing of your home is touched: it works in a temporary folder with an engine of its own.
    The exit code is 1 when a goal was missed. Without --peer the rows that compare with another program have no ratio.
    """
    command = [sys.executable, "-P", "-m", "engine.bench"]
    for name, values in (("--peer", peers), ("--row", rows)):
        command += [f"{name}={value}" for value in values]
    if repeat is not None:
        command.append(f"--repeat={repeat}")
    if model is not None:
        command.append(f"--model={model}")
    command += ["--quick"] * quick + ["--json"] * call.json
    _become(command)


@bench.command(short_help="Measure the schedule: due times, waiting, history.")
@shared_options
@click.option("--row", "rows", multiple=True, metavar="NAME", help="Measure only this row; can be repeated.")
@click.option("--quick", is_flag=True, help="A short look; the numbers are rougher.")
def scheduler(call: Invocation, rows: tuple[str, ...], quick: bool) -> None:
    """Measure the schedule: from due times to runs, what waiting costs, and a long history.

    A day of 10,000 due times is lived through on a clock that leaps from one to the next. Nothing of your home is touched: it
    works in temporary homes with runtimes of their own. The exit code is 1 when a goal was missed.
    """
    command = [sys.executable, "-P", "-m", "agents.bench", *(f"--row={value}" for value in rows)]
    command += ["--quick"] * quick + ["--json"] * call.json
    _become(command)


def _become(command: list[str]) -> NoReturn:
    """Replaces this process, so that Ctrl-C reaches the benchmark alone and its exit code is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform == "win32":
        sys.exit(subprocess.call(command))
    try:
        os.execv(command[0], command)  # noqa: S606 - a list of arguments, no shell
    except ValueError:
        raise WrongInput("A name holds a zero byte, which no file's name can.") from None
