"""When the set-up does something and when it does not, and what it says when it cannot go on."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from steps import sequence
from steps.environment import Environment
from steps.failure import SetupFailed
from steps.libraries import Missing
from steps.sequence import Setup, set_up

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what the set-up reads, and an environment that looks finished."""
    shutil.copytree(ROOT / "packaging", tmp_path / "packaging", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "hearth").touch()
    (programs / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("version = 3.11.7\n")
    return tmp_path


def mark_done(checkout: Path, name: str) -> None:
    setup = Setup(root=checkout, for_tests=name == "test", wanted_python=None)
    Environment(checkout / ".venv", setup._runner).state.record(name, setup._stamp())


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the set-up at its first step, so that a test sees whether it began."""

    def began(*_: object, **__: object) -> None:
        raise SetupFailed("began", 99)

    monkeypatch.setattr(Setup, "_system_libraries", began)


@pytest.mark.usefixtures("at_work")
def test_a_finished_set_up_does_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]):
    mark_done(checkout, "run")
    assert set_up(checkout, for_tests=False, wanted_python=None) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("at_work")
def test_what_is_ready_for_tests_is_ready_to_run_but_not_the_other_way_round(checkout: Path):
    mark_done(checkout, "test")
    assert set_up(checkout, for_tests=False, wanted_python=None) == 0
    Environment(
        checkout / ".venv", Setup(root=checkout, for_tests=True, wanted_python=None)._runner
    ).state.forget("test")
    mark_done(checkout, "run")
    assert set_up(checkout, for_tests=True, wanted_python=None) == 99


@pytest.mark.usefixtures("at_work")
@pytest.mark.parametrize(
    "changed",
    [
        "pyproject.toml",
        "packaging/requirements/hearth.txt",
        "packaging/engine_only.cmake",
        "packaging/steps/toolchain.py",
    ],
)
def test_a_change_in_what_the_environment_is_made_from_sets_it_up_again(checkout: Path, changed: str):
    mark_done(checkout, "run")
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert set_up(checkout, for_tests=False, wanted_python=None) == 99


@pytest.mark.usefixtures("at_work")
def test_a_checkout_that_was_moved_is_set_up_again(checkout: Path, tmp_path_factory: pytest.TempPathFactory):
    mark_done(checkout, "run")
    moved = tmp_path_factory.mktemp("elsewhere") / "hearth"
    checkout.rename(moved)
    assert set_up(moved, for_tests=False, wanted_python=None) == 99


@pytest.mark.usefixtures("at_work")
def test_an_environment_without_the_command_is_set_up_again(checkout: Path):
    mark_done(checkout, "run")
    (checkout / ".venv" / "bin" / "hearth").unlink()
    assert set_up(checkout, for_tests=False, wanted_python=None) == 99


def test_without_root_the_missing_packages_are_one_line_to_copy(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    missing = Missing(packages=("libegl1", "xauth"), things=("libEGL.so.1", "xauth"))
    monkeypatch.setattr(sequence, "find_missing", lambda **_: missing)
    monkeypatch.setattr(sequence, "is_debian", lambda: True)
    monkeypatch.setattr("steps.libraries.is_debian", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert set_up(checkout, for_tests=True, wanted_python=None) == 2
    assert "    sudo apt-get install --no-install-recommends -y libegl1 xauth\n" in capsys.readouterr().err


def test_packages_that_apt_could_not_install_are_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sequence, "find_missing", lambda **_: Missing(packages=("xauth",), things=("xauth",)))
    monkeypatch.setattr(sequence, "is_debian", lambda: True)
    monkeypatch.setattr(sequence, "install_as_root", lambda missing, log: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert set_up(checkout, for_tests=True, wanted_python=None) == 1
    assert "could not be installed: xauth" in capsys.readouterr().err


def test_a_python_that_does_not_fit_is_a_sentence_and_no_traceback(
    checkout: Path, capsys: pytest.CaptureFixture[str]
):
    assert set_up(checkout, for_tests=False, wanted_python="/no/such/python") == 1
    assert capsys.readouterr().err == (
        "PYTHON=/no/such/python does not run: name a Python 3.11, 3.12 or 3.13.\n"
    )


def test_a_step_that_is_cut_off_is_done_again(checkout: Path):
    setup = Setup(root=checkout, for_tests=False, wanted_python=None)
    record = checkout / ".venv" / "hearth-setup.json"
    setup._step("tools", "key", "Tools", lambda: None)
    assert json.loads(record.read_text()) == {"tools": "key"}

    def cut_off() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup._step("tools", "new key", "Tools", cut_off)
    assert json.loads(record.read_text()) == {}


def test_a_failed_check_is_never_taken_as_done(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    setup = Setup(root=checkout, for_tests=False, wanted_python=None)
    for step in ("tools", "engine", "packages", "model", "project"):
        setup._step(step, "key", step, lambda: None)
    monkeypatch.setattr(Environment, "verify", lambda _: "the window library: libEGL.so.1 is not there")
    with pytest.raises(SetupFailed, match="libEGL.so.1 is not there"):
        setup._verify(None)  # type: ignore[arg-type]
    assert json.loads((checkout / ".venv" / "hearth-setup.json").read_text()) == {}
