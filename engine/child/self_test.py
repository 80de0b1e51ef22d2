"""A trial decode: proves that the settings at hand survive a prompt batch and single tokens on this computer.

It also finds out whether a token has bit-identical logits alone and in a batch with others: whether the same seed
gives the same text in any company.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from engine.core import Request, SamplingParams
from engine.schedule.batch import Batch, Outcome, Run
from engine.schedule.kv_cache import SequenceMemory
from engine.schedule.sequence import Sequence
from engine.schedule.slots import Slot
from engine.text.generation import TokenChooser

MIN_PROMPT_TOKENS = 72
MAX_PROMPT_TOKENS = 96
N_DECODED = 8
N_COMPANY = 4  # sequences in the batch of the comparison
# Long enough for every tokenizer: at two tokens a word it still exceeds MIN_PROMPT_TOKENS by far.
_TEXT = " ".join(f"Line {number} of the trial reads the same as all the others." for number in range(1, 13))


class SelfTestFailed(Exception):
    """The engine survived and gave unusable numbers; safer settings may help."""


class TrialContext(SequenceMemory, Protocol):
    """The part of a context that the trial uses."""

    def decode(self, batch: Batch) -> Outcome:
        """Compute a batch."""
        ...

    def logits(self, row: int) -> np.ndarray[Any, Any]:
        """A copy of a row of logits."""
        ...


class TrialRunner(Protocol):
    """The part of a runner that the trial uses."""

    @property
    def context(self) -> TrialContext:
        """Computes."""
        ...

    @property
    def n_seq_ids(self) -> int:
        """Sequences that the context has room for."""
        ...

    @property
    def n_ctx(self) -> int:
        """Cells of the context."""
        ...

    @property
    def can_rewind(self) -> bool:
        """Whether the end of a sequence can be taken back."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text."""
        ...

    def new_chooser(self, request: Request, prompt: list[int]) -> TokenChooser:
        """A sampler."""
        ...


def run_self_test(runner: TrialRunner) -> bool:
    """Compute one prompt batch and some tokens; returns whether batches are bit-stable.

    Raises SelfTestFailed; a crash is the caller's caller's to see.
    """
    tokens = runner.tokenize(_TEXT)[:MAX_PROMPT_TOKENS]
    if len(tokens) < MIN_PROMPT_TOKENS:
        raise SelfTestFailed(f"The trial text has only {len(tokens)} tokens for this model.")
    trial = Request(id="self-test", prompt=_TEXT, sampling=SamplingParams(temperature=0.0))
    chooser = runner.new_chooser(trial, tokens)
    try:
        _try_tokens(runner, chooser, tokens)
    finally:
        chooser.close()
        runner.context.trim(0, 0)
    can_compare = runner.can_rewind and min(runner.n_seq_ids, runner.n_ctx // len(tokens)) >= N_COMPANY
    return can_compare and _is_batch_stable(runner.context, tokens)


def _try_tokens(runner: TrialRunner, chooser: TokenChooser, tokens: list[int]) -> None:
    context = runner.context
    start, batch = 0, tokens
    for _ in range(N_DECODED + 1):
        row = _compute(context, [(0, start, batch)])[0]
        if not np.isfinite(row).all():
            raise SelfTestFailed("The trial gave numbers that are not finite.")
        start += len(batch)
        # the model may want to end; the trial goes on
        batch = chooser.choose(len(batch) - 1).tokens or tokens[-1:]


def _is_batch_stable(context: TrialContext, tokens: list[int]) -> bool:
    """The next token of some sequences, computed for one after the other and then for all of them in one batch.

    Together they hold more than 256 cells in both cases: beyond that llama.cpp's attention computes a token that is
    alone in its batch in another way, whoever holds the cells.
    """
    n = len(tokens) - N_COMPANY
    prompts = [tokens[number : number + n] for number in range(N_COMPANY)]
    for number, prompt in enumerate(prompts):
        _compute(context, [(number, 0, prompt)])
    alone: list[np.ndarray[Any, Any]] = []
    for number in range(N_COMPANY):
        alone += _compute(context, [(number, n, tokens[:1])])
        context.trim(number, n)
    together = _compute(context, [(number, n, tokens[:1]) for number in range(N_COMPANY)])
    for number in range(N_COMPANY):
        context.trim(number, 0)
    return all(np.array_equal(left, right) for left, right in zip(alone, together, strict=True))


def _compute(context: TrialContext, parts: list[tuple[int, int, list[int]]]) -> list[np.ndarray[Any, Any]]:
    """One batch of (seq_id, start, tokens); the logits behind each part."""
    runs: list[Run] = []
    for seq_id, start, tokens in parts:
        known = [0] * start + tokens  # only their number counts here
        sequence = Sequence(request_id="self-test", tokens=known, n_prompt=0, slot=Slot(seq_id=seq_id))
        runs.append(Run(sequence=sequence, start=start, tokens=tokens))
    if context.decode(Batch(runs=tuple(runs))) is not Outcome.DONE:
        raise SelfTestFailed("The trial batch did not end.")
    rows, at = [], -1
    for run in runs:
        at += len(run.tokens)
        rows.append(context.logits(at))
    return rows
