"""The context of a loaded model: fills and computes batches of many sequences, copies, cuts and saves their states.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np

from engine.errors import EngineError
from engine.llama.native_batch import NativeBatch
from engine.schedule.batch import Batch, Outcome
from engine.states.sealing import State

WATCHED_TOKENS = (
    32  # llama.cpp's check for an abort is a call into Python for each node: a tenth of a single token
)


_OUTCOMES = {0: Outcome.DONE, 1: Outcome.NO_ROOM, 2: Outcome.ABORTED}  # what llama_decode returns


class LlamaContext:
    """Computes; native_s counts the time inside llama.cpp."""

    def __init__(
        self,
        context: Any,
        *,
        n_batch: int,
        beat: Callable[[], None],
        aborted: Callable[[], bool],
        hush: Callable[[bool], None],
    ) -> None:
        """hush(True) before llama.cpp complains of a stop that it was asked for, hush(False) when that is over."""
        self.pointer = context
        self._hush = hush
        self.native_s = 0.0
        self._beat = beat
        self._aborted = aborted
        self._memory = llama_cpp.llama_get_memory(context)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(
            llama_cpp.llama_model_get_vocab(llama_cpp.llama_get_model(context))
        )
        self.n_threads: int = llama_cpp.llama_n_threads(context)
        self._batch = NativeBatch(n_batch)
        # kept for as long as the context, which calls them
        self._abort_callback = llama_cpp.ggml_abort_callback(self._on_abort_check)
        self._no_callback = llama_cpp.ggml_abort_callback()
        self._abort_is_watched = False

    def decode(self, batch: Batch) -> Outcome:
        """Compute a batch. Raises EngineError; then nothing of it is in the cache."""
        self._beat()
        self._watch_abort(watch=self._fill(batch) >= WATCHED_TOKENS)
        started = time.perf_counter()
        status = llama_cpp.llama_decode(self.pointer, self._batch.struct)
        self.native_s += time.perf_counter() - started
        self._hush(False)
        outcome = _OUTCOMES.get(status)
        if outcome is None:
            raise EngineError(
                f"The engine could not compute this request (llama_decode gave {status}); try it again."
            )
        return outcome

    def logits(self, row: int) -> np.ndarray[Any, Any]:
        """A copy of the logits in a row of the last batch; -1 is the last row."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, row)
        return np.ctypeslib.as_array(pointer, shape=(self._n_vocab,)).copy()

    def set_threads(self, n_threads: int) -> None:
        """Compute with so many threads from the next batch on."""
        if n_threads != self.n_threads:
            llama_cpp.llama_set_n_threads(self.pointer, n_threads, n_threads)
            self.n_threads = n_threads

    def copy_prefix(self, source: int, target: int, n_tokens: int) -> None:
        """The empty target shares the first n tokens of the source."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, n_tokens)

    def trim(self, seq_id: int, n_tokens: int) -> None:
        """Only the first n tokens of a sequence stay."""
        if not llama_cpp.llama_memory_seq_rm(self._memory, seq_id, n_tokens, -1):
            raise EngineError("The model's memory can't be cut there; this is a bug in the engine.")

    def state_bytes(self, seq_id: int) -> int:
        """The size of the state of a sequence."""
        return int(llama_cpp.llama_state_seq_get_size(self.pointer, seq_id))

    def save(self, seq_id: int) -> State:
        """The state of a sequence."""
        started = time.perf_counter()
        size = self.state_bytes(seq_id)
        # no numpy array: it asks for huge pages, and to find those took 140 ms for 69 MB, against 27
        data = bytearray(size)
        buffer = (ctypes.c_uint8 * size).from_buffer(data)
        written = llama_cpp.llama_state_seq_get_data(self.pointer, buffer, size, seq_id)
        del buffer  # it holds the bytearray
        self.native_s += time.perf_counter() - started
        if written != size:
            raise EngineError("The engine could not put this request aside; try it again.")
        return data

    def restore(self, seq_id: int, data: State) -> bool:
        """Put a saved state into an empty sequence."""
        started = time.perf_counter()
        view = np.frombuffer(data, dtype=np.uint8)
        pointer = view.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        read = llama_cpp.llama_state_seq_set_data(self.pointer, pointer, view.size, seq_id)
        self.native_s += time.perf_counter() - started
        return bool(read)

    def _fill(self, batch: Batch) -> int:
        tokens: list[int] = []
        positions: list[int] = []
        seq_ids: list[int] = []
        outputs: list[int] = []
        for run in batch.runs:
            n, n_outputs = len(run.tokens), run.n_outputs
            slot = run.sequence.slot
            assert slot is not None
            tokens += run.tokens
            positions += range(run.start, run.start + n)
            seq_ids += [slot.seq_id] * n
            outputs += [0] * (n - n_outputs) + [1] * n_outputs
        self._batch.fill(tokens, positions, seq_ids, outputs)
        return len(tokens)

    def _watch_abort(self, *, watch: bool) -> None:
        if watch is not self._abort_is_watched:
            callback = self._abort_callback if watch else self._no_callback
            llama_cpp.llama_set_abort_callback(self.pointer, callback, None)
            self._abort_is_watched = watch

    def _on_abort_check(self, _data: int | None) -> bool:
        self._beat()
        is_aborted = self._aborted()
        if is_aborted:
            self._hush(True)
        return is_aborted
