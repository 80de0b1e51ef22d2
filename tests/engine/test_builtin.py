"""The built-in models are found: one through the import system without importing its package, one among our own files."""

import hashlib
import importlib
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from engine import builtin
from engine.builtin import FILE_NAME, MODEL_NAME, PACKAGE, built_in_embedder, built_in_model, makes_vectors
from engine.errors import ModelInvalid, ModelMissing
from engine.supervisor import EngineSupervisor
from tests.engine.support import FAKE_CHILD, ROOT, gguf_image


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


def test_the_embedding_model_of_the_checkout_is_the_published_one_with_its_licence_beside_it() -> None:
    spec = built_in_embedder()
    assert spec.path.parent == ROOT / "assets" / "models"
    assert hashlib.sha256(spec.path.read_bytes()).hexdigest() == spec.sha256
    licence = spec.path.with_name(f"{spec.path.name}.LICENSE").read_text(encoding="utf-8")
    assert "sentence-transformers/all-MiniLM-L6-v2" in licence
    assert "Apache License" in licence


def test_an_installed_wheel_holds_the_embedding_model_where_the_engine_looks(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    site_packages = Path(builtin.__file__).resolve().parents[1]
    looked_at = [(folder / built_in_embedder().path.name) for folder in builtin.EMBEDDER_FOLDERS]
    expected = {str(path.relative_to(site_packages).as_posix()) for path in looked_at}
    with zipfile.ZipFile(wheel) as archive:
        held = expected & set(archive.namelist())
        assert len(held) == 1
        assert f"{held.copy().pop()}.LICENSE" in archive.namelist()


def test_no_embedding_model_is_a_missing_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "EMBEDDER_FOLDERS", (tmp_path,))
    with pytest.raises(ModelMissing, match="embedding model is not there"):
        built_in_embedder()


def test_an_embedding_model_is_told_from_others_by_its_file(tmp_path: Path) -> None:
    writer, broken = tmp_path / "writer.gguf", tmp_path / "broken.gguf"
    writer.write_bytes(gguf_image())
    broken.write_bytes(b"GGUF")
    assert makes_vectors(built_in_embedder().path)
    assert not any(map(makes_vectors, (writer, broken, tmp_path / "nowhere.gguf")))
