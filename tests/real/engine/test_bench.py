"""The benchmark as a process on the built-in model: it measures, says so as JSON, and leaves nothing when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.engine.support import ROOT

COMMAND = [sys.executable, "-P", "-m", "engine.bench"]
STOPPED_S = 30.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}


def test_a_quick_look_at_one_row_is_a_whole_result(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--quick", "--repeat=1", "--row=decode_1", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["name"], row["peer"], row["met"]) == ("decode_1", None, None)
    assert row["ours"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_benchmark_that_is_stopped_leaves_no_process_and_no_file(
    number: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    # where tests run in the background, SIGINT is ignored and that is inherited; here it is meant
    unignore = "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    run = f"sys.argv = ['bench', *{['--repeat=100', '--row=decode_1']!r}]; runpy.run_module('engine.bench', run_name='__main__')"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", unignore + run], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "decode_1 …" in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(STOPPED_S) == 130
    assert said.splitlines()[-1] == "Stopped; nothing is left running."
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert list(tmp_path.iterdir()) == []
