"""Which Python the environment is made from, and what is said when none fits."""

import sys

import pytest

from steps.pythons import Interpreter, NoPython, choose, probe, venv_package


def python(version: tuple[int, int, int], *, path: str = "/opt/python", has_venv: bool = True) -> Interpreter:
    return Interpreter(path, version, has_venv)


def machine_with(**found: Interpreter):
    return {name.replace("_", "."): value for name, value in found.items()}.get


def test_the_newest_python_that_fits_is_taken():
    ask = machine_with(
        python3_13=python((3, 13, 0)), python3_11=python((3, 11, 2)), python3=python((3, 11, 2))
    )
    assert choose(None, ask).version == (3, 13, 0)


def test_a_python_that_can_make_environments_comes_before_a_newer_one_that_cannot():
    ask = machine_with(python3_13=python((3, 13, 0), has_venv=False), python3_12=python((3, 12, 1)))
    assert choose(None, ask).version == (3, 12, 1)


def test_a_python_without_venv_is_taken_when_there_is_no_other():
    ask = machine_with(python3=python((3, 11, 2), has_venv=False))
    assert not choose(None, ask).has_venv


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 14, 0), (2, 7, 18)])
def test_a_python_out_of_range_is_refused_and_named(version: tuple[int, int, int]):
    ask = machine_with(python3=python(version))
    with pytest.raises(NoPython, match=rf"only {version[0]}\.{version[1]} was found"):
        choose(None, ask)


def test_a_machine_without_python_gets_a_sentence_with_the_remedy():
    with pytest.raises(NoPython, match="install Python 3.11, 3.12 or 3.13"):
        choose(None, machine_with())


def test_the_python_that_was_named_is_taken_even_if_a_newer_one_is_there():
    ask = {"/my/python": python((3, 11, 9)), "python3.13": python((3, 13, 0))}.get
    assert choose("/my/python", ask).version == (3, 11, 9)


def test_a_named_python_that_does_not_run_is_not_replaced_by_another():
    with pytest.raises(NoPython, match="PYTHON=/no/such does not run"):
        choose("/no/such", machine_with(python3=python((3, 11, 2))))


def test_a_named_python_out_of_range_says_which_versions_fit():
    with pytest.raises(NoPython, match="is Python 3.10: Hearth needs 3.11, 3.12 or 3.13"):
        choose("old", machine_with(old=python((3, 10, 1))))


def test_a_python_describes_itself():
    found = probe(sys.executable)
    assert found is not None
    assert found.version == sys.version_info[:3]
    assert found.has_venv


def test_a_command_that_is_no_python_counts_as_none():
    assert probe("true") is None
    assert probe("no-such-command-anywhere") is None


def test_debian_has_one_venv_package_for_each_python():
    assert venv_package(python((3, 11, 2), path="/usr/bin/python3.11")) == "python3.11-venv"
    assert venv_package(python((3, 12, 1), path="/opt/python/bin/python3.12")) == "python3-venv"
