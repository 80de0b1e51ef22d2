"""What llama.cpp alone makes of a model, nothing kept from before: the measure for what the engine makes of it.

A process of its own, because native libraries stay where they were loaded: `python oracle.py` reads one task as JSON.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.model import KvType
from tests.engine.support import ROOT
from tests.real.engine.tiny_models import Pooling

_N_CTX = 1024


def continued(
    path: Path, prompts: Sequence[str], n_tokens: int, *, kv_type: KvType, lead: float = 0.0
) -> list[str]:
    """What follows each prompt, greedily: a fresh context for each, one sequence, one token a step.

    A text ends before the first token whose logit leads all others by less than the given lead.
    """
    task = {
        "path": str(path),
        "prompts": list(prompts),
        "n_tokens": n_tokens,
        "kv_type": kv_type,
        "lead": lead,
    }
    found: list[str] = _ask(task)
    return found


def pooled(path: Path, texts: Sequence[str], pooling: Pooling) -> list[list[float]]:
    """The vector of each text, pooled here from the states of its tokens, which llama.cpp computed without pooling."""
    found: list[list[float]] = _ask({"path": str(path), "texts": list(texts), "pooling": pooling})
    return found


def _ask(task: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(task),
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


class _Model:
    """A model in this process, freed with it."""

    def __init__(self, path: str) -> None:
        import llama_cpp

        self.llama = llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        assert self._model, "llama.cpp does not load the tiny model"
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(self._vocabulary)

    def text(self, prompt: str, n_tokens: int, kv_type: KvType, lead: float) -> str:
        context = self._context(kv_type=kv_type)
        tokens = self._tokens(prompt)
        written: list[int] = []
        for _ in range(n_tokens):
            self._decode(context, tokens)
            logits = self._row(self.llama.llama_get_logits_ith(context, -1), self._n_vocab)
            second, first = logits.argsort()[-2:]
            if logits[first] - logits[second] < lead:
                break
            tokens = [int(first)]
            written += tokens
        self.llama.llama_free(context)
        return b"".join(map(self._piece, written)).decode()

    def vector(self, text: str, pooling: Pooling) -> list[float]:
        import numpy as np

        context = self._context(embeddings=True)
        tokens = self._tokens(text)
        self._decode(context, tokens)
        width = self.llama.llama_model_n_embd(self._model)
        rows = range(len(tokens))
        states = np.array(
            [self._row(self.llama.llama_get_embeddings_ith(context, row), width) for row in rows],
            dtype=np.float64,
        )
        self.llama.llama_free(context)
        vector = {
            Pooling.MEAN: states.mean(axis=0),
            Pooling.FIRST: states[0],
            Pooling.LAST: states[-1],
        }[pooling]
        return [float(number) for number in vector / np.linalg.norm(vector)]

    def _context(self, *, kv_type: KvType = KvType.F16, embeddings: bool = False) -> Any:
        llama = self.llama
        types = {
            KvType.F16: llama.GGML_TYPE_F16,
            KvType.Q8_0: llama.GGML_TYPE_Q8_0,
            KvType.Q4_0: llama.GGML_TYPE_Q4_0,
        }
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = _N_CTX
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = types[kv_type]
        if embeddings:
            params.embeddings, params.pooling_type = True, llama.LLAMA_POOLING_TYPE_NONE
        return llama.llama_init_from_model(self._model, params)

    def _decode(self, context: Any, tokens: list[int]) -> None:
        array = (self.llama.llama_token * len(tokens))(*tokens)
        assert self.llama.llama_decode(context, self.llama.llama_batch_get_one(array, len(tokens))) == 0

    def _row(self, pointer: Any, width: int) -> Any:
        import numpy as np

        return np.ctypeslib.as_array(pointer, shape=(width,))

    def _tokens(self, text: str) -> list[int]:
        data = text.encode()
        room = (self.llama.llama_token * (len(data) + 8))()
        n = self.llama.llama_tokenize(self._vocabulary, data, len(data), room, len(room), True, False)
        assert n > 0
        return list(room[:n])

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = self.llama.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
        return buffer.raw[:size]


def _main() -> None:
    task = json.load(sys.stdin)
    model = _Model(task["path"])
    if "prompts" in task:
        how = task["n_tokens"], KvType(task["kv_type"]), task["lead"]
        found: list[Any] = [model.text(prompt, *how) for prompt in task["prompts"]]
    else:
        found = [model.vector(text, Pooling(task["pooling"])) for text in task["texts"]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main()
