"""What the doctor sees of a home from outside: it looks at files, and opens nothing but the small key.json."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agents.contract import DoctorCheck
from agents.paths import HomePaths
from app.cli.output import ago, count
from app.client import home_argument

_LOW_SPACE_BYTES = 500_000_000
_OTHERS = 0o077
_KEYRING, _KEY_FILE = "keyring", "keyfile"
_KINDS = {
    _KEYRING: "The key is kept in the system's keyring.",
    "passphrase": "The key is a passphrase, asked for at each start.",
    "none": "The database is not encrypted, as you chose.",
}


def check_files(paths: HomePaths) -> list[DoctorCheck]:
    """The home, its disk, its key, its database and its backups, in the order in which trouble usually starts."""
    home = check_home(paths)
    checks = [home, check_space(paths.root)]
    if os.access(paths.root, os.F_OK) and not os.access(paths.root, os.R_OK | os.X_OK):
        return checks  # nothing can be seen in it, which `home` says
    try:
        return [*checks, check_key(paths), check_database(paths), check_backups(paths)]
    except OSError as error:
        message = f"The home {paths.root} can't be examined: {error.strerror}; check its permissions."
        return [*checks, DoctorCheck(name="database", ok=False, message=message)]


def check_home(paths: HomePaths) -> DoctorCheck:
    def result(ok: bool, message: str) -> DoctorCheck:
        return DoctorCheck(name="home", ok=ok, message=message)

    root = paths.root
    existing = _nearest_existing(root)
    if not existing.is_dir():
        return result(False, f"{existing} is not a directory; name another home with --home.")
    if not os.access(existing, os.W_OK | os.X_OK):
        return result(False, f"{existing} is not writable for you; name another home with --home.")
    if existing != root:
        return result(True, f"{root} does not exist yet; the first start makes it.")
    mode = root.stat().st_mode & 0o777
    if sys.platform != "win32" and mode & _OTHERS:
        return result(
            False, f"{root} is open to other users (mode {mode:o}); close it with `chmod 700 {root}`."
        )
    return result(True, f"{root} is yours and writable.")


def check_space(root: Path) -> DoctorCheck:
    folder = _nearest_existing(root)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return DoctorCheck(name="disk", ok=False, message=f"{folder} can't be examined: {error.strerror}.")
    text = f"{free / 1e9:,.1f} GB free for {root}"
    if free < _LOW_SPACE_BYTES:
        return DoctorCheck(name="disk", ok=False, message=f"{text}; make room, Hearth stops writing at none.")
    return DoctorCheck(name="disk", ok=True, message=f"{text}.")


# --- key -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _KeyNote:
    """What key.json says: how the key is kept, and never the key."""

    kind: str
    key_file: Path | None

    @classmethod
    def read(cls, path: Path) -> _KeyNote | None:
        """None when it holds nothing that this program understands."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            kind, key_file = plain["kind"], plain.get("key_file")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if kind == _KEY_FILE and isinstance(key_file, str):
            return cls(kind=kind, key_file=Path(key_file))
        return cls(kind=kind, key_file=None) if kind in _KINDS else None


def check_key(paths: HomePaths) -> DoctorCheck:
    """Whether the keyring answers or a passphrase fits is known only when a runtime starts."""

    def result(ok: bool, message: str) -> DoctorCheck:
        return DoctorCheck(name="key", ok=ok, message=message)

    if not paths.key_info.exists():
        if paths.has_database():
            return result(False, _key_unknown(paths))
        return result(True, _how_a_new_key_is_kept())
    note = _KeyNote.read(paths.key_info)
    if note is None:
        return result(not paths.has_database(), _key_unknown(paths))
    if note.key_file is None:
        return result(True, _KINDS[note.kind])
    problem = _key_file_problem(note.key_file, paths)
    return result(problem is None, problem or f"The key is in {note.key_file}, private to you.")


def _key_file_problem(file: Path, paths: HomePaths) -> str | None:
    serve = f"hearth serve{home_argument(paths)} --key-file FILE"
    try:
        info = file.stat()
    except FileNotFoundError:
        if not paths.has_database() and not file.is_symlink():
            return None  # the first start makes it
        return f"The key file {file} is not there; put it back, or name where it is now: `{serve}`."
    except OSError as error:
        return (
            f"The key file {file} can't be reached: {error.strerror}; mend that, or name another: `{serve}`."
        )
    if not stat.S_ISREG(info.st_mode):
        return f"The key file {file} is not a file; name the one that holds this home's key: `{serve}`."
    if sys.platform != "win32" and info.st_mode & _OTHERS:
        return f"The key file {file} is open to other users; close it with `chmod 600 {file}`."
    if not os.access(file, os.R_OK):
        return f"The key file {file} is not readable for you; mend that with `chmod 600 {file}`."
    return None


def _key_unknown(paths: HomePaths) -> str:
    return (
        f"{paths.key_info} is missing or can't be read, so nothing says how this home's key is kept; start with "
        f"`hearth serve{home_argument(paths)} --key-file FILE` (it may hold the recovery code) or --passphrase."
    )


def _how_a_new_key_is_kept() -> str:
    if not sys.platform.startswith("linux") or os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return "A new home's key will be kept in the system's keyring."
    return (
        "There is no session bus, so probably no keyring: start a new home with `hearth serve --key-file FILE` or "
        "`hearth serve --passphrase`."
    )


# --- database and backups ------------------------------------------------------------------------


def check_database(paths: HomePaths) -> DoctorCheck:
    def result(ok: bool, message: str) -> DoctorCheck:
        return DoctorCheck(name="database", ok=ok, message=message)

    if paths.database.exists():
        if not paths.database.is_file():
            return result(False, f"{paths.database} is not a file; put this home's database there.")
        return result(True, "It is there. The database is checked at the next start.")
    if paths.has_database():
        restore = f"hearth serve{home_argument(paths)} --restore-backup"
        return result(
            False,
            f"The database {paths.database} is missing; put it back, or take its newest backup: `{restore}`.",
        )
    if paths.key_info.exists():
        return result(
            False,
            f"The database {paths.database} is missing, although this home has a key; put it back if it ever was "
            "there, for the next start begins with an empty one.",
        )
    return result(True, "There is none yet; the first start makes it.")


def check_backups(paths: HomePaths) -> DoctorCheck:
    def result(ok: bool, message: str) -> DoctorCheck:
        return DoctorCheck(name="backup", ok=ok, message=message)

    folder = paths.backups
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
        return result(False, f"{folder} is not a folder that you can write into; move it away or mend it.")
    times = [file.stat().st_mtime for file in folder.glob("hearth-*.db")]
    if not times:
        return result(True, "There is none yet; a runtime makes the first one soon after its start.")
    newest = ago(datetime.fromtimestamp(max(times), UTC))
    return result(True, f"{count(len(times), 'backup')} in {folder}, the newest of {newest}.")


def _nearest_existing(path: Path) -> Path:
    """What can't be looked at counts as missing: `os.access` never raises, `Path.exists` may."""
    return next((folder for folder in (path, *path.parents) if os.access(folder, os.F_OK)), path)
