"""A log file that never grows beyond two halves of its limit; readable by its owner only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


class BoundedLog:
    """Appends bytes; when the file is half the limit it becomes NAME.1 and a new one begins. None writes nothing."""

    def __init__(self, path: Path | None, *, limit_bytes: int = 2_000_000) -> None:
        self._path = path
        self._half_bytes = limit_bytes // 2
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        """Append. A full disk loses log lines and nothing else."""
        if self._path is None:
            return
        try:
            file = self._file or self._open(self._path)
            if file.tell() + len(data) > self._half_bytes:
                self.close()
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                file = self._open(self._path)
            file.write(data[-self._half_bytes :])
            file.flush()
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass  # the buffered rest did not fit on the disk

    def _open(self, path: Path) -> BinaryIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab")
        return self._file
