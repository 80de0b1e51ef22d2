"""The home directory: made private, checked, and owned by one runtime at a time."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from agents.errors import AlreadyRunning, HomeProblem
from agents.paths import HomePaths

_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_PATIENCE_S = 0.5  # a client that looks whether the lock is held holds it itself for a moment


class HomeLock:
    """Makes the home directory and owns it while the context is open.

    The lock is the kernel's (flock): it ends with its process, however that ends, and no child inherits it, because its descriptor
    is closed on exec. The pid file beside it is for messages only.
    Raises HomeProblem when the directory can't be used, AlreadyRunning when another runtime owns it.
    """

    def __init__(self, paths: HomePaths) -> None:
        self._paths = paths
        # A lock file that only marks by its existence would outlive kill -9, so there is no fallback to one.
        self._lock = FileLock(
            paths.lock, timeout=_PATIENCE_S, mode=_PRIVATE_FILE, thread_local=False, fallback_to_soft=False
        )

    def __enter__(self) -> HomeLock:
        prepare_home(self._paths)
        try:
            self._lock.acquire()
        except Timeout:
            raise AlreadyRunning(self._already_running()) from None
        except OSError as error:
            raise _home_problem(self._paths.root, error) from error
        try:
            self._write_owner()
        except OSError as error:
            self._lock.release()
            raise _home_problem(self._paths.root, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._paths.owner.unlink(missing_ok=True)
        self._lock.release()

    def _write_owner(self) -> None:
        descriptor = os.open(self._paths.owner, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _PRIVATE_FILE)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{os.getpid()}\n")

    def _already_running(self) -> str:
        try:
            process = f" (process {int(self._paths.owner.read_text())})"
        except (OSError, ValueError):
            process = ""
        return (
            f"Hearth is already running for {self._paths.root}{process}; use `hearth stop` first or name another home "
            "with --home."
        )


def prepare_home(paths: HomePaths) -> None:
    """Makes the home directory (0700) or checks the one that is there; HomeProblem when it can't be used."""
    problem = paths.socket_problem()
    if problem is not None:
        raise HomeProblem(problem)
    root = paths.root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
        _require_ours(paths)
    except FileExistsError:
        raise HomeProblem(f"The home {root} is not a directory; name another one with --home.") from None
    except OSError as error:
        raise _home_problem(root, error) from error
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise HomeProblem(
            f"The home {root} is not writable; change its permissions or name another one with --home."
        )


def _require_ours(paths: HomePaths) -> None:
    """The directory is this user's, and nobody else can look into it."""
    if os.name != "posix":
        return
    root = paths.root
    info = root.stat()
    if info.st_uid != os.geteuid():
        raise HomeProblem(f"The home {root} belongs to another user; name one of your own with --home.")
    if stat.S_IMODE(info.st_mode) & 0o077 == 0:
        return
    # Taking rights away from a folder that others share would break their work: only a new home or an empty folder is closed.
    is_home = paths.lock.exists() or paths.database.exists() or paths.key_info.exists()
    if not is_home and any(root.iterdir()):
        raise HomeProblem(
            f"The folder {root} holds other files and is open to others; name an empty or a new one with --home."
        )
    root.chmod(_PRIVATE_FOLDER)


def _home_problem(root: Path, error: OSError) -> HomeProblem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HomeProblem(f"There is no space left on the disk of {root}; free some and start again.")
    if error.errno == errno.ENOTDIR:
        return HomeProblem(f"The home {root} is not a directory; name another one with --home.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return HomeProblem(
            f"The home {root} is not writable; change its permissions or name another one with --home."
        )
    return HomeProblem(f"The home {root} can't be used: {error.strerror}; name another one with --home.")
