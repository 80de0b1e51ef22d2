"""Knows the compiler and the processor, and chooses compile flags that are safe on both."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steps.failure import SetupFailed

# GCC 12 miscompiles ggml's AMX tile set-up: the library loads and dies at the first prompt batch. Which releases are right is
# not known for certain, so every GCC leaves AMX out; it costs nothing measurable on the models that Hearth is made for.
NO_AMX = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")

# What llama.cpp would build besides the library that Hearth loads. The tools are off already when it is built as a part
# of llama-cpp-python; named here, they stay off if that changes.
LEAVE_OUT = {
    "LLAVA_BUILD": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_TOOLS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "GGML_CCACHE": "OFF",
}

X86 = frozenset({"x86_64", "amd64", "i686", "i386"})


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """A pair of C and C++ compilers as they describe themselves."""

    cc: str
    cxx: str
    is_gcc: bool
    version: str
    accepts_no_amx: bool


def find_compiler(env: Mapping[str, str]) -> Compiler:
    """The compilers named by CC and CXX, else the system's. Raises SetupFailed with one sentence."""
    cc, cxx = _find(env.get("CC"), ("cc", "gcc", "clang")), _find(env.get("CXX"), ("c++", "g++", "clang++"))
    if cc is None or cxx is None:
        raise SetupFailed(
            "No C++ compiler was found: install g++ (Debian: sudo apt-get install g++; macOS: xcode-select --install)."
        )
    macros = _run([cxx, "-x", "c++", "-dM", "-E", os.devnull]) or ""
    accepts = all(
        _run([compiler, "-Werror", "-fsyntax-only", "-x", language, *NO_AMX, os.devnull]) is not None
        for compiler, language in ((cc, "c"), (cxx, "c++"))
    )
    version = (_run([cxx, "--version"]) or "unknown").partition("\n")[0]
    is_gcc = "__GNUC__" in macros and "__clang__" not in macros
    return Compiler(cc=cc, cxx=cxx, is_gcc=is_gcc, version=version, accepts_no_amx=accepts)


def _find(named: str | None, usual: tuple[str, ...]) -> str | None:
    if named:
        return shutil.which(named)
    return next((found for name in usual if (found := shutil.which(name))), None)


def _run(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def cmake_defines(compiler: Compiler, machine: str, engine_only: Path) -> dict[str, str]:
    """The CMake definitions for this compiler and machine."""
    defines = dict(LEAVE_OUT)
    defines["CMAKE_PROJECT_llama.cpp_INCLUDE"] = str(engine_only)
    if compiler.is_gcc and compiler.accepts_no_amx and machine.lower() in X86:
        defines["CMAKE_C_FLAGS"] = defines["CMAKE_CXX_FLAGS"] = " ".join(NO_AMX)
    return defines


def cpu_fingerprint(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What decides the instructions that a native build uses: the processor's features, or its name where none are listed."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    features = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    names = " ".join(sorted(features[1].split())) if features else ""
    return f"{platform.machine()} {names}"


def cache_key(
    *,
    sdist_sha256: str,
    defines: Mapping[str, str],
    engine_only_text: str,
    user_cmake_args: str,
    compiler_version: str,
    cpu: str,
    python_tag: str,
    libc: str,
) -> str:
    """Names a compiled wheel by everything that its machine code depends on."""
    portable = {name: value for name, value in defines.items() if not name.endswith("_INCLUDE")}
    parts = [
        sdist_sha256, portable, engine_only_text, user_cmake_args, compiler_version, cpu, python_tag, libc,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def build_jobs(cpus: int, memory_bytes: int | None) -> int:
    """How many compilers to run at once: one per core, but never more than fit in memory at 1 GiB each."""
    by_memory = cpus if memory_bytes is None else memory_bytes // 2**30
    return max(1, min(cpus, by_memory))


def jobs_here() -> int:
    """How many compilers to run at once on this machine."""
    return build_jobs(_cpus(), _memory_bytes())


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
