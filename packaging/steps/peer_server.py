"""Compiles llama-server from the very source and with the very flags of Hearth's engine, to be compared with it."""

import hashlib
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from steps.commands import Runner
from steps.engine_source import EngineSource
from steps.engine_wheel import Recipe
from steps.failure import SetupFailed
from steps.progress import ProgressLine, in_words
from steps.toolchain import jobs_here

PROGRAM = "llama-server"

# Where the server differs from the library: it needs llama.cpp's tools, and nothing that reaches for the network.
SERVER_DEFINES = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_BUILD_RPATH_USE_ORIGIN": "ON",  # the program finds its libraries beside itself, wherever it is kept
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "GGML_CCACHE": "OFF",
}
_SHARED_WITH_THE_ENGINE = ("CMAKE_C_FLAGS", "CMAKE_CXX_FLAGS")


class PeerBuilder:
    """Builds the program into the cache; an interrupted build goes on where it stopped."""

    def __init__(self, *, tools: Path, python: Path, runner: Runner, cache: Path) -> None:
        """`tools` is the folder with cmake and ninja."""
        self._tools = tools
        self._runner = runner
        self._cache = cache
        self._source = EngineSource(python=python, runner=runner, cache=cache)

    def server(self, recipe: Recipe) -> Path:
        """The program that belongs to the engine of `recipe`, built now if the cache has none. Raises SetupFailed."""
        self._cache.mkdir(parents=True, exist_ok=True)
        defines = {
            **{name: recipe.defines[name] for name in _SHARED_WITH_THE_ENGINE if name in recipe.defines},
            **SERVER_DEFINES,
        }
        kept = self._cache / "peers" / _key(recipe, defines)
        with self._runner.locked(self._cache / "lock", "  A set-up is compiling an engine; waiting for it …"):
            if not (kept / PROGRAM).is_file():
                self._build(recipe, defines, kept)
        return kept / PROGRAM

    def _build(self, recipe: Recipe, defines: dict[str, str], kept: Path) -> None:
        source = self._source.unpacked(recipe.pin)
        work = self._cache / "build" / kept.name
        work.mkdir(parents=True, exist_ok=True)
        # stdout is for the path of the program alone
        progress = ProgressLine(f"Compiling {PROGRAM} (once for this machine)", out=sys.stderr)
        environment = {"CC": recipe.cc, "CXX": recipe.cxx}
        done = all(
            self._runner.run(command, extra_env=environment, on_line=progress.feed)
            for command in self._commands(source / "vendor" / "llama.cpp", work, defines)
        )
        if not done or not (work / "bin" / PROGRAM).is_file():
            progress.finish("stopped")
            raise SetupFailed(
                f"{PROGRAM} could not be compiled. The last lines:\n{self._runner.tail()}\n"
                "Check that the disk has 2 GB free and that `c++` works, then run the same command again; "
                f"the whole log is in {self._runner.log}."
            )
        _keep(work / "bin", kept)
        progress.finish(f"done in {in_words(progress.elapsed_s)}")
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(source.parent, ignore_errors=True)

    def _commands(self, source: Path, work: Path, defines: dict[str, str]) -> list[list[str]]:
        cmake, ninja = str(self._tools / "cmake"), self._tools / "ninja"
        # as pip does for the engine: what the user set for CMake counts here too
        settings = [f"-D{name}={value}" for name, value in defines.items()]
        settings += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        return [
            [
                cmake,
                "-S",
                str(source),
                "-B",
                str(work),
                "-G",
                "Ninja",
                f"-DCMAKE_MAKE_PROGRAM={ninja}",
                *settings,
            ],
            [cmake, "--build", str(work), "--target", PROGRAM, "--parallel", str(jobs_here())],
        ]


def _key(recipe: Recipe, defines: dict[str, str]) -> str:
    """The recipe's own key names the source, the compiler and the processor."""
    return hashlib.sha256(json.dumps([recipe.key, defines], sort_keys=True).encode()).hexdigest()[:32]


def _keep(built: Path, kept: Path) -> None:
    """Move the program and its libraries to their place; the program last, since its presence means that all is there."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in sorted(built.iterdir(), key=lambda path: path.name == PROGRAM):
        if path.name == PROGRAM or path.name.startswith("lib"):
            shutil.move(path, kept / path.name)
