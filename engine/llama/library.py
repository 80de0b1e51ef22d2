"""llama.cpp as a library: brought up once, its log turned to stderr, its build named.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections import deque
from pathlib import Path

import llama_cpp

_LEVEL_WARN, _LEVEL_ERROR, _LEVEL_CONTINUE = 3, 4, 5
_KEPT_ERRORS = 8


class LlamaLibrary:
    """Owns the process-wide set-up of llama.cpp. Keep it alive as long as llama.cpp is used."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self._level = 0
        # llama.cpp calls this for as long as the process lives: without the reference it would call freed memory
        self._callback = llama_cpp.llama_log_callback(self._log)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        folder = Path(llama_cpp.__file__).parent / "lib"
        self._load_backends(folder)
        llama_cpp.llama_backend_init()
        self.build = self._describe_build(folder)

    def last_error(self) -> str:
        """The newest complaint of llama.cpp, for a sentence to the user; it never holds prompt text."""
        return self._errors[-1] if self._errors else "no reason given"

    def forget_errors(self) -> None:
        """Begin a new attempt."""
        self._errors.clear()

    def _log(self, level: int, text: bytes, _data: int | None) -> None:
        if level != _LEVEL_CONTINUE:
            self._level = level
        if self._level < _LEVEL_WARN:
            return
        line = text.decode("utf-8", "replace")
        sys.stderr.write(line)
        sys.stderr.flush()
        if self._level >= _LEVEL_ERROR and line.strip():
            self._errors.append(" ".join(line.split())[:300])

    @staticmethod
    def _load_backends(folder: Path) -> None:
        """Portable builds carry one library for each kind of processor, and nothing loads them by itself."""
        from llama_cpp._ggml import libggml

        libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
        if libggml.ggml_backend_dev_count() == 0:
            libggml.ggml_backend_load_all_from_path(str(folder.resolve()).encode())

    @staticmethod
    def _describe_build(folder: Path) -> str:
        """Changes whenever the compiled libraries or the processor features that they use change."""
        libraries = sorted(path for path in folder.iterdir() if path.is_file())
        stamp = "\n".join(
            f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in libraries
        )
        digest = hashlib.sha256(stamp.encode()).hexdigest()[:16]
        features = llama_cpp.llama_print_system_info().decode("utf-8", "replace").strip()
        return f"llama-cpp-python {llama_cpp.__version__} {digest} {features}"
