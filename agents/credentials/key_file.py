"""Key files: one recovery code as text, readable by its owner alone."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from agents.credentials.keys import KeyKind, ResolvedKey
from agents.credentials.recovery_code import KEY_BYTES, decode_recovery_code, encode_recovery_code
from agents.durable import sync_folder
from agents.errors import DiskFull, KeyProblem

_PRIVATE = 0o600


def key_from_file(path: Path, *, is_new: bool) -> ResolvedKey:
    """The key in a file; a new home's file is made with a fresh key. KeyProblem when it is no key or others can read it."""
    try:
        raw = decode_recovery_code(
            _read_private(path),
            what=f"The key file {path}",
            remedy="name the file that Hearth wrote this home's key into",
        )
    except FileNotFoundError:
        if not is_new or path.is_symlink():  # a link to a medium that is not there is no wish for a new key
            raise KeyProblem(
                f"There is no key file {path}; name the one that holds this home's key with --key-file."
            ) from None
        raw = secrets.token_bytes(KEY_BYTES)
        write_private(path, encode_recovery_code(raw) + "\n")
    except OSError as error:
        raise KeyProblem(
            f"The key file {path} can't be read: {error.strerror}; check it or name another."
        ) from error
    return ResolvedKey(kind=KeyKind.KEY_FILE, raw=raw, key_file=path, created=is_new)


def _read_private(path: Path) -> str:
    """The text of a small file that nobody else can read."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise KeyProblem(f"The key file {path} is not a file; name the one that holds this home's key.")
        if os.name == "posix" and info.st_mode & 0o077:
            raise KeyProblem(f"Others can read the key file {path}; run `chmod 600 {path}`.")
        return file.read(4096).decode("ascii", "replace")


def write_private(path: Path, text: str) -> None:
    """A file of mode 0600 that is whole or not there, and on the disk when this returns: what it says is soon relied on."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"There is no space left on the disk of {path.parent}; free some and try again."
            ) from error
        raise KeyProblem(f"The file {path} can't be made: {error.strerror}; name another one.") from error
