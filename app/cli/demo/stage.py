"""The demo's stage: a throw-away home, a folder to watch, a runtime of its own; all of it goes away again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from agents.paths import HomePaths, assets_dir
from app.cli.common import WorkFailed, WrongInput
from app.launch import LaunchOptions, end_runtime, start_runtime

_CHILDREN_TIMEOUT_S = 5.0
# Short, whatever $TMPDIR says: a socket's path has to fit into about a hundred bytes.
_SHORT_TEMPORARY = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of its own in it, open to this user only


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The places of one demo. The watched folder lies outside the home, as Hearth demands."""

    home: Path
    inbox: Path
    documents: tuple[Path, ...]

    @property
    def key_file(self) -> Path:
        return self.home / "throwaway.key"

    def drop(self, document: Path) -> Path:
        """Lets a document arrive as programs save files: complete, by a rename."""
        arriving = self.inbox / f".{document.name}.part"
        shutil.copyfile(document, arriving)
        arrived = self.inbox / document.name
        arriving.replace(arrived)
        return arrived


def demo_documents() -> tuple[Path, ...]:
    """The three documents that ship with Hearth, the longest last."""
    folder = assets_dir() / "demo"
    documents = tuple(
        folder / name for name in ("meeting-notes.md", "supplier-letter.txt", "energy-review.pdf")
    )
    missing = next((document for document in documents if not document.is_file()), None)
    if missing is not None:
        raise WorkFailed(f"The demo's document {missing} is missing; install Hearth again.")
    return documents


@contextmanager
def open_stage(named_home: Path | None, *, keep: bool) -> Iterator[Stage]:
    """Makes the places, and takes away everything it made unless `keep`."""
    if named_home is None:
        root = _temporary_root()
        made = [root]
        home, inbox = root / "home", root / "Inbox"
    else:
        home, inbox = named_home, named_home.with_name(named_home.name + "-inbox")
        for folder in (home, inbox):
            _refuse_used(folder)
        made = [folder for folder in (home, inbox) if not folder.exists()]
    emptied = [folder for folder in (home, inbox) if folder.exists()]
    try:
        _make(home)
        _make(inbox)
        yield Stage(home=home, inbox=inbox, documents=demo_documents())
    finally:
        if not keep:
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)
            for folder in emptied:
                _empty(folder)


@contextmanager
def running_runtime(stage: Stage) -> Iterator[subprocess.Popen[bytes]]:
    """A runtime on the stage; it and everything it started has ended when this returns."""
    process = start_runtime(stage.home, LaunchOptions(key_file=stage.key_file))
    try:
        yield process
    finally:
        with _no_interruption():
            children = _children(process.pid)
            end_runtime(process)
            _, alive = psutil.wait_procs(children, timeout=_CHILDREN_TIMEOUT_S)
            for child in alive:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


def kill_engine(runtime_pid: int, engine_pid: int) -> bool:
    """Kills the engine without a warning; False when it is gone already, or is not this runtime's child."""
    engine = next((child for child in _children(runtime_pid) if child.pid == engine_pid), None)
    if engine is None:
        return False
    try:
        engine.kill()
    except psutil.NoSuchProcess:
        return False
    return True


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the demo as Ctrl-C does, so that it cleans up."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [signal.SIGTERM] if os.name == "nt" else [signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _no_interruption() -> Iterator[None]:
    """An impatient second Ctrl-C must not leave a process behind; every wait in here has a limit."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _temporary_root() -> Path:
    last_problem = ""
    for parent in (Path(tempfile.gettempdir()), _SHORT_TEMPORARY):
        try:
            root = Path(tempfile.mkdtemp(prefix="hearth-demo-", dir=parent))
        except OSError as error:
            last_problem = f"A throw-away home can't be made in {parent}: {error.strerror}."
            continue
        problem = HomePaths(root / "home").socket_problem()
        if problem is None:
            return root
        root.rmdir()
        last_problem = problem
    raise WrongInput(last_problem)


def _refuse_used(folder: Path) -> None:
    try:
        used = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise WrongInput(f"{folder} can't be used for the demo: {error.strerror}.") from None
    if used:
        raise WrongInput(
            f"{folder} is not empty; the demo needs a home of its own, name another with --home."
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WrongInput(f"{folder} can't be made: {error.strerror}.") from None


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
