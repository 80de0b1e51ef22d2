"""A run's result as a Markdown file in the folder that its agent was given for it: written whole or not at all, and over nothing.

Runs in: a worker thread. The folder is opened once and everything happens relative to it, so nothing that is swapped in meanwhile
leads elsewhere; where the system has no such calls (Windows) the names are checked instead.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from agents.core import EffectKind, NewResult, Run
from agents.durable import sync_folder
from agents.printable import printable
from agents.runs.effects import Found, Trace
from agents.runs.problems import EffectRefused, EffectTrouble
from agents.runs.result_name import result_name

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_PASSING = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EAGAIN", "EBUSY", "EMFILE", "ENFILE", "ESTALE", "ETIMEDOUT")
    if hasattr(errno, name)
)
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.link in os.supports_dir_fd


def file_request(run: Run, result: NewResult, *, folder: Path, due_local: datetime) -> dict[str, Any]:
    """What is to be written, as the effect's request. `due_local` is the due time by the user's clock."""
    text = as_markdown(result)
    return {
        "path": str(folder / result_name(run.agent_name, run_id=run.id, due_local=due_local)),
        "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "text": text,
    }


def as_markdown(result: NewResult) -> str:
    """The result as a file for people."""
    lines = [f"# {' '.join(result.title.split())}", "", result.summary.strip(), ""]
    if result.action_items:
        lines += ["## To do", "", *(f"- {' '.join(item.split())}" for item in result.action_items), ""]
    # A model can write half of a surrogate pair into JSON; a file can't hold it.
    return "\n".join(lines).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class WriteFile:
    """The effect. `folder` is what the agent's revision was given, and still has."""

    kind = EffectKind.WRITE_FILE
    is_idempotent = True
    doubt = "Nobody knows whether the file was written; look into its folder."

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file_of(self, request: Any) -> tuple[Path, str]:
        return Path(request["path"]), request["sha256"]

    async def find(self, request: Any) -> Found:
        return await asyncio.to_thread(self._find, request)

    async def perform(self, request: Any) -> Any:
        return await asyncio.to_thread(self._perform, request)

    def _find(self, request: Mapping[str, str]) -> Found:
        with self._opened(request) as place:
            if place.hash_of(place.name) == request["sha256"]:
                place.remove(place.temporary)
                return Found(trace=Trace.DONE, outcome=_outcome(request))
        return Found(trace=Trace.NOT_DONE)

    def _perform(self, request: Mapping[str, str]) -> dict[str, str]:
        with self._opened(request) as place:
            present = place.hash_of(place.name)
            if present is None:
                place.write(request["text"].encode("utf-8"))
            elif present != request["sha256"]:
                raise EffectRefused(
                    f"There is another file {printable(Path(request['path']))} already, which is left as it is; "
                    "move it away and run the agent again."
                )
        return _outcome(request)

    @contextmanager
    def _opened(self, request: Mapping[str, str]) -> Iterator[_Place]:
        path = Path(request["path"])
        if path.parent != self._folder:
            raise EffectRefused(f"The agent may no longer write into {printable(path.parent)}.")
        try:
            place = _Place(self._folder, path.name)
            try:
                yield place
            finally:
                place.close()
        except OSError as error:
            raise self._problem(error) from error

    def _problem(self, error: OSError) -> EffectRefused | EffectTrouble:
        folder = printable(self._folder)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return EffectRefused(f"{folder} is a link or no folder; name the folder that it leads to.")
        if error.errno == errno.ENOENT:
            return EffectRefused(f"There is no folder {folder}; make it, or name another one.")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return EffectRefused(f"Hearth may not write into {folder}; change its permissions.")
        sentence = f"Nothing could be written into {folder} ({error.strerror}); check the disk it is on."
        return EffectTrouble(sentence) if error.errno in _PASSING else EffectRefused(sentence)


class _Place:
    """An open folder, and the one name in it that is written."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.name = name
        self.temporary = f".{name}.part"  # the same after a crash, so that what it left is found
        self._descriptor: int | None = None
        if _BY_DESCRIPTOR:
            self._descriptor = os.open(folder, _FOLDER)
        elif folder.is_symlink() or not folder.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def hash_of(self, name: str) -> str | None:
        """sha256 in hex of what lies there, None when nothing does; a link or a device is never that file."""
        try:
            descriptor = os.open(self._at(name), _READ, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                return "not a plain file"
            raise
        with os.fdopen(descriptor, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, data: bytes) -> None:
        """All of `data` under the name, durably. Raises FileExistsError if something has come to lie there."""
        self.remove(self.temporary)
        with os.fdopen(os.open(self._at(self.temporary), _NEW, 0o600, dir_fd=self._descriptor), "wb") as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                self.remove(self.temporary)
                raise
        self._name()
        sync_folder(self._folder)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def _name(self) -> None:
        """The temporary file gets its name, unless that is taken: a rename would replace, a link does not."""
        source, target = self._at(self.temporary), self._at(self.name)
        try:
            os.link(source, target, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except FileExistsError:
            self.remove(self.temporary)
            raise
        except (OSError, NotImplementedError):  # a disk without hard links, such as a memory stick
            if self.hash_of(self.name) is not None:
                self.remove(self.temporary)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(source, target, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            return
        self.remove(self.temporary)

    def _at(self, name: str) -> str:
        return name if self._descriptor is not None else str(self._folder / name)


def _outcome(request: Mapping[str, str]) -> dict[str, str]:
    return {"path": request["path"], "sha256": request["sha256"]}
