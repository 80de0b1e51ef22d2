"""An embedding model: many texts in one batch, one vector of unit length for each.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import llama_cpp
import numpy as np

from engine.errors import EngineError
from engine.llama.library import LlamaLibrary
from engine.llama.loading import embedding_tokens, load_model
from engine.llama.native_batch import NativeBatch
from engine.llama.vocabulary import Vocabulary
from engine.messages import Load, Loaded

N_SEQUENCES = 64  # texts in one batch
WATCHED_TOKENS = (
    128  # llama.cpp's check for an abort is a call into Python for each node: too much for a short text
)
_OK, _ABORTED = 0, 2  # what llama_encode and llama_decode return


class LlamaEmbedder:
    """One embedding model with one context. Raises ModelInvalid when it can't be loaded or makes no vectors.

    How a text's token states become one vector (their mean, the first or the last) is what the file says.
    """

    def __init__(
        self,
        load: Load,
        *,
        library: LlamaLibrary,
        beat: Callable[[], None],
        aborted: Callable[[], bool],
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._beat = beat
        self._aborted = aborted
        self._hush = library.hush
        self._loaded = load_model(
            load,
            library=library,
            beat=beat,
            on_progress=on_progress,
            n_seq_max=N_SEQUENCES,
            embedding=True,
        )
        self._context = self._loaded.context
        self._memory = llama_cpp.llama_get_memory(self._context)  # None: an encoder, which keeps nothing
        self._vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(self._loaded.model))
        self.n_ctx = self._loaded.facts.n_ctx
        self.batch_tokens = embedding_tokens(load)
        self.n_sequences = N_SEQUENCES
        self.n_threads = self._loaded.n_threads
        self.native_s = 0.0
        self._batch = NativeBatch(llama_cpp.llama_n_batch(self._context))
        # kept for as long as the context, which calls them
        self._abort_callback = llama_cpp.ggml_abort_callback(self._on_abort_check)
        self._no_callback = llama_cpp.ggml_abort_callback()

    def facts(self) -> Loaded:
        """The model in numbers."""
        return self._loaded.facts

    def tokenize(self, text: str) -> list[int]:
        """The text as the model reads it, with the marks around it; control texts in it are only text."""
        return self._vocabulary.tokenize_document(text)

    def embed(self, texts: Sequence[Sequence[int]]) -> list[bytes] | None:
        """The vectors (float32, little-endian) of up to n_sequences texts in one batch. None: aborted in between.

        Raises EngineError.
        """
        self._beat()
        self._fill(texts)
        compute = llama_cpp.llama_encode
        if self._memory is not None:
            llama_cpp.llama_memory_clear(self._memory, False)  # the texts before are done with
            compute = llama_cpp.llama_decode
        watch = self._abort_callback if self._batch.struct.n_tokens >= WATCHED_TOKENS else self._no_callback
        llama_cpp.llama_set_abort_callback(self._context, watch, None)
        started = time.perf_counter()
        status = compute(self._context, self._batch.struct)
        self.native_s += time.perf_counter() - started
        self._hush(False)
        if status == _ABORTED:
            return None
        if status != _OK:
            raise EngineError(f"The engine could not compute these vectors (code {status}); try it again.")
        return [self._vector(seq_id) for seq_id in range(len(texts))]

    def set_threads(self, n_threads: int) -> None:
        """Compute with so many threads from the next batch on."""
        if n_threads != self.n_threads:
            llama_cpp.llama_set_n_threads(self._context, n_threads, n_threads)
            self.n_threads = n_threads

    def close(self) -> None:
        """Free context and model."""
        self._loaded.close()

    def _fill(self, texts: Sequence[Sequence[int]]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        seq_ids: list[int] = []
        for seq_id, text in enumerate(texts):
            tokens += text
            positions += range(len(text))
            seq_ids += [seq_id] * len(text)
        self._batch.fill(tokens, positions, seq_ids, [1] * len(tokens))

    def _vector(self, seq_id: int) -> bytes:
        pointer = llama_cpp.llama_get_embeddings_seq(self._context, seq_id)
        if not pointer:
            raise EngineError("The engine gave no vector for a text; try it again.")
        vector = np.ctypeslib.as_array(pointer, shape=(self._loaded.facts.n_embd,)).astype(np.float64)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0.0:
            raise EngineError("The model gave no usable vector for a text; choose another embedding model.")
        return (vector / length).astype("<f4").tobytes()

    def _on_abort_check(self, _data: int | None) -> bool:
        self._beat()
        is_aborted = self._aborted()
        if is_aborted:
            self._hush(True)  # llama.cpp complains of a stop that it was asked for
        return is_aborted
