"""What the child does to itself, tried in throw-away processes."""

import os
import subprocess
import sys

import pytest

from engine.host.child_process import clean_environment
from tests.engine.support import ROOT

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a Linux mechanism")


def run(code: str, *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=stdin, capture_output=True, timeout=30, check=False
    )


def test_native_output_goes_to_the_log_and_frames_stay_clean() -> None:
    result = run(
        "import os\n"
        "from engine.child.guard import private_channel\n"
        "from engine.child.faults import Faults\n"
        "incoming, outgoing = private_channel()\n"
        "Faults('noise@here').reach('here')\n"
        "print('python noise', flush=True)\n"
        "os.write(outgoing, os.read(incoming, 100))\n"
        "assert os.read(0, 1) == b''\n",
        stdin=b"frame",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == b"frame"
    for noise in (b"noise from native code", b"noise on descriptor 1", b"python noise"):
        assert noise in result.stderr


@linux_only
def test_sockets_and_programs_are_refused_by_the_kernel() -> None:
    result = run(
        "import os, socket, subprocess, sys\n"
        "from engine.child.guard import forbid_network_and_programs\n"
        "assert forbid_network_and_programs()\n"
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):\n"
        "    try:\n"
        "        socket.socket(family)\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    sys.exit(f'{family!r} was allowed')\n"
        "try:\n"
        "    os.execv(sys.executable, [sys.executable, '-c', 'pass'])\n"
        "except PermissionError:\n"
        "    print('walled', open(os.devnull).read())\n"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == b"walled"


@linux_only
def test_core_dumps_are_off_and_memory_and_files_are_limited() -> None:
    result = run(
        "import resource\n"
        "from engine.child.guard import limit_resources, MAX_OPEN_FILES\n"
        "limit_resources(400_000_000)\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= MAX_OPEN_FILES\n"
        "try:\n"
        "    bytearray(500_000_000)\n"
        "except MemoryError:\n"
        "    print('limited')\n"
    )
    assert result.stdout.strip() == b"limited", result.stderr


@linux_only
def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    result = run(
        "from engine.child.guard import die_with_parent\ndie_with_parent(999_999_999)\nprint('still here')\n"
    )
    assert (result.returncode, result.stdout) == (0, b"")


def test_the_child_sees_no_key_of_the_runtime() -> None:
    runtime = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "OPENAI_API_KEY": "canary",
        "AWS_SECRET_ACCESS_KEY": "canary",
        "ENGINE_FAULT": "kill@token",
        "LD_PRELOAD": "evil.so",
    }
    seen = clean_environment(runtime, {"EXTRA": "1"})
    assert "canary" not in seen.values()
    assert "ENGINE_FAULT" not in seen, "faults reach the child only when they are passed on purpose"
    assert "LD_PRELOAD" not in seen
    assert (seen["PATH"], seen["LC_ALL"], seen["EXTRA"]) == ("/bin", "C", "1")
    assert seen["ENGINE_PARENT_PID"] == str(os.getpid())


def test_the_engine_started_by_hand_says_what_to_start_instead() -> None:
    result = run("import runpy; runpy.run_module('engine', run_name='__main__')")
    assert result.returncode == 2
    assert b"hearth" in result.stderr
    assert b"Traceback" not in result.stderr
