"""The disk tier of states: one thread that writes, a limit on what lies there, and patience when the disk refuses.

Runs in: engine child; calls come from the engine thread, writing happens on a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.states.prefix_files import PrefixFiles, file_bytes, remove
from engine.states.sealing import State
from engine.states.spill import Spilled, SpillFile, spilled_bytes

REST_S = 60.0  # after a failed write; whatever comes meanwhile is not tried
_FULL_NOTE = "Computed prompts can't be kept on disk ({reason}); free some space. The engine goes on without, and tries again."


@dataclass(eq=False, kw_only=True)
class Save:
    """Write a pinned prefix into a file of its own. The callables are called with the lock held, `wanted` also without."""

    pin: str
    key: bytes
    data: State = field(repr=False)
    wanted: Callable[[], bool]
    done: Callable[[bool], None]


@dataclass(eq=False, kw_only=True)
class Spill:
    """Write an overflowing state into the spill file. An owed one may take the room of pinned prefixes."""

    data: State = field(repr=False)
    owed: bool
    wanted: Callable[[], bool]
    done: Callable[[Spilled | None], None]


class SnapshotDisk:
    """Raises OSError when the folder can't be had. `lock` is the store's: both see one state of things.

    drop_spilled and lost_file are called with the lock held: the first frees the spilled state that is missed least
    (False: there is none), the second hears that the file of a pin was removed to make room.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secret: bytes,
        identity: str,
        limit_bytes: int,
        lock: threading.RLock,
        note: Callable[[str], None],
        drop_spilled: Callable[[], bool],
        lost_file: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = PrefixFiles(folder, secret=secret, identity=identity)
        self.spill = SpillFile(folder)
        self._limit_bytes = limit_bytes
        self._note = note
        self._drop_spilled = drop_spilled
        self._lost_file = lost_file
        self._clock = clock
        self._changed = threading.Condition(lock)
        self._saves: deque[Save] = deque()
        self._spills: deque[Spill] = deque()
        self._working: Save | Spill | None = None
        self._closing = False
        self._give_up = False
        self._rest_until = float("-inf")
        self._failing = False
        self._files_bytes = self._measure_files()
        self._thread = threading.Thread(target=self._run, name="engine-snapshots", daemon=True)
        self._thread.start()

    @property
    def used_bytes(self) -> int:
        """What lies on disk, files of other models included."""
        return self._files_bytes + self.spill.used_bytes

    @property
    def backlog_bytes(self) -> int:
        """States of pinned prefixes that wait to be written."""
        return sum(len(job.data) for job in self._saves)

    def takes(self, size_bytes: int) -> bool:
        """Whether writing a state of this size makes sense now."""
        return (
            not self._closing
            and size_bytes <= self._limit_bytes
            and self._clock() >= self._rest_until
            and self._thread.is_alive()
        )

    def add(self, job: Save | Spill) -> None:
        """Have something written; pinned prefixes go first."""
        with self._changed:
            if isinstance(job, Save):
                self._saves.append(job)
            else:
                self._spills.append(job)
            self._changed.notify_all()

    def forget(self, pin: str) -> None:
        """Remove all files of a pin; one that is being written is not wanted any more and is waited for.

        Raises OSError when a file can't be removed.
        """
        with self._changed:
            while isinstance(self._working, Save) and self._working.pin == pin and self._thread.is_alive():
                self._changed.wait(0.5)
            self.files.forget(pin)
            self._files_bytes = self._measure_files()

    def settle(self, timeout_s: float) -> bool:
        """Wait until there is nothing to write. False when the time was too short."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._saves and not self._spills and self._working is None, timeout_s
            )

    def close(self, timeout_s: float) -> None:
        """Write the pinned prefixes that still wait, as far as the time allows; drop the rest."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._closing = True
            self._spills.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        self._give_up = True
        self._thread.join(
            max(deadline + 1.0 - time.monotonic(), 0.0)
        )  # inside a call to a slow disk: left alone
        self.spill.close()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            if isinstance(job, Save):
                self._save(job)
            else:
                self._spill_out(job)

    def _next(self) -> Save | Spill | None:
        with self._changed:
            self._working = None
            self._changed.notify_all()
            while not self._saves and not self._spills:
                if self._closing:
                    return None
                self._changed.wait()
            if self._give_up:
                return None
            self._working = self._saves.popleft() if self._saves else self._spills.popleft()
            return self._working

    def _save(self, job: Save) -> None:
        placed = False
        try:
            self.files.remove(job.pin)  # what it held is void, whether or not the new content gets there
            if job.wanted() and self._find_room(file_bytes(job.key, job.data), take_files=True):
                placed = self._write_and_place(job)
        except (OSError, MemoryError) as error:
            self._went_wrong(error)
        if placed:
            self.files.settle()
        with self._changed:
            self._files_bytes = self._measure_files()
            job.done(placed)

    def _write_and_place(self, job: Save) -> bool:
        part = self.files.write(
            job.pin, job.key, job.data, given_up=lambda: self._give_up or not job.wanted()
        )
        self._failing = False
        if part is None:
            return False
        with self._changed:
            if not job.wanted():
                remove(part)
                return False
            self.files.place(job.pin, part)
            return True

    def _spill_out(self, job: Spill) -> None:
        place: Spilled | None = None
        try:
            if job.wanted() and self._find_room(spilled_bytes(job.data), take_files=job.owed):
                place = self.spill.write(job.data, given_up=lambda: self._closing or not job.wanted())
                self._failing = False
        except (OSError, MemoryError) as error:
            self._went_wrong(error)
        with self._changed:
            job.done(place)

    def _find_room(self, size_bytes: int, *, take_files: bool) -> bool:
        """Drop what is missed least until a state of this size fits into the limit."""
        with self._changed:
            self._files_bytes = self._measure_files()
            while self.used_bytes + size_bytes > self._limit_bytes:
                if self._drop_spilled():
                    continue
                if not take_files or not self._drop_oldest_file():
                    return False
            return True

    def _drop_oldest_file(self) -> bool:
        for file in self.files.sizes():
            if not file.is_part and remove(file.path):
                self._files_bytes = self._measure_files()
                if file.pin is not None:
                    self._lost_file(file.pin)
                return True
        return False

    def _measure_files(self) -> int:
        return sum(file.size_bytes for file in self.files.sizes())

    def _went_wrong(self, error: OSError | MemoryError) -> None:
        """One note for a row of failures, and a rest: a full disk is not asked again and again."""
        self._rest_until = self._clock() + REST_S
        if not self._failing:
            self._failing = True
            reason = (error.strerror if isinstance(error, OSError) else None) or "out of memory"
            self._note(_FULL_NOTE.format(reason=reason))
