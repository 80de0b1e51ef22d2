"""Compile flags for each compiler and machine, and the key under which a compiled engine is kept."""

import os
import stat
from pathlib import Path

import pytest

from steps.failure import SetupFailed
from steps.toolchain import (
    NO_AMX,
    Compiler,
    build_jobs,
    cache_key,
    cmake_defines,
    cpu_fingerprint,
    find_compiler,
)

ENGINE_ONLY = Path("/checkout/packaging/engine_only.cmake")


def compiler(*, is_gcc: bool = True, accepts_no_amx: bool = True) -> Compiler:
    return Compiler(cc="cc", cxx="c++", is_gcc=is_gcc, version="c++ 12.2.0", accepts_no_amx=accepts_no_amx)


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_gcc_on_x86_leaves_amx_out_in_c_and_cpp(machine: str):
    defines = cmake_defines(compiler(), machine, ENGINE_ONLY)
    assert (
        defines["CMAKE_C_FLAGS"] == defines["CMAKE_CXX_FLAGS"] == "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    )


@pytest.mark.parametrize(
    ("found", "machine"),
    [
        (compiler(is_gcc=False), "x86_64"),
        (compiler(accepts_no_amx=False), "x86_64"),
        (compiler(), "aarch64"),
        (compiler(), "arm64"),
    ],
)
def test_no_flags_are_given_where_they_are_not_needed_or_not_understood(found: Compiler, machine: str):
    defines = cmake_defines(found, machine, ENGINE_ONLY)
    assert "CMAKE_C_FLAGS" not in defines
    assert "CMAKE_CXX_FLAGS" not in defines


def test_what_hearth_does_not_load_is_not_compiled():
    defines = cmake_defines(compiler(), "x86_64", ENGINE_ONLY)
    assert {name for name, value in defines.items() if value == "OFF"} >= {
        "LLAVA_BUILD",
        "LLAMA_BUILD_SERVER",
    }
    assert defines["CMAKE_PROJECT_llama.cpp_INCLUDE"] == str(ENGINE_ONLY)


def base_key(**changed: object) -> str:
    facts: dict[str, object] = {
        "sdist_sha256": "sha256:aa",
        "defines": {"LLAVA_BUILD": "OFF"},
        "engine_only_text": "set(X OFF)",
        "user_cmake_args": "",
        "compiler_version": "g++ 12.2.0",
        "cpu": "x86_64 avx2",
        "python_tag": "py3-none-linux-x86_64",
        "libc": "glibc-2.36",
    }
    return cache_key(**(facts | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"sdist_sha256": "sha256:bb"},
        {"defines": {"LLAVA_BUILD": "ON"}},
        {"engine_only_text": ""},
        {"user_cmake_args": "-DGGML_CUDA=on"},
        {"compiler_version": "g++ 14.1.0"},
        {"cpu": "x86_64 avx2 avx512f"},
        {"python_tag": "py3-none-linux-aarch64"},
        {"libc": "glibc-2.41"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_each_thing_that_machine_code_depends_on_changes_the_key(changed: dict[str, object]):
    assert base_key(**changed) != base_key()


def test_the_place_of_the_checkout_does_not_change_the_key():
    here = cmake_defines(compiler(), "x86_64", Path("/home/a/engine_only.cmake"))
    there = cmake_defines(compiler(), "x86_64", Path("/home/b/engine_only.cmake"))
    assert base_key(defines=here) == base_key(defines=there)


def test_the_order_of_processor_features_does_not_change_the_fingerprint(tmp_path: Path):
    one, two, more = tmp_path / "one", tmp_path / "two", tmp_path / "more"
    one.write_text("processor: 0\nflags\t\t: avx2 fma sse\nbogomips: 1\n")
    two.write_text("processor: 0\nflags\t\t: sse avx2 fma\nbogomips: 2\n")
    more.write_text("processor: 0\nflags\t\t: sse avx2 fma amx_tile\n")
    assert cpu_fingerprint(one) == cpu_fingerprint(two)
    assert cpu_fingerprint(one) != cpu_fingerprint(more)


def test_a_machine_without_cpuinfo_still_has_a_fingerprint(tmp_path: Path):
    assert cpu_fingerprint(tmp_path / "none").strip()


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "jobs"), [(2, 8, 2), (16, 4, 4), (4, 0, 1), (1, 64, 1), (8, None, 8)]
)
def test_compilers_run_on_every_core_but_fit_in_memory(cpus: int, memory_gib: int | None, jobs: int):
    assert build_jobs(cpus, None if memory_gib is None else memory_gib * 2**30) == jobs


def fake_compiler(path: Path, *, macros: str, refuses: str = "") -> None:
    path.write_text(
        "#!/bin/sh\n"
        f'for a in "$@"; do [ "$a" = "{refuses}" ] && exit 1; done\n'
        f'case "$*" in *-dM*) echo "{macros}";; *--version*) echo "{path.name} 99";; esac\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_compiler_says_what_it_is(tmp_path: Path):
    for name in ("mycc", "myc++"):
        fake_compiler(tmp_path / name, macros="#define __GNUC__ 12")
    found = find_compiler({"CC": str(tmp_path / "mycc"), "CXX": str(tmp_path / "myc++")})
    assert found.is_gcc
    assert found.accepts_no_amx
    assert found.version == "myc++ 99"


def test_clang_is_not_taken_for_gcc(tmp_path: Path):
    for name in ("mycc", "myc++"):
        fake_compiler(tmp_path / name, macros="#define __GNUC__ 4 #define __clang__ 1")
    assert not find_compiler({"CC": str(tmp_path / "mycc"), "CXX": str(tmp_path / "myc++")}).is_gcc


def test_one_compiler_that_refuses_the_flags_is_enough_to_leave_them_out(tmp_path: Path):
    fake_compiler(tmp_path / "mycc", macros="#define __GNUC__ 8", refuses=NO_AMX[0])
    fake_compiler(tmp_path / "myc++", macros="#define __GNUC__ 12")
    assert not find_compiler({"CC": str(tmp_path / "mycc"), "CXX": str(tmp_path / "myc++")}).accepts_no_amx


def test_a_machine_without_a_compiler_gets_a_sentence_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupFailed, match=r"No C\+\+ compiler was found: install g\+\+"):
        find_compiler(os.environ | {"CC": "", "CXX": ""})
