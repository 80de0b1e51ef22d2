"""Faults happen where they were asked for and nowhere else."""

import signal
import subprocess
import sys

import pytest

from engine.child.faults import Faults
from tests.engine.support import ROOT


def test_without_a_description_nothing_happens() -> None:
    Faults().reach("token", "1")
    Faults.from_environment({}).reach("selftest")


@pytest.mark.parametrize("text", ["kill", "kill@", "explode@token", "@token"])
def test_a_wrong_description_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ACTION@POINT"):
        Faults(text)


@pytest.mark.parametrize(
    ("action", "number"),
    [("segv", signal.SIGSEGV), ("abort", signal.SIGABRT), ("kill", signal.SIGKILL)],
)
def test_a_fault_fires_at_its_point_and_tag_only(action: str, number: signal.Signals) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "from engine.child.faults import Faults\n"
        f"faults = Faults('noise@nowhere,{action}@token:5')\n"
        "faults.reach('prefill', '5'); faults.reach('token', '4'); print('alive', flush=True)\n"
        "faults.reach('token', '5'); print('too late', flush=True)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30, check=False
    )
    assert result.stdout == b"alive\n"
    assert result.returncode == -number
