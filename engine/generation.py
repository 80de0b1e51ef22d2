"""One answer in the making: what becomes of the tokens that were chosen; pure, driven by the child's loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.core import FinishReason, SamplingParams, Usage
from engine.scheduler import Sequence as TokenSequence
from engine.text import StopMatcher, Utf8Stream


class TokenChooser(Protocol):
    """Picks tokens from the logits of the last batch."""

    def choose(self) -> list[int]:
        """The next token, with those that a grammar forces behind it; empty when the answer is complete."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the answer is complete without asking the model again."""
        ...

    def close(self) -> None:
        """Free native memory."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one round of decoding brought."""

    text: str = field(repr=False)
    tokens: int
    finish_reason: FinishReason | None


class Generation:
    """Follows one sequence from the prompt to its end."""

    def __init__(
        self,
        *,
        sequence: TokenSequence,
        sampling: SamplingParams,
        n_ctx: int,
        chooser: TokenChooser,
        piece: Callable[[int], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sequence = sequence
        self.chooser = chooser
        self._limit = min(sampling.max_tokens, n_ctx - sequence.n_prompt)
        self._piece = piece
        self._clock = clock
        self._utf8 = Utf8Stream()
        self._stops = StopMatcher(sampling.stop)
        self._started = clock()
        self._first_token_at: float | None = None
        self._unreported = 0

    def advance(self) -> Step:
        """Choose from the logits at hand and say what is new."""
        if self._first_token_at is None:
            self._first_token_at = self._clock()
        chosen = self.chooser.choose()
        room = self._limit - self.sequence.n_generated
        taken = chosen[:room]
        self.sequence.tokens.extend(taken)
        self._unreported += len(taken)
        text = self._stops.feed(self._utf8.feed(b"".join(map(self._piece, taken))))
        reason = self._finish_reason(chosen, taken)
        if reason is not None and not self._stops.hit:
            text += self._stops.flush()
        if not text and reason is None:
            return Step(text="", tokens=0, finish_reason=None)
        tokens, self._unreported = self._unreported, 0
        return Step(text=text, tokens=tokens, finish_reason=reason)

    def usage(self) -> Usage:
        """Counts and times so far."""
        now = self._clock()
        first = self._first_token_at
        return Usage(
            prompt_tokens=self.sequence.n_prompt,
            completion_tokens=self.sequence.n_generated,
            prefill_s=(now if first is None else first) - self._started,
            decode_s=0.0 if first is None else now - first,
        )

    def _finish_reason(self, chosen: Sequence[int], taken: Sequence[int]) -> FinishReason | None:
        if self._stops.hit or not chosen:
            return FinishReason.STOP
        if len(taken) == len(chosen) and self.chooser.complete:
            return FinishReason.STOP
        return FinishReason.LENGTH if self.sequence.n_generated >= self._limit else None
