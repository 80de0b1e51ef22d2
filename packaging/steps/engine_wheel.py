"""Compiles llama-cpp-python for this very machine, once, and keeps the wheel in Hearth's own cache.

pip's cache does not know the CMake arguments, so a wheel with other flags could come out of it; it is not used here.
"""

import os
import platform
import shutil
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from steps.commands import Runner
from steps.engine_source import EngineSource
from steps.failure import SetupFailed
from steps.lockfile import Pin
from steps.progress import ProgressLine, in_words
from steps.toolchain import cache_key, cmake_defines, cpu_fingerprint, find_compiler, jobs_here

NAME = "llama-cpp-python"


def cache_root() -> Path:
    """Where compiled wheels are kept: $XDG_CACHE_HOME/hearth, or the platform's usual place."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "hearth"
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches" / "hearth"
    return Path.home() / ".cache" / "hearth"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a build needs, and the key under which its result is kept."""

    pin: Pin
    key: str
    defines: dict[str, str]
    cc: str
    cxx: str


def make_recipe(pin: Pin, engine_only: Path) -> Recipe:
    """Look at the compiler and the processor and decide how to build `pin` here."""
    if len(pin.hashes) != 1:
        raise SetupFailed(f"The lock must name exactly one file for {NAME}, its source: run `make lock`.")
    compiler = find_compiler(os.environ)
    defines = cmake_defines(compiler, platform.machine(), engine_only)
    key = cache_key(
        sdist_sha256=pin.hashes[0],
        defines=defines,
        engine_only_text=engine_only.read_text(encoding="utf-8"),
        user_cmake_args=os.environ.get("CMAKE_ARGS", ""),
        compiler_version=compiler.version,
        cpu=cpu_fingerprint(),
        # The wheel holds ctypes bindings and no extension module: one build serves every Python on the platform.
        python_tag=f"py3-none-{sysconfig.get_platform()}",
        libc="-".join(platform.libc_ver()),
    )
    return Recipe(pin=pin, key=key, defines=defines, cc=compiler.cc, cxx=compiler.cxx)


class EngineBuilder:
    """Builds wheels into the cache; an interrupted build goes on where it stopped."""

    def __init__(self, *, python: Path, runner: Runner, cache: Path) -> None:
        self._python = str(python)
        self._runner = runner
        self._cache = cache
        self._source = EngineSource(python=python, runner=runner, cache=cache)

    def cached(self, recipe: Recipe) -> Path | None:
        """The wheel of an earlier build, if there is one."""
        return next(iter((self._cache / "wheels" / recipe.key).glob("*.whl")), None)

    def forget(self, recipe: Recipe) -> None:
        """Drop a wheel that turned out not to work."""
        shutil.rmtree(self._cache / "wheels" / recipe.key, ignore_errors=True)

    def wheel(self, recipe: Recipe) -> Path:
        """The wheel for `recipe`, built now if the cache has none. Raises SetupFailed with one sentence."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with self._runner.locked(
            self._cache / "lock", "  Another set-up is compiling an engine; waiting for it …"
        ):
            return self.cached(recipe) or self._build(recipe)

    def _build(self, recipe: Recipe) -> Path:
        source = self._source.unpacked(recipe.pin)
        work = self._cache / "build" / recipe.key
        work.mkdir(parents=True, exist_ok=True)
        progress = ProgressLine("Compiling the engine (once for this machine)")
        with tempfile.TemporaryDirectory(dir=work) as out:
            done = self._runner.run(
                self._build_command(recipe, source, work / "cmake", Path(out)),
                extra_env={
                    "CC": recipe.cc,
                    "CXX": recipe.cxx,
                    "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs_here()),
                },
                on_line=progress.feed,
            )
            built = next(iter(Path(out).glob("*.whl")), None)
            if not done or built is None:
                progress.finish("stopped")
                raise SetupFailed(
                    f"The engine could not be compiled. The last lines:\n{self._runner.tail()}\n"
                    f"Check that the disk has 2 GB free and that `c++` works, then run the same command again; "
                    f"the whole log is in {self._runner.log}."
                )
            kept = self._cache / "wheels" / recipe.key
            kept.mkdir(parents=True, exist_ok=True)
            built.replace(kept / built.name)
        progress.finish(f"done in {in_words(progress.elapsed_s)}")
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(source.parent, ignore_errors=True)
        return kept / built.name

    def _build_command(self, recipe: Recipe, source: Path, cmake_dir: Path, out: Path) -> list[str]:
        settings = {
            "build-dir": str(cmake_dir),
            # llama.cpp also installs a second copy of its libraries and headers beside the package: not wanted.
            "wheel.exclude": "lib/*;include/*;bin/*",
            **{f"cmake.define.{name}": value for name, value in recipe.defines.items()},
        }
        return [
            self._python, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-index",
            "--wheel-dir", str(out), str(source),
            *(f"--config-settings={name}={value}" for name, value in settings.items()),
        ]  # fmt: skip
