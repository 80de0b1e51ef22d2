"""A llama_batch over our own arrays: filled by numpy, at most one sequence a token, nothing to free.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np


class NativeBatch:
    """Room for n_max tokens; `struct` is what llama_decode and llama_encode take."""

    def __init__(self, n_max: int) -> None:
        self._tokens = np.zeros(n_max, dtype=np.int32)
        self._positions = np.zeros(n_max, dtype=np.int32)
        self._seq_ids = np.zeros(n_max, dtype=np.int32)
        self._outputs = np.zeros(n_max, dtype=np.int8)
        self._ones = np.ones(n_max, dtype=np.int32)
        first = self._seq_ids.ctypes.data
        self._seq_pointers = np.arange(first, first + 4 * n_max, 4, dtype=np.uintp)
        self.struct = llama_cpp.llama_batch()
        self.struct.token = _pointer(self._tokens, ctypes.c_int32)
        self.struct.pos = _pointer(self._positions, ctypes.c_int32)
        self.struct.n_seq_id = _pointer(self._ones, ctypes.c_int32)
        self.struct.seq_id = _pointer(self._seq_pointers, ctypes.POINTER(ctypes.c_int32))
        self.struct.logits = _pointer(self._outputs, ctypes.c_int8)

    def fill(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        seq_ids: Sequence[int],
        outputs: Sequence[int],
    ) -> None:
        """One item a token in each list; outputs has a 1 where a result is wanted."""
        n = len(tokens)
        self._tokens[:n] = tokens
        self._positions[:n] = positions
        self._seq_ids[:n] = seq_ids
        self._outputs[:n] = outputs
        self.struct.n_tokens = n


def _pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
