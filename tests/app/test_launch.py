"""Starting a runtime in the background, with stand-ins for the runtime; the real one is started in tests/integration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from app import launch
from app.launch import LaunchFailed, LaunchOptions, ServedAlready, end_runtime, runtime_command, start_runtime

STUB = Path(__file__).with_name("runtime_stub.py")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Lets a test choose how the started program behaves."""
    behave(monkeypatch, "serves")
    return monkeypatch


def behave(monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    def command(home: Path, _: LaunchOptions) -> list[str]:
        return [sys.executable, "-S", str(STUB), behaviour, str(home)]

    monkeypatch.setattr(launch, "runtime_command", command)


def test_the_command_names_every_option_by_its_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    options = LaunchOptions(key_file=Path("k"), model=Path("m.gguf"))
    command = runtime_command(Path("home"), options)
    assert command[1:] == [
        "-m",
        "agents",
        "--home",
        "/home",
        "--key-file",
        "/k",
        "--model",
        "/m.gguf",
    ]
    assert (
        runtime_command(Path("/h"), LaunchOptions(insecure_no_encryption=True))[-1]
        == "--insecure-no-encryption"
    )
    assert runtime_command(Path("/h"), LaunchOptions(restore_backup=True))[-1] == "--restore-backup"


def test_a_passphrase_is_no_argument_and_in_no_repr() -> None:
    options = LaunchOptions(passphrase="correct horse")
    assert "correct horse" not in " ".join(runtime_command(Path("/h"), options)) + repr(options)
    assert runtime_command(Path("/h"), options)[-1] == "--passphrase-stdin"


@pytest.mark.usefixtures("stub")
def test_it_returns_once_the_runtime_answers_and_the_runtime_has_a_session_of_its_own(
    short_dir: Path,
) -> None:
    process = start_runtime(short_dir / "home")
    try:
        assert process.poll() is None
        assert os.getsid(process.pid) == process.pid
        assert psutil.Process(process.pid).cwd() == "/"
        assert psutil.Process(process.pid).environ()["PYTHONSAFEPATH"] == "1"
    finally:
        assert end_runtime(process) == 0


def test_a_refusal_is_the_runtimes_own_sentence_and_exit_code(
    stub: pytest.MonkeyPatch, short_dir: Path
) -> None:
    behave(stub, "refuses")
    with pytest.raises(LaunchFailed) as caught:
        start_runtime(short_dir / "home")
    assert str(caught.value).startswith(f"The home directory {short_dir / 'home'} is not writable;")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("behaviour", "expected", "exit_code"),
    [
        (
            "crashes",
            "could not start because of an internal error (ImportError: no module named nonsense)",
            1,
        ),
        ("dies", "ended at once; look at", 3),
    ],
)
def test_an_end_without_a_sentence_gets_one(
    stub: pytest.MonkeyPatch, short_dir: Path, behaviour: str, expected: str, exit_code: int
) -> None:
    behave(stub, behaviour)
    with pytest.raises(LaunchFailed) as caught:
        start_runtime(short_dir / "home")
    assert expected in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert caught.value.exit_code == exit_code


def test_a_runtime_that_never_answers_is_ended(stub: pytest.MonkeyPatch, short_dir: Path) -> None:
    behave(stub, "hangs")
    with pytest.raises(LaunchFailed, match="did not answer within 0 s"):
        start_runtime(short_dir / "home", timeout_s=0.3)
    assert psutil.Process().children() == []


def test_a_start_that_is_cancelled_leaves_no_process(stub: pytest.MonkeyPatch, short_dir: Path) -> None:
    behave(stub, "hangs")
    with pytest.raises(LaunchFailed, match="cancelled"):
        start_runtime(short_dir / "home", cancelled=lambda: True)
    assert psutil.Process().children() == []


def test_an_end_beside_a_runtime_that_answers_says_so(stub: pytest.MonkeyPatch, short_dir: Path) -> None:
    first = start_runtime(short_dir / "home")
    try:
        behave(stub, "refuses")
        with pytest.raises(ServedAlready):
            start_runtime(short_dir / "home")
    finally:
        end_runtime(first)


def test_a_passphrase_goes_through_the_standard_input(stub: pytest.MonkeyPatch, short_dir: Path) -> None:
    behave(stub, "passphrase")
    with pytest.raises(LaunchFailed, match="It was correct horse"):
        start_runtime(short_dir / "home", LaunchOptions(passphrase="correct horse"))


def test_a_runtime_that_ignores_the_request_to_end_is_killed(
    stub: pytest.MonkeyPatch, short_dir: Path
) -> None:
    process = start_runtime(short_dir / "home")
    psutil.Process(process.pid).suspend()
    assert end_runtime(process, timeout_s=0.3) == -9


def test_a_program_that_can_not_be_run_is_one_sentence(stub: pytest.MonkeyPatch, short_dir: Path) -> None:
    stub.setattr(launch, "runtime_command", lambda *_: [str(short_dir / "nothing")])
    with pytest.raises(LaunchFailed, match="can't be started: No such file or directory"):
        start_runtime(short_dir / "home")
