"""Chooses the tokens of one request from llama.cpp's logits, inside its constraint where there is one.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import base64
import ctypes
from collections import deque
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from engine.core import Alternative, SamplingParams, TokenLogprob
from engine.llama.grammar import Grammar
from engine.llama.vocabulary import Vocabulary
from engine.text.generation import Chosen
from engine.text.sampling import Logits, TokenPicker, row_logprobs


class LlamaChooser:
    """A TokenChooser. Raises RequestInvalid when a bias names a token that the model lacks.

    Under a constraint the token is first chosen as if there were none; only if it does not fit, it is chosen again
    among those that fit. That is the same distribution as choosing among them at once, and mostly spares the mask.
    """

    def __init__(
        self,
        *,
        context: Any,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        prompt_tail: Sequence[int],
        grammar: Grammar | None,
    ) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._picker = TokenPicker(sampling, n_vocab=vocabulary.size, prompt=prompt_tail)
        self._n_top = sampling.top_logprobs
        self._grammar = grammar
        self._row = ctypes.c_float * vocabulary.size
        self._waiting: deque[int] = deque()  # forced tokens that wait for their own logits

    @property
    def complete(self) -> bool:
        """Whether the constraint is fulfilled and nothing may follow."""
        return self._grammar is not None and not self._waiting and self._grammar.complete

    def opening(self) -> list[int]:
        """What the constraint forces before any choice. Where log-probabilities are wanted it waits for its logits."""
        forced = [] if self._grammar is None else self._accepted(self._grammar.forced())
        if self._n_top is None:
            return forced
        self._waiting.extend(forced)
        return []

    def choose(self, row: int) -> Chosen:
        """The next token by the logits in that row of the last batch, and what the constraint forces behind it.

        Where log-probabilities are wanted, forced tokens come one by one, each with its own.
        """
        logits = self._logits(row)
        if not self._waiting:
            tokens = self._next_tokens(logits)
            if self._n_top is None:
                return Chosen(tokens=tokens)
            self._waiting.extend(tokens)
            if not tokens:
                return Chosen(tokens=[])
        token = self._waiting.popleft()
        return Chosen(tokens=[token], logprobs=(self._logprob(logits, token),))

    def close(self) -> None:
        """The chooser holds no native memory of its own but the grammar's."""
        self._grammar = None

    def _next_tokens(self, logits: Logits) -> list[int]:
        grammar = self._grammar
        if grammar is None:
            token = self._picker.pick(self._picker.adjusted(logits))
            return [] if self._vocabulary.is_end(token) else self._accepted([token])
        if grammar.complete:
            return []
        token = self._pick_inside(grammar, logits)
        if self._vocabulary.is_end(token):
            return []
        grammar.accept(token)
        return self._accepted([token, *grammar.forced()])

    def _pick_inside(self, grammar: Grammar, logits: Logits) -> int:
        adjusted = self._picker.adjusted(logits)
        token = self._picker.pick(adjusted)
        if grammar.allows(token):
            return token
        masked = grammar.masked(adjusted)
        if not np.isfinite(
            masked.max()
        ):  # the bias forbids all that fits: the constraint is the stronger promise
            masked = grammar.masked(logits)
        return self._picker.pick(masked)

    def _accepted(self, tokens: list[int]) -> list[int]:
        for token in tokens:
            self._picker.accept(token)
        return tokens

    def _logprob(self, logits: Logits, token: int) -> TokenLogprob:
        found = row_logprobs(logits, token, self._n_top or 0)
        return TokenLogprob(
            chosen=self._alternative(token, found.chosen),
            top=tuple(self._alternative(other, value) for other, value in found.top),
        )

    def _alternative(self, token: int, logprob: float) -> Alternative:
        data = base64.b64encode(self._vocabulary.shown(token)).decode("ascii")
        return Alternative(token=token, data=data, logprob=logprob)

    def _logits(self, row: int) -> Logits:
        """A view of the row: valid until the next batch, never written to."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        if not pointer:
            raise RuntimeError(f"the batch has no logits in row {row}")
        data = memoryview(self._row.from_address(ctypes.addressof(pointer.contents)))
        return np.frombuffer(data, dtype=np.float32)
