"""A file without a name for states that overflow from RAM: it ends with the process, and so does its random key.

Runs in: engine child; the engine thread reads and frees, the snapshot writer's thread writes.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.states.sealing import CHUNK_BYTES, KEY_BYTES, TAG_BYTES, Sealer, State, chunks, n_chunks


@dataclass(frozen=True, kw_only=True)
class Spilled:
    """Where a state lies in the file."""

    size_bytes: int
    blocks: tuple[int, ...]
    first_number: int  # of its chunks' nonces; numbers are never used twice


class SpillFile:
    """Blocks of one size, so that room which one state frees serves every other one.

    The system deletes the file when the process ends, however it ends; nothing is left to be swept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sealer = Sealer(os.urandom(KEY_BYTES))
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._free: list[int] = []
        self._n_blocks = 0
        self._next_number = 0

    @property
    def used_bytes(self) -> int:
        """What the states in it take."""
        with self._lock:
            return (self._n_blocks - len(self._free)) * CHUNK_BYTES

    def write(self, data: State, *, given_up: Callable[[], bool]) -> Spilled | None:
        """Keep a state; None when it was given up in between. Raises OSError, and then holds nothing of it."""
        place = self._reserve(len(data))
        sealed = bytearray(CHUNK_BYTES)
        view = memoryview(data)
        done = False
        try:
            for index, part in enumerate(chunks(len(data))):
                if given_up():
                    return None
                chunk = memoryview(sealed)[: part.stop - part.start + TAG_BYTES]
                self._sealer.seal(place.first_number + index, view[part], bound_to=b"", into=chunk)
                self._write_block(place.blocks[index], chunk)
            done = True
        finally:
            if not done:
                self.free(place)
        return place

    def read(self, place: Spilled) -> bytearray | None:
        """A kept state; None when it can't be read or is not what was written."""
        data = bytearray(place.size_bytes)
        sealed = bytearray(CHUNK_BYTES)
        view = memoryview(data)
        for index, part in enumerate(chunks(place.size_bytes)):
            chunk = memoryview(sealed)[: part.stop - part.start + TAG_BYTES]
            if not self._read_block(place.blocks[index], chunk):
                return None
            if not self._sealer.unseal(place.first_number + index, chunk, bound_to=b"", into=view[part]):
                return None
        return data

    def free(self, place: Spilled) -> None:
        """Let others have the room."""
        with self._lock:
            if self._file is None:
                return
            self._free.extend(place.blocks)
            if len(self._free) == self._n_blocks:
                self._free.clear()
                self._n_blocks = 0
                try:
                    self._file.truncate(0)
                except OSError:
                    pass  # the room is used again by the next state

    def close(self) -> None:
        """Delete the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None
            self._free.clear()
            self._n_blocks = 0

    def _reserve(self, size_bytes: int) -> Spilled:
        wanted = n_chunks(size_bytes)
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by close()
            reused = [self._free.pop() for _ in range(min(wanted, len(self._free)))]
            n_new = wanted - len(reused)
            blocks = (*reused, *range(self._n_blocks, self._n_blocks + n_new))
            self._n_blocks += n_new
            place = Spilled(size_bytes=size_bytes, blocks=blocks, first_number=self._next_number)
            self._next_number += wanted
            return place

    def _write_block(self, block: int, chunk: memoryview) -> None:
        with self._lock:
            if self._file is None:
                raise OSError("the spill file is closed")
            self._file.seek(block * CHUNK_BYTES)
            written = 0
            while written < len(chunk):
                written += self._file.write(chunk[written:])

    def _read_block(self, block: int, into: memoryview) -> bool:
        with self._lock:
            if self._file is None:
                return False
            try:
                self._file.seek(block * CHUNK_BYTES)
                got = 0
                while got < len(into):
                    n_bytes = self._file.readinto(into[got:])  # type: ignore[attr-defined]
                    if not n_bytes:
                        return False
                    got += n_bytes
            except OSError:
                return False
            return True


def spilled_bytes(data: State) -> int:
    """What a state takes there, the rest of its last block included."""
    return n_chunks(len(data)) * CHUNK_BYTES
