"""What counts as missing on a machine, and the one line that says how to install it."""

import pytest

from steps import libraries
from steps.libraries import Missing, can_load, find_missing, manual_line

WINDOW_SET = {
    "libegl1", "libgl1", "libglib2.0-0", "libdbus-1-3", "libfontconfig1", "libxkbcommon0", "libxcb-cursor0",
    "libxcb-icccm4", "libxcb-keysyms1", "libxcb-shape0", "libxcb-xkb1", "libxkbcommon-x11-0", "libwayland-cursor0",
    "libwayland-egl1",
}  # fmt: skip


def nothing(_: str) -> bool:
    return False


def everything(_: str) -> bool:
    return True


def test_a_bare_machine_lacks_the_compiler_and_all_window_libraries():
    missing = find_missing(for_tests=False, library_there=nothing, command_there=nothing)
    assert set(missing.packages) == WINDOW_SET | {"g++"}


def test_the_tests_also_need_a_virtual_screen_and_a_bus():
    for_run = find_missing(for_tests=False, library_there=nothing, command_there=nothing)
    for_tests = find_missing(for_tests=True, library_there=nothing, command_there=nothing)
    assert set(for_tests.packages) - set(for_run.packages) == {"xvfb", "xauth", "dbus", "dbus-daemon"}


def test_a_complete_machine_lacks_nothing():
    assert not find_missing(for_tests=True, library_there=everything, command_there=everything)


def test_only_what_is_not_there_is_named():
    missing = find_missing(
        for_tests=True,
        library_there=lambda name: name != "libEGL.so.1",
        command_there=lambda name: name != "xauth",
    )
    assert set(missing.packages) == {"libegl1", "xauth"}


def test_a_compiler_named_in_the_environment_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "sh -c")
    assert libraries.has_command("c++")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not libraries.has_command("c++")


def test_the_loader_is_asked_for_libraries():
    assert not can_load("libno-such-thing.so.7")


def test_without_root_one_line_can_be_copied(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(libraries, "is_debian", lambda: True)
    line = manual_line(Missing(packages=("libegl1", "xauth"), things=("libEGL.so.1", "xauth")))
    assert line == "sudo apt-get install --no-install-recommends -y libegl1 xauth"


def test_without_apt_the_libraries_are_named_and_not_debian_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(libraries, "is_debian", lambda: False)
    line = manual_line(Missing(packages=("libegl1",), things=("libEGL.so.1",)))
    assert "libEGL.so.1" in line
    assert "apt" not in line
