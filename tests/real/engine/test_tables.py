"""Tables that were written down by hand are the library's own."""

import ctypes

import pytest

from engine.builtin import built_in_model
from engine.host.gguf import TENSOR_TYPES, check_model_file


def test_the_tensor_types_of_the_file_check_are_ggml_s() -> None:
    ggml = pytest.importorskip("llama_cpp._ggml").libggml
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.ggml_blck_size.restype = ctypes.c_int64
    for kind, (block, size_bytes) in TENSOR_TYPES.items():
        assert (ggml.ggml_blck_size(kind), ggml.ggml_type_size(kind)) == (block, size_bytes), kind


def test_the_built_in_model_passes_the_file_check() -> None:
    facts = check_model_file(built_in_model().path)
    assert (facts.architecture, facts.n_tensors) == ("llama", 272)
