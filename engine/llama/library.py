"""llama.cpp as a library: brought up once, its log turned to stderr, its build named.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp

_LEVEL_WARN, _LEVEL_ERROR, _LEVEL_CONTINUE = 3, 4, 5
_KEPT_ERRORS = 8
_GPU_TYPES = (1, 2)  # ggml_backend_dev_type: a GPU with memory of its own, and one that shares the computer's
_BUFFER = re.compile(rb"(\S+)\s+(model|KV|RS|output|compute) buffer size\s*=\s*([\d.]+) MiB")
_OFFLOADED = re.compile(rb"offloaded (\d+)/\d+ layers to GPU")
_NO_MEMORY = re.compile(r"alloc|out of memory|no memory|not enough memory", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """Memory that llama.cpp took: on which device, and for what (model, KV, RS, output, compute)."""

    device: str
    purpose: str
    size_bytes: int

    @property
    def is_host(self) -> bool:
        """Whether it lies in the computer's own memory, which an Apple GPU shares."""
        return self.device.startswith(("CPU", "MTL", "Metal")) or "Host" in self.device


class LlamaLibrary:
    """Owns the process-wide set-up of llama.cpp. Keep it alive as long as llama.cpp is used."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self._buffers: list[Buffer] = []
        self._n_offloaded: int | None = None
        self._level = 0
        self._hushed = False
        # llama.cpp calls this for as long as the process lives: without the reference it would call freed memory
        self._callback = llama_cpp.llama_log_callback(self._log)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        folder = Path(llama_cpp.__file__).parent / "lib"
        self._load_backends(folder)
        llama_cpp.llama_backend_init()
        self.build = self._describe_build(folder)
        self.devices = self._find_devices()

    def last_error(self) -> str:
        """The newest complaint of llama.cpp, for a sentence to the user; it never holds prompt text."""
        return self._errors[-1] if self._errors else "no reason given"

    def lacks_memory(self) -> bool:
        """Whether llama.cpp complained that it can't have memory."""
        return any(_NO_MEMORY.search(error) for error in self._errors)

    def hush(self, hushed: bool) -> None:
        """While a batch is stopped because we asked for it, llama.cpp's errors are no news and not worth a line each."""
        self._hushed = hushed

    def begin_load(self) -> None:
        """Forget what was said about earlier models."""
        self._errors.clear()
        self._buffers.clear()
        self._n_offloaded = None

    @property
    def buffers(self) -> Sequence[Buffer]:
        """What was allocated since begin_load(), as llama.cpp reports it: there is no call that asks for it."""
        return tuple(self._buffers)

    @property
    def n_offloaded(self) -> int | None:
        """How many layers went to the GPU since begin_load(); the output layer counts as one. None: it was not said."""
        return self._n_offloaded

    def _log(self, level: int, text: bytes, _data: int | None) -> None:
        if level != _LEVEL_CONTINUE:
            self._level = level
        if self._level < _LEVEL_WARN:
            self._note_buffer(text)
            return
        if self._hushed:
            return
        line = text.decode("utf-8", "replace")
        sys.stderr.write(line)
        sys.stderr.flush()
        if self._level >= _LEVEL_ERROR and line.strip():
            self._errors.append(" ".join(line.split())[:300])

    def _note_buffer(self, text: bytes) -> None:
        if found := _BUFFER.search(text):
            device, purpose, mib = (part.decode("utf-8", "replace") for part in found.groups())
            self._buffers.append(Buffer(device=device, purpose=purpose, size_bytes=int(float(mib) * 2**20)))
        elif found := _OFFLOADED.search(text):
            self._n_offloaded = int(found[1])

    @staticmethod
    def _find_devices() -> tuple[str, ...]:
        """Accelerators by the names that a person knows them by."""
        from llama_cpp._ggml import libggml

        for name, result in (
            ("get", ctypes.c_void_p),
            ("description", ctypes.c_char_p),
            ("type", ctypes.c_int),
        ):
            function = getattr(libggml, f"ggml_backend_dev_{name}")
            function.restype = result
            function.argtypes = [ctypes.c_size_t if name == "get" else ctypes.c_void_p]
        if not llama_cpp.llama_supports_gpu_offload():
            return ()
        devices = [libggml.ggml_backend_dev_get(index) for index in range(libggml.ggml_backend_dev_count())]
        return tuple(
            libggml.ggml_backend_dev_description(device).decode("utf-8", "replace")
            for device in devices
            if libggml.ggml_backend_dev_type(device) in _GPU_TYPES
        )

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
