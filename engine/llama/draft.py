"""A second, small model that guesses what the first one will write; the first one checks every guess.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from engine.errors import ModelInvalid
from engine.host.gguf import check_model_file
from engine.llama.library import LlamaLibrary
from engine.llama.loading import N_BATCH, load_model
from engine.messages import Load
from engine.pace.speculation import Kind

MAX_SIZE_DIFFERENCE = 128  # vocabularies are padded differently within one family
MIN_PROBABILITY = 0.4  # a guess that the small model itself doubts is not worth a row
CATCH_UP_TOKENS = 256  # of a prompt, in one step: the others wait for it
_COMPARED_TOKENS = 4096
_FRESH = 0.2  # weight of the latest measurement


class DraftModel:
    """One small model with one context for all sequences.

    Raises ModelMissing or ModelInvalid: also when its vocabulary is not that of the model that it is to guess for.
    """

    def __init__(
        self,
        load: Load,
        *,
        target: Any,
        library: LlamaLibrary,
        beat: Callable[[], None],
        n_sequences: int,
        threads: Callable[[], int],
    ) -> None:
        assert load.draft_path is not None
        path = Path(load.draft_path)
        check_model_file(path)
        self._beat = beat
        self._threads = threads
        self._n_threads = 0
        self._loaded = load_model(
            replace(load, path=str(path)), library=library, beat=beat, n_seq_max=n_sequences
        )
        self._vocab = llama_cpp.llama_model_get_vocab(self._loaded.model)
        difference = _difference(self._vocab, target) or self._misfit()
        if difference is not None:
            self._loaded.close()
            raise ModelInvalid(
                f"The draft model {path} can't guess for this model ({difference}); choose one of the same family."
            )
        self.token_s = 0.0  # unknown: the first guesses tell
        self._context = self._loaded.context
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(N_BATCH, 0, 1)
        self._free_ids = list(range(n_sequences))
        # guesses beyond the target's vocabulary could never stand
        self._n_vocab = min(
            llama_cpp.llama_vocab_n_tokens(self._vocab), llama_cpp.llama_vocab_n_tokens(target)
        )
        self._n_ctx: int = llama_cpp.llama_n_ctx(self._context)

    def source(self) -> DraftSequence:
        """Guesses for one more sequence."""
        return DraftSequence(self, self._free_ids.pop() if self._free_ids else None)

    def close(self) -> None:
        """Free context and model."""
        llama_cpp.llama_batch_free(self._batch)
        self._loaded.close()

    def _misfit(self) -> str | None:
        model = self._loaded.model
        if llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model):
            return "it can't take a guess back"
        return None

    # for its sequences

    def give_back(self, seq_id: int) -> None:
        """A sequence has ended."""
        self.rewind(seq_id, 0)
        self._free_ids.append(seq_id)

    def rewind(self, seq_id: int, n_tokens: int) -> None:
        """Only the first n tokens of a sequence stay."""
        llama_cpp.llama_memory_seq_rm(self._memory, seq_id, n_tokens, -1)

    def has_room(self, n_tokens: int) -> bool:
        """Whether a sequence of this length fits into the context at all."""
        return n_tokens <= self._n_ctx

    def decode(self, seq_id: int, tokens: Sequence[int], start: int) -> bool:
        """Compute tokens of a sequence; the last one's logits are kept. False when there is no room for them."""
        self._beat()
        self._follow_threads()
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = seq_id
            batch.logits[index] = index == len(tokens) - 1
        return bool(llama_cpp.llama_decode(self._context, batch) == 0)

    def _follow_threads(self) -> None:
        n_threads = self._threads()
        if n_threads != self._n_threads:
            llama_cpp.llama_set_n_threads(self._context, n_threads, n_threads)
            self._n_threads = n_threads

    def likeliest(self) -> int | None:
        """The next token by the last logits; None when the model doubts it, or when it ends the answer."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, -1)
        logits = np.ctypeslib.as_array(pointer, shape=(self._n_vocab,))
        token = int(logits.argmax())
        probability = 1.0 / float(np.exp(logits - logits[token]).sum())
        if probability < MIN_PROBABILITY or llama_cpp.llama_vocab_is_eog(self._vocab, token):
            return None
        return token

    def note_cost(self, spent_s: float, n_guesses: int) -> None:
        """So long took so many guesses."""
        token_s = spent_s / max(n_guesses, 1)
        self.token_s = token_s if self.token_s == 0.0 else self.token_s + _FRESH * (token_s - self.token_s)


class DraftSequence:
    """One sequence in the small model's context, kept in step with the large one's. A speculation.DraftSource."""

    def __init__(self, model: DraftModel, seq_id: int | None) -> None:
        self._model = model
        self._seq_id = seq_id
        self._tokens: Sequence[int] = ()
        self._held: list[int] = []  # what the small model's context holds, wrong guesses included
        self._n_sure = 0  # of those, the ones that were in the text before

    @property
    def token_s(self) -> float:
        """What a guess costs."""
        return self._model.token_s

    def look(self, tokens: Sequence[int]) -> Kind | None:
        """Always a guess, as long as there is room."""
        self._tokens = tokens
        usable = self._seq_id is not None and tokens and self._model.has_room(len(tokens) + 1)
        return Kind.MODEL if usable else None

    def take(self, n_tokens: int) -> list[int]:
        """What the small model would write. Nothing while it has yet to read a long prompt, a part in each step."""
        if self._seq_id is None:
            return []
        started = time.perf_counter()
        missing = self._catch_up()
        if len(missing) > CATCH_UP_TOKENS:
            self._compute(missing[:CATCH_UP_TOKENS])
            return []
        n_missing = len(missing)
        guesses: list[int] = []
        while self._compute(missing) and (token := self._model.likeliest()) is not None:
            guesses.append(token)
            missing = [token]
            if len(guesses) == n_tokens:
                break
        if n_missing <= n_tokens + 1:  # the price of a guess, not of a prompt
            self._model.note_cost(time.perf_counter() - started, len(guesses))
        return guesses

    def close(self) -> None:
        """Let another sequence have the place."""
        if self._seq_id is not None:
            self._model.give_back(self._seq_id)
            self._seq_id = None

    def _catch_up(self) -> list[int]:
        """Take back the guesses that did not stand; what is left to be computed, at least the last token."""
        assert self._seq_id is not None
        tokens, held = self._tokens, self._held
        n = min(self._n_sure, len(tokens) - 1)
        if held[:n] != list(tokens[:n]):  # another text: compare it from its start
            n = 0
        while n < min(len(held), len(tokens) - 1) and held[n] == tokens[n]:
            n += 1
        if n < len(held):
            self._model.rewind(self._seq_id, n)
            del held[n:]
        self._n_sure = n
        return list(tokens[n:])

    def _compute(self, tokens: list[int]) -> bool:
        assert self._seq_id is not None
        if self._model.has_room(len(self._held) + len(tokens)) and self._model.decode(
            self._seq_id, tokens, len(self._held)
        ):
            self._held.extend(tokens)
            return True
        self.close()  # the context is full: no more guesses for this one, and room for the others
        return False


def _difference(draft: Any, target: Any) -> str | None:
    """How two vocabularies differ, in words; None when the guesses of one mean the same in the other."""
    if llama_cpp.llama_vocab_type(draft) != llama_cpp.llama_vocab_type(target):
        return "its tokenizer is of another type"
    sizes = [llama_cpp.llama_vocab_n_tokens(vocab) for vocab in (draft, target)]
    if abs(sizes[0] - sizes[1]) > MAX_SIZE_DIFFERENCE:
        return f"it knows {sizes[0]:,} tokens instead of {sizes[1]:,}"
    for special in (llama_cpp.llama_vocab_bos, llama_cpp.llama_vocab_eos, llama_cpp.llama_vocab_eot):
        if special(draft) != special(target):
            return "its special tokens are others"
    step = max(min(sizes) // _COMPARED_TOKENS, 1)
    for token in range(0, min(sizes), step):
        if llama_cpp.llama_vocab_get_text(draft, token) != llama_cpp.llama_vocab_get_text(target, token):
            return "its tokens stand for other texts"
    return None
