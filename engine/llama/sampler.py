"""Chooses tokens with llama.cpp's own samplers, behind the mask of a grammar where there is one.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from engine.core import SamplingParams
from engine.generation import Chosen
from engine.llama.grammar import JsonGrammar
from engine.llama.vocabulary import Vocabulary

PENALTY_LAST_N = 64


class LlamaChooser:
    """A sampler chain for one request; close() frees it."""

    def __init__(
        self,
        *,
        context: Any,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        prompt_tail: Sequence[int],
        grammar: JsonGrammar | None,
    ) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._grammar = grammar
        self._started = False
        self._chain = _chain(sampling, vocabulary.size)
        for token in prompt_tail[-PENALTY_LAST_N:]:
            llama_cpp.llama_sampler_accept(self._chain, token)

    @property
    def complete(self) -> bool:
        """Whether the schema is fulfilled and nothing may follow."""
        return self._grammar is not None and self._grammar.complete

    def choose(self, row: int) -> Chosen:
        """The next token by the logits in that row of the last batch, and what the grammar forces behind it."""
        return Chosen(tokens=self._choose(row))

    def _choose(self, row: int) -> list[int]:
        if self._grammar is None:
            token = self._sample(row)
            return [] if self._vocabulary.is_end(token) else [token]
        if not self._started:
            self._started = True
            forced = self._accept_all(self._grammar.start())
            if forced:
                return forced
        if self._grammar.complete:
            return []
        self._grammar.forbid(self._logits(row))
        token = self._sample(row)
        if self._vocabulary.is_end(token):
            return []
        return [token, *self._accept_all(self._grammar.accept(token))]

    def close(self) -> None:
        """Free the chain; the chooser can't be used afterwards."""
        if self._chain is not None:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None

    def _sample(self, row: int) -> int:
        return int(llama_cpp.llama_sampler_sample(self._chain, self._context, row))

    def _accept_all(self, tokens: list[int]) -> list[int]:
        for token in tokens:
            llama_cpp.llama_sampler_accept(self._chain, token)
        return tokens

    def _logits(self, row: int) -> Any:
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, shape=(self._vocabulary.size,))


def _chain(sampling: SamplingParams, n_vocab: int) -> Any:
    """The samplers in llama.cpp's usual order; temperature 0 is greedy."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        llama_cpp.llama_sampler_chain_add(chain, sampler)

    if sampling.repeat_penalty != 1.0:
        add(
            llama_cpp.llama_sampler_init_penalties(n_vocab, PENALTY_LAST_N, sampling.repeat_penalty, 0.0, 0.0)
        )
    if sampling.temperature == 0.0:
        add(llama_cpp.llama_sampler_init_greedy())
        return chain
    if sampling.top_k > 0:
        add(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1.0:
        add(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        add(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    add(llama_cpp.llama_sampler_init_temp(sampling.temperature))
    seed = secrets.randbelow(2**32 - 1) if sampling.seed is None else sampling.seed
    add(llama_cpp.llama_sampler_init_dist(seed))
    return chain
