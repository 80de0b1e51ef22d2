"""Which model to load, and the limits and the plan for it; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from engine.core import check_range

DEFAULT_N_CTX = 8192
DEFAULT_SLOTS = 16
MAX_SLOTS = 64


class KvType(StrEnum):
    """The number format of the KV cache."""

    F16 = "f16"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which GGUF to load and how. None leaves the choice to the plan that a trial load finds.

    n_ctx is in tokens and shared by all sequences; its default is min(trained, 8192).
    """

    path: Path
    name: str
    n_ctx: int | None = None
    n_slots: int = DEFAULT_SLOTS  # requests that can be in work at once
    n_threads: int | None = None  # at most so many; one a physical core by default
    n_gpu_layers: int | None = None  # 0 keeps everything on the processor
    kv_type: KvType | None = None
    draft_path: Path | None = None  # a small model with the same vocabulary that guesses ahead
    speculate: bool = True  # guess ahead where it pays
    sha256: str | None = None  # of the file as it was published, in hex; None when nobody knows it

    def __post_init__(self) -> None:
        if self.n_ctx is not None:
            check_range("n_ctx", self.n_ctx, 64, 16_777_216)
        check_range("n_slots", self.n_slots, 1, MAX_SLOTS)
        if self.n_threads is not None:
            check_range("n_threads", self.n_threads, 1, 1024)
        if self.n_gpu_layers is not None:
            check_range("n_gpu_layers", self.n_gpu_layers, 0, 10_000)


@dataclass(frozen=True, kw_only=True)
class CacheSpec:
    """Where and how much state of prefixes and of requests that gave way is kept outside the KV cache."""

    ram_bytes: int = 512 * 1024 * 1024
    disk_bytes: int = 2 * 1024 * 1024 * 1024
    folder: Path | None = None  # None: nothing on disk
    key: str | None = field(default=None, repr=False)  # 32 bytes in hex, encrypts what lies in the folder

    def __post_init__(self) -> None:
        check_range("ram_bytes", self.ram_bytes, 0, 2**50)
        check_range("disk_bytes", self.disk_bytes, 0, 2**50)


@dataclass(frozen=True, kw_only=True)
class PowerLimits:
    """What the surroundings allow, such as on battery: at most so many threads, and whether background work may go on."""

    max_threads: int | None = None
    background: bool = True

    def __post_init__(self) -> None:
        if self.max_threads is not None:
            check_range("max_threads", self.max_threads, 1, 1024)
