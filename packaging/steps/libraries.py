"""Finds which system libraries and commands are missing, and which Debian packages bring them."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# What a package must leave behind to count as installed: a library by the name the loader looks up, or a command.
# Asking for these and not for the package names is right on every Debian release and on machines without dpkg.
BUILD_COMMANDS = {"g++": "c++"}

WINDOW_LIBRARIES = {
    # needed to import Qt at all, even with no screen
    "libegl1": "libEGL.so.1",
    "libgl1": "libGL.so.1",
    "libglib2.0-0": "libglib-2.0.so.0",
    "libdbus-1-3": "libdbus-1.so.3",
    "libfontconfig1": "libfontconfig.so.1",
    "libxkbcommon0": "libxkbcommon.so.0",
    # needed for a real window on X11 or Wayland
    "libxcb-cursor0": "libxcb-cursor.so.0",
    "libxcb-icccm4": "libxcb-icccm.so.4",
    "libxcb-keysyms1": "libxcb-keysyms.so.1",
    "libxcb-shape0": "libxcb-shape.so.0",
    "libxcb-xkb1": "libxcb-xkb.so.1",
    "libxkbcommon-x11-0": "libxkbcommon-x11.so.0",
    "libwayland-cursor0": "libwayland-cursor.so.0",
    "libwayland-egl1": "libwayland-egl.so.1",
}

TEST_COMMANDS = {
    "xvfb": "xvfb-run",
    "xauth": "xauth",
    "dbus": "dbus-run-session",
    "dbus-daemon": "dbus-daemon",
}


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What this machine lacks: Debian packages, and what each of them would bring."""

    packages: tuple[str, ...]
    things: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.packages)


def can_load(soname: str) -> bool:
    """Whether the dynamic loader finds `soname`."""
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def has_command(name: str) -> bool:
    """Whether `name` is on the search path; a compiler may also be named in CXX."""
    if name == "c++" and os.environ.get("CXX"):
        return shutil.which(os.environ["CXX"].split()[0]) is not None
    return shutil.which(name) is not None


def find_missing(
    *,
    for_tests: bool,
    extra_packages: Iterable[str] = (),
    library_there: Callable[[str], bool] = can_load,
    command_there: Callable[[str], bool] = has_command,
) -> Missing:
    """What is needed for a window (and, `for_tests`, for a virtual screen and bus) and is not there."""
    commands = BUILD_COMMANDS | (TEST_COMMANDS if for_tests else {})
    lacking = {package: name for package, name in commands.items() if not command_there(name)}
    lacking |= {package: name for package, name in WINDOW_LIBRARIES.items() if not library_there(name)}
    extra = tuple(extra_packages)
    return Missing(packages=(*extra, *lacking), things=(*extra, *lacking.values()))


def is_debian() -> bool:
    """Whether apt can install packages here."""
    return shutil.which("apt-get") is not None


def manual_line(missing: Missing) -> str:
    """The one line that tells a user without root what to type."""
    if is_debian():
        return "sudo apt-get install --no-install-recommends -y " + " ".join(missing.packages)
    return "install what brings " + ", ".join(missing.things) + " with your system's package manager"


def install_as_root(missing: Missing, log_path: Path) -> None:
    """Install the packages with apt, all output into the log; what is still missing then has failed."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # Another package manager may hold the lock for a while, for example unattended upgrades.
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-y"]
    commands = (
        ["dpkg", "--configure", "-a"],  # takes up an installation that was cut off
        [*apt, "update"],
        [*apt, "install", "--no-install-recommends", *missing.packages],
    )
    with log_path.open("a", encoding="utf-8") as log:
        for command in commands:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=quiet, check=False)
