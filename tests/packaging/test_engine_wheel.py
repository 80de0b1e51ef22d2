"""Compiling the engine: checked source, kept wheel, a build that goes on, and a failure that can be understood.

The build itself is stood in for by a script that takes pip's arguments; the real one takes minutes and `make test` has
done it before any test runs.
"""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from steps.commands import Runner
from steps.engine_wheel import EngineBuilder, Recipe, cache_root
from steps.failure import SetupFailed
from steps.lockfile import Pin

WHEEL = "llama_cpp_python-0.3.36-py3-none-any.whl"


def source_archive(path: Path) -> str:
    """Write a small source distribution; its sha256."""
    with tarfile.open(path, "w:gz") as tar:
        text = b"project(llama_cpp)\n"
        entry = tarfile.TarInfo("llama_cpp_python-0.3.36/CMakeLists.txt")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Workshop:
    """A builder whose pip is a script that notes each call and does what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.calls = folder / "calls"
        self.archive = folder / "llama_cpp_python-0.3.36.tar.gz"
        self.digest = source_archive(self.archive)
        self.python = folder / "python"
        self.build_with(f'echo "[1/2] c++"; echo "[2/2] c++"; touch "$OUT/{WHEEL}"')
        self.builder = EngineBuilder(python=self.python, runner=Runner(folder / "log"), cache=self.cache)

    def build_with(self, script: str) -> None:
        """What `pip wheel` does from now on; OUT and SOURCE are set."""
        self.python.write_text(
            "#!/bin/sh\n"
            f'echo "$3" >> {self.calls}\n'
            'last() { while [ $# -gt 1 ]; do [ "$1" = "$WANTED" ] && echo "$2"; shift; done; }\n'
            'case "$3" in\n'
            f'download) cp {self.archive} "$(WANTED=--dest last "$@")" ;;\n'
            f'wheel) OUT=$(WANTED=--wheel-dir last "$@"); SOURCE=$(WANTED="$OUT" last "$@"); {script} ;;\n'
            "esac\n"
        )
        self.python.chmod(0o755)

    def recipe(self, key: str = "key") -> Recipe:
        pin = Pin(name="llama-cpp-python", version="0.3.36", marker="", hashes=(f"sha256:{self.digest}",))
        return Recipe(pin=pin, key=key, defines={"LLAVA_BUILD": "OFF"}, cc="cc", cxx="c++")

    def called(self) -> list[str]:
        return self.calls.read_text().split() if self.calls.exists() else []


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_a_wheel_is_built_once_and_then_taken_from_the_cache(workshop: Workshop):
    first = workshop.builder.wheel(workshop.recipe())
    second = workshop.builder.wheel(workshop.recipe())
    assert first == second == workshop.cache / "wheels" / "key" / WHEEL
    assert workshop.called() == ["download", "wheel"]


def test_other_flags_mean_another_wheel_from_the_same_source(workshop: Workshop):
    assert workshop.builder.wheel(workshop.recipe("one")) != workshop.builder.wheel(workshop.recipe("two"))
    assert workshop.called() == ["download", "wheel", "wheel"]


def test_a_wheel_that_does_not_work_is_forgotten(workshop: Workshop):
    workshop.builder.wheel(workshop.recipe())
    workshop.builder.forget(workshop.recipe())
    assert workshop.builder.cached(workshop.recipe()) is None


def test_the_source_and_the_build_folder_are_gone_after_a_build(workshop: Workshop):
    workshop.builder.wheel(workshop.recipe())
    assert list((workshop.cache / "build").iterdir()) == []
    assert [path.name for path in (workshop.cache / "source").iterdir()] == [f"{workshop.digest}.tar.gz"]


def test_a_build_that_failed_says_why_and_goes_on_in_the_same_folders(workshop: Workshop):
    workshop.build_with(
        'echo "half done" > "$SOURCE/object.o"; echo "error: no space left on device"; exit 1'
    )
    with pytest.raises(SetupFailed, match="no space left on device"):
        workshop.builder.wheel(workshop.recipe())
    workshop.build_with(f'test -f "$SOURCE/object.o" && touch "$OUT/{WHEEL}"')
    assert workshop.builder.wheel(workshop.recipe()).is_file()
    assert workshop.called() == ["download", "wheel", "wheel"]


def test_a_source_with_another_hash_is_not_built(workshop: Workshop):
    recipe = workshop.recipe()
    with workshop.archive.open("ab") as archive:
        archive.write(b"tampered")
    with pytest.raises(SetupFailed, match="could not be downloaded"):
        workshop.builder.wheel(recipe)
    assert workshop.called() == ["download"]


def test_a_kept_source_that_was_damaged_is_downloaded_again(workshop: Workshop):
    workshop.builder.wheel(workshop.recipe("one"))
    kept = workshop.cache / "source" / f"{workshop.digest}.tar.gz"
    kept.write_bytes(b"damaged")
    assert workshop.builder.wheel(workshop.recipe("two")).is_file()
    assert workshop.called() == ["download", "wheel", "download", "wheel"]


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "hearth"
