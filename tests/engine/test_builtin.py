"""The built-in model is found through the import system, without importing its package."""

import importlib
import sys
from pathlib import Path

import pytest

from engine.builtin import FILE_NAME, MODEL_NAME, PACKAGE, built_in_model
from engine.errors import ModelInvalid, ModelMissing
from engine.supervisor import EngineSupervisor
from tests.engine.support import FAKE_CHILD, gguf_image


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return folder


def test_the_file_is_found_and_the_package_is_not_imported(package: Path) -> None:
    (package / FILE_NAME).write_bytes(b"GGUF")
    spec = built_in_model()
    assert spec.path == package / FILE_NAME
    assert PACKAGE not in sys.modules


async def test_another_file_in_its_place_is_refused(package: Path, tmp_path: Path) -> None:
    (package / FILE_NAME).write_bytes(gguf_image())
    engine = EngineSupervisor(model=built_in_model(), command=FAKE_CHILD, state_file=tmp_path / "engine.json")
    with pytest.raises(ModelInvalid, match=f"^The file of {MODEL_NAME} is damaged"):
        await engine.start()
    await engine.stop()


def test_a_package_without_the_file_is_a_missing_model(package: Path) -> None:
    with pytest.raises(ModelMissing, match="run the set-up again"):
        built_in_model()


def test_no_package_is_a_missing_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.builtin.PACKAGE", "hearth_no_such_package")
    with pytest.raises(ModelMissing, match="not installed"):
        built_in_model()
