"""Compiling llama-server: the engine's own source and flags, a kept program, a build that goes on.

The build itself is stood in for by a script that takes cmake's arguments; the real one takes minutes.
"""

from pathlib import Path

import pytest

from steps.commands import Runner
from steps.engine_wheel import Recipe
from steps.failure import SetupFailed
from steps.lockfile import Pin
from steps.peer_server import PeerBuilder
from tests.packaging.test_engine_wheel import Workshop

BUILDS = 'mkdir -p "$WORK/bin"; touch "$WORK/bin/libllama.so.0"; echo fast > "$WORK/bin/llama-server"'


class Yard(Workshop):
    """A workshop whose cmake is a script too: it notes each call and does what the test wants."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tools = folder / "tools"
        self.tools.mkdir()
        self.cmake_calls = folder / "cmake-calls"
        self.compile_with(BUILDS)
        self.peers = PeerBuilder(
            tools=self.tools, python=self.python, runner=Runner(folder / "log"), cache=self.cache
        )

    def compile_with(self, script: str) -> None:
        """What `cmake --build` does from now on; WORK is its folder."""
        cmake = self.tools / "cmake"
        cmake.write_text(
            f'#!/bin/sh\necho "$@" >> {self.cmake_calls}\nif [ "$1" = --build ]; then WORK=$2; {script}; fi\n'
        )
        cmake.chmod(0o755)

    def recipe(self, key: str = "key", **defines: str) -> Recipe:
        pin = Pin(name="llama-cpp-python", version="0.3.36", marker="", hashes=(f"sha256:{self.digest}",))
        return Recipe(pin=pin, key=key, defines=defines, cc="cc", cxx="c++")

    def compiled(self) -> list[str]:
        return self.cmake_calls.read_text().splitlines() if self.cmake_calls.exists() else []


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return Yard(tmp_path)


def test_a_server_is_built_once_and_then_taken_from_the_cache(yard: Yard):
    first = yard.peers.server(yard.recipe())
    assert first == yard.peers.server(yard.recipe())
    assert first.read_text() == "fast\n"
    assert (first.parent / "libllama.so.0").exists()
    assert len(yard.compiled()) == 2  # configured once, built once


def test_it_is_compiled_from_the_engine_s_source_with_the_engine_s_flags(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_VULKAN=ON")
    yard.peers.server(yard.recipe(CMAKE_C_FLAGS="-mno-amx-tile", LLAMA_BUILD_SERVER="OFF"))
    configured = yard.compiled()[0]
    assert "llama_cpp_python-0.3.36/vendor/llama.cpp" in configured
    assert "-DCMAKE_C_FLAGS=-mno-amx-tile" in configured
    assert "-DLLAMA_BUILD_SERVER=ON" in configured
    assert "-DGGML_VULKAN=ON" in configured


def test_another_engine_means_another_server(yard: Yard):
    assert yard.peers.server(yard.recipe("one")) != yard.peers.server(yard.recipe("two"))


def test_a_build_that_failed_says_why_and_goes_on_in_the_same_folder(yard: Yard):
    yard.compile_with('touch "$WORK/half-done"; echo "error: no space left on device"; exit 1')
    with pytest.raises(SetupFailed, match="no space left on device"):
        yard.peers.server(yard.recipe())
    yard.compile_with(f'test -f "$WORK/half-done" && {{ {BUILDS}; }}')
    assert yard.peers.server(yard.recipe()).is_file()


def test_a_build_without_a_program_is_a_failure(yard: Yard):
    yard.compile_with("true")
    with pytest.raises(SetupFailed, match="could not be compiled"):
        yard.peers.server(yard.recipe())


def test_nothing_but_the_program_and_its_libraries_is_kept(yard: Yard):
    yard.compile_with(f'{BUILDS}; touch "$WORK/bin/llama-quantize"')
    kept = yard.peers.server(yard.recipe()).parent
    assert sorted(path.name for path in kept.iterdir()) == ["libllama.so.0", "llama-server"]
    assert list((yard.cache / "build").iterdir()) == []
