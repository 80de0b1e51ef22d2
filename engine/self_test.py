"""A trial decode: proves that the settings at hand survive a prompt batch and single tokens on this computer."""

from __future__ import annotations

from typing import Protocol

from engine.core import Request, SamplingParams
from engine.generation import TokenChooser

MIN_PROMPT_TOKENS = 64
MAX_PROMPT_TOKENS = 96
N_DECODED = 8
# Long enough for every tokenizer: at two tokens a word it still exceeds MIN_PROMPT_TOKENS by far.
_TEXT = " ".join(f"Line {number} of the trial reads the same as all the others." for number in range(1, 13))


class SelfTestFailed(Exception):
    """The engine survived and gave unusable numbers; safer settings may help."""


class TrialRunner(Protocol):
    """The part of a runner that the trial uses."""

    def tokenize(self, text: str) -> list[int]:
        """Tokens of plain text."""
        ...

    def reuse_prefix(self, tokens: list[int]) -> int:
        """How many leading tokens are in the context already."""
        ...

    def decode(self, tokens: list[int], start: int) -> bool:
        """Compute a batch."""
        ...

    def new_chooser(self, request: Request, prompt: list[int]) -> TokenChooser:
        """A sampler."""
        ...

    def logits_are_finite(self) -> bool:
        """Whether the last batch gave usable numbers."""
        ...


def run_self_test(runner: TrialRunner) -> None:
    """Compute one prompt batch and some tokens. Raises SelfTestFailed; a crash is the caller's caller's to see."""
    tokens = runner.tokenize(_TEXT)[:MAX_PROMPT_TOKENS]
    if len(tokens) < MIN_PROMPT_TOKENS:
        raise SelfTestFailed(f"The trial text has only {len(tokens)} tokens for this model.")
    trial = Request(id="self-test", prompt=_TEXT, sampling=SamplingParams(temperature=0.0))
    chooser = runner.new_chooser(trial, tokens)
    try:
        start = runner.reuse_prefix(tokens)
        batch = tokens[start:]
        for _ in range(N_DECODED + 1):
            if not runner.decode(batch, start) or not runner.logits_are_finite():
                raise SelfTestFailed("The trial gave numbers that are not finite.")
            start += len(batch)
            batch = chooser.choose(-1).tokens or tokens[-1:]  # the model may want to end; the trial goes on
    finally:
        chooser.close()
