"""From the logits of one row to one token: penalties, bias, truncation, temperature, seed, log-probabilities; pure numpy.

The vocabulary is never sorted. Greedy choice is one pass for the maximum; with a temperature the few tokens that can
be chosen are found by a comparison with the maximum, so a choice costs microseconds on 50,000 tokens where building
llama.cpp's array of candidates alone costs fifty. The order is llama.cpp's: penalties, top-k, top-p, min-p, temperature.
Each choice takes exactly one number from the seeded generator, so text does not depend on how rows come together.
"""

from __future__ import annotations

import math
import random
import secrets
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core import SamplingParams
from engine.errors import RequestInvalid

Logits = NDArray[np.float32]

REPEAT_LAST_N = 64
_FORBIDDEN = -100.0  # the bias that means never
_NEAR = 8.0  # a first guess at how far below the maximum the top-k reach; only speed depends on it
_BLOCK = 256


class TokenPicker:
    """Chooses the tokens of one request. Raises RequestInvalid when a bias names a token that the model lacks.

    The repeat penalty looks at the last 64 tokens, the prompt's included; presence and frequency look at the answer.
    """

    def __init__(self, sampling: SamplingParams, *, n_vocab: int, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._random = random.Random(secrets.randbits(32) if sampling.seed is None else sampling.seed)
        self._recent = deque(prompt[-REPEAT_LAST_N:], maxlen=REPEAT_LAST_N)
        self._counts: Counter[int] = Counter()
        self._bias_tokens, self._bias = _bias_arrays(sampling, n_vocab)
        self._repeats = sampling.repeat_penalty != 1.0
        self._counted = sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0
        self._adjusts = self._repeats or self._counted or bool(sampling.logit_bias)

    def accept(self, token: int) -> None:
        """Note that the token stands in the answer, however it got there."""
        if self._repeats:
            self._recent.append(token)
        if self._counted:
            self._counts[token] += 1

    def adjusted(self, logits: Logits) -> Logits:
        """The logits with penalties and bias; the array itself when there are none."""
        if not self._adjusts:
            return logits
        result = logits.copy()
        if self._repeats:
            tokens = np.fromiter(set(self._recent), dtype=np.intp)
            penalty = np.float32(self._sampling.repeat_penalty)
            values = result[tokens]
            result[tokens] = np.where(values > 0, values / penalty, values * penalty)
        if self._counts:
            tokens = np.fromiter(self._counts, dtype=np.intp, count=len(self._counts))
            counts = np.fromiter(self._counts.values(), dtype=np.float32, count=len(self._counts))
            frequency, presence = self._sampling.frequency_penalty, self._sampling.presence_penalty
            result[tokens] -= counts * np.float32(frequency) + np.float32(presence)
        result[self._bias_tokens] += self._bias
        return result

    def pick(self, logits: Logits) -> int:
        """The next token by adjusted logits; minus infinity is never picked while there is anything else."""
        if self._sampling.temperature == 0.0:
            return int(logits.argmax())
        point = self._random.random()
        top = float(logits.max())
        if not math.isfinite(top):
            return int(logits.argmax())
        sampling = self._sampling
        if not 0 < sampling.top_k < len(logits) and sampling.top_p == 1.0 and sampling.min_p == 0.0:
            return _drawn(point, np.exp((logits - np.float32(top)) / np.float32(sampling.temperature)))
        tokens, below = self._candidates(logits, top)
        return int(tokens[_drawn(point, np.exp(below / sampling.temperature))])

    def _candidates(self, logits: Logits, top: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The tokens that may be chosen, and how far below the maximum their logits are."""
        sampling = self._sampling
        total = None
        if 0 < sampling.top_k < len(logits):
            tokens = _largest(logits, sampling.top_k, top)
        elif sampling.top_p < 1.0:
            tokens, total = _covering(logits, sampling.top_p, top)
        else:
            tokens = np.flatnonzero(logits >= np.float32(top + math.log(sampling.min_p)))
        below = logits[tokens].astype(np.float64) - top
        if sampling.top_p < 1.0:
            order = np.argsort(-below, kind="stable")  # equal logits stay in the order of their tokens
            tokens, below = tokens[order], below[order]
            ends = np.cumsum(np.exp(below))
            wanted = sampling.top_p * (ends[-1] if total is None else total)
            n_kept = int(np.searchsorted(ends, wanted, side="left")) + 1
            tokens, below = tokens[:n_kept], below[:n_kept]
        if sampling.min_p > 0.0:
            kept = below >= math.log(sampling.min_p)
            tokens, below = tokens[kept], below[kept]
        return tokens, below


@dataclass(frozen=True, kw_only=True)
class RowLogprobs:
    """Natural-log probabilities from one row: of the chosen token, and of the likeliest ones, best first."""

    chosen: float
    top: tuple[tuple[int, float], ...]


def row_logprobs(logits: Logits, token: int, n_top: int) -> RowLogprobs:
    """Log-softmax of the raw logits: before bias, penalties, constraint and temperature, as OpenAI's API has it."""
    top = float(logits.max())
    total = top + math.log(float(np.exp(logits - np.float32(top)).sum(dtype=np.float64)))
    likeliest: tuple[tuple[int, float], ...] = ()
    if n_top:
        tokens = _largest(logits, min(n_top, len(logits)), top)
        order = np.argsort(-logits[tokens], kind="stable")[:n_top]
        likeliest = tuple((int(other), float(logits[other]) - total) for other in tokens[order])
    return RowLogprobs(chosen=min(0.0, float(logits[token]) - total), top=likeliest)


def _drawn(point: float, weights: NDArray[Any]) -> int:
    """The place in which a point of 0 <= point < 1 falls when the weights are laid end to end."""
    start = 0
    if len(weights) > 2 * _BLOCK:  # summing blocks is fast, summing one after the other is not
        blocks = np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64)
        ends = np.cumsum(blocks)
        block = min(int(np.searchsorted(ends, point * ends[-1], side="right")), len(blocks) - 1)
        point = (point * ends[-1] - (ends[block - 1] if block else 0.0)) / blocks[block]
        start = block * _BLOCK
        weights = weights[start : start + _BLOCK]
    ends = np.cumsum(weights, dtype=np.float64)
    place = int(np.searchsorted(ends, point * ends[-1], side="right"))
    return start + min(place, int(np.flatnonzero(weights)[-1]))


def _covering(logits: Logits, share: float, top: float) -> tuple[NDArray[np.intp], float]:
    """Tokens that include the likeliest ones up to this share of all probability, and the weight of all tokens."""
    total = float(np.exp(logits - np.float32(top)).sum(dtype=np.float64))
    for reach in (_NEAR, 2 * _NEAR):
        tokens = np.flatnonzero(logits >= np.float32(top - reach))
        if float(np.exp(logits[tokens] - np.float32(top)).sum(dtype=np.float64)) >= share * total:
            return tokens, total
    return np.flatnonzero(np.isfinite(logits)), total


def _largest(logits: Logits, count: int, top: float) -> NDArray[np.intp]:
    """The tokens of the largest finite logits, ascending by token; of equal ones at the edge the first tokens."""
    near = np.flatnonzero(logits >= np.float32(top - _NEAR))
    if len(near) < count:
        near = np.flatnonzero(np.isfinite(logits))
    if len(near) <= count:
        return near
    values = logits[near]
    edge = np.partition(values, len(values) - count)[len(values) - count]
    above, level = near[values > edge], near[values == edge]
    return np.sort(np.concatenate((above, level[: count - len(above)])))


def _bias_arrays(sampling: SamplingParams, n_vocab: int) -> tuple[NDArray[np.intp], Logits]:
    tokens = sorted(sampling.logit_bias)
    if tokens and tokens[-1] >= n_vocab:
        raise RequestInvalid(
            f"logit_bias names the token {tokens[-1]}; this model's tokens are 0 to {n_vocab - 1}."
        )
    values = (sampling.logit_bias[token] for token in tokens)
    bias = [-math.inf if value <= _FORBIDDEN else value for value in values]
    return np.array(tokens, dtype=np.intp), np.array(bias, dtype=np.float32)
