"""Which programs a gate may run: one that does one thing, and none that runs whatever it is told to."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from agents.printable import printable

_RUNS_ANYTHING = frozenset(
    name
    for line in (
        "sh bash dash zsh fish ksh mksh pdksh csh tcsh ash yash rc es elvish nu xonsh pwsh powershell cmd rbash",
        "python pythonw pypy py perl ruby node nodejs deno bun php lua luajit tclsh wish expect guile racket scheme sbcl",
        "clisp ghci runghc ocaml erl escript elixir iex julia r rscript octave java jshell groovy scala kotlin swift",
        "osascript wscript cscript mshta awk gawk mawk nawk sed dc m4 ed ex vi vim nvim view emacs emacsclient gdb lldb sqlite3",
        # programs that run another one
        "env time busybox toybox xargs sudo doas su runuser pkexec nice ionice nohup timeout setsid stdbuf strace ltrace watch",
        "find fd parallel chroot unshare nsenter setpriv capsh flock script screen tmux ssh scp sftp rsync make gmake cmake",
        "ninja systemd-run at batch crontab run-parts start-stop-daemon entr chrt taskset numactl prlimit bwrap firejail",
        "setarch linux32 linux64 fakeroot faketime valgrind perf unbuffer rlwrap xvfb-run dbus-run-session ssh-agent sg newgrp",
        "npm npx pipx uv uvx tar docker podman rundll32 regsvr32 msiexec ld.so ld-linux ld-linux-x86-64.so ld-linux-aarch64.so ld-musl-x86_64.so",
    )
    for name in line.split()
)
_MANY_IN_ONE = frozenset({"busybox", "toybox"})  # what they do is told by the name that they are called by


def program_problem(program: str) -> str | None:
    """One line when the program can't be run right now, or never, else None. Looks at the disk.

    Both the name that was granted and the one that it leads to count.
    """
    path = Path(program)
    if not path.is_absolute():
        return f"{printable(path)} is not a full path"
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except OSError as error:
        return f"{printable(path)} can't be run ({error.strerror})"
    except RuntimeError:  # links in a circle
        return f"{printable(path)} can't be run (its links lead in a circle)"
    names = {_bare(path.name)} | ({_bare(real.name)} - _MANY_IN_ONE)
    if names & _RUNS_ANYTHING:
        return f"{printable(path)} can run any other program, so it can't be granted"
    if not stat.S_ISREG(status.st_mode) or not os.access(real, os.X_OK):
        return f"{printable(path)} is no program"
    if os.name == "posix" and not _is_ours(status):
        return f"others can change {printable(path)}, so it is not run"
    return None


def _bare(name: str) -> str:
    """`python3.12` and `Python.exe` are python."""
    lower = name.lower().removesuffix(".exe")
    if lower in _RUNS_ANYTHING:
        return lower
    return re.sub(r"[-.\d]+$", "", lower)


def _is_ours(status: os.stat_result) -> bool:
    """Whether only the administrator or this user can have put it there."""
    if status.st_uid not in (0, os.getuid()):
        return False
    return not status.st_mode & stat.S_IWOTH
