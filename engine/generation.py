"""One answer in the making: what becomes of the tokens that were chosen; pure, driven by the child's loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.core import FinishReason, SamplingParams, TokenLogprob, ToolCall, Usage
from engine.scheduler import Sequence as TokenSequence
from engine.text import StopMatcher, Utf8Stream


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One choice: the sampled token, then those that a grammar forces behind it; empty when the answer is complete.

    logprobs has one entry for each token when they were asked for, else none.
    """

    tokens: list[int]
    logprobs: tuple[TokenLogprob, ...] = ()


class TokenChooser(Protocol):
    """Picks tokens from the logits of the last batch."""

    def choose(self, row: int) -> Chosen:
        """What comes next by the logits in that row of the batch's outputs; -1 is the last row."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the answer is complete without asking the model again."""
        ...

    def close(self) -> None:
        """Free native memory."""


class CallReader(Protocol):
    """Takes tool calls out of the text."""

    def feed(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The text that belongs to no call, and the calls that are complete now."""
        ...

    def flush(self) -> str:
        """What was held back and is no call, when the answer ends."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one round of decoding brought. tokens and logprobs are those of the text that is told now."""

    text: str = field(repr=False)
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = field(default=(), repr=False)
    calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None
    n_accepted: int = 0  # drafts that stand: the context may keep their cells


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
        call_reader: CallReader | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sequence = sequence
        self.chooser = chooser
        self._limit = min(sampling.max_tokens, n_ctx - sequence.n_prompt)
        self._piece = piece
        self._call_reader = call_reader
        self._clock = clock
        self._utf8 = Utf8Stream()
        self._stops = StopMatcher(sampling.stop)
        self._n_calls = 0
        self._arrived = clock()
        self._began: float | None = None
        self._first_token_at: float | None = None
        self._unreported = 0
        self._held_logprobs: list[TokenLogprob] = []
        self._n_drafted = 0
        self._n_accepted = 0

    def begin(self) -> None:
        """Its first batch is about to be computed: the wait is over."""
        if self._began is None:
            self._began = self._clock()

    def advance(self, rows: Sequence[int], drafts: Sequence[int] = ()) -> Step:
        """Choose from the logits at hand and say what is new.

        rows[0] holds the logits behind the sequence's last token, rows[i] those behind drafts[i - 1]. A draft stands
        as long as the chooser picks the same token, so the result is the one without drafts. The tokens that were
        chosen are appended to the sequence; the first n_accepted of them were computed already.
        """
        if len(rows) != len(drafts) + 1:
            raise RuntimeError(f"{len(rows)} rows for {len(drafts)} drafts")
        if self._first_token_at is None:
            self._first_token_at = self._clock()
        text = ""
        calls: list[ToolCall] = []
        reason: FinishReason | None = None
        n_accepted = 0
        while reason is None:
            chosen = self.chooser.choose(rows[n_accepted])
            new_text, new_calls, reason = self._take(chosen)
            text += new_text
            calls += new_calls
            n_same = _n_same(chosen.tokens, drafts[n_accepted:])
            n_accepted += n_same
            if n_same < len(chosen.tokens) or n_accepted == len(drafts):
                break
        self._n_drafted += len(drafts)
        self._n_accepted += n_accepted
        return self._step(text, tuple(calls), reason, n_accepted)

    def usage(self, *, cached_tokens: int = 0) -> Usage:
        """Counts and times so far."""
        now = self._clock()
        began = now if self._began is None else self._began
        first = now if self._first_token_at is None else self._first_token_at
        return Usage(
            prompt_tokens=self.sequence.n_prompt,
            completion_tokens=self.sequence.n_generated,
            prefill_s=first - began,
            decode_s=now - first,
            cached_tokens=cached_tokens,
            waited_s=began - self._arrived,
            drafted_tokens=self._n_drafted,
            accepted_tokens=self._n_accepted,
        )

    def _take(self, chosen: Chosen) -> tuple[str, tuple[ToolCall, ...], FinishReason | None]:
        taken = chosen.tokens[: self._limit - self.sequence.n_generated]
        self.sequence.tokens.extend(taken)
        self._unreported += len(taken)
        self._held_logprobs.extend(chosen.logprobs[: len(taken)])
        text = self._utf8.feed(b"".join(map(self._piece, taken)))
        calls: tuple[ToolCall, ...] = ()
        if self._call_reader is not None:
            text, calls = self._call_reader.feed(text)
            self._n_calls += len(calls)
        text = self._stops.feed(text)
        reason = self._finish_reason(chosen.tokens, taken)
        if reason is not None and not self._stops.hit:
            if self._call_reader is not None:
                text += self._stops.feed(self._call_reader.flush())
            text += self._stops.flush()
        return text, calls, reason

    def _step(
        self, text: str, calls: tuple[ToolCall, ...], reason: FinishReason | None, n_accepted: int
    ) -> Step:
        if not text and reason is None:
            return Step(text="", tokens=0, calls=calls, finish_reason=None, n_accepted=n_accepted)
        tokens, self._unreported = self._unreported, 0
        logprobs, self._held_logprobs = tuple(self._held_logprobs), []
        return Step(
            text=text,
            tokens=tokens,
            logprobs=logprobs,
            calls=calls,
            finish_reason=reason,
            n_accepted=n_accepted,
        )

    def _finish_reason(self, chosen: Sequence[int], taken: Sequence[int]) -> FinishReason | None:
        ended = FinishReason.TOOL_CALLS if self._n_calls else FinishReason.STOP
        if self._stops.hit or not chosen:
            return ended
        if len(taken) == len(chosen) and self.chooser.complete:
            return ended
        return FinishReason.LENGTH if self.sequence.n_generated >= self._limit else None


def _n_same(chosen: Sequence[int], drafts: Sequence[int]) -> int:
    """How many leading tokens of both are equal."""
    return next(
        (place for place, (left, right) in enumerate(zip(chosen, drafts, strict=False)) if left != right),
        min(len(chosen), len(drafts)),
    )
