"""One answer in the making: what becomes of the tokens that were chosen; pure, driven by the child's loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.core import FinishReason, SamplingParams, TokenLogprob, ToolCall, Usage
from engine.schedule.sequence import Sequence as TokenSequence
from engine.text.output import StopMatcher, Utf8Stream


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One choice: the sampled token, then those that a grammar forces behind it; empty when the answer is complete.

    logprobs has one entry for each token when they were asked for, else none.
    """

    tokens: list[int]
    logprobs: tuple[TokenLogprob, ...] = ()


class TokenChooser(Protocol):
    """Picks tokens from the logits of the last batch."""

    def opening(self) -> list[int]:
        """The tokens that every answer begins with, whatever the logits; asked for once, before all choices."""
        ...

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

    @property
    def in_calls(self) -> bool:
        """Whether the text has come to its calls; no text of the answer follows."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether a call came that is equal to an earlier one: it is dropped, and nothing new is to be expected."""
        ...

    @property
    def is_cut(self) -> bool:
        """Whether another call has begun and is not complete."""
        ...

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
    stop: str | None = None  # the stop string that ended it
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
        self._text = ""  # of the step in work
        self._calls: list[ToolCall] = []
        self._unreported = 0
        self._logprobs: list[TokenLogprob] = []
        self._held_logprobs: list[TokenLogprob] = []  # of tokens whose text is still held back
        self._n_drafted = 0
        self._n_accepted = 0
        self._is_cut = False  # its opening alone is longer than its limit

    def open(self) -> int:
        """Append what every answer begins with, so that it is computed together with the prompt; returns how many tokens."""
        opening = self.chooser.opening()
        n_taken = len(self._take(Chosen(tokens=opening)))
        self._is_cut = n_taken < len(opening)
        return n_taken

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
        n_accepted = 0
        reason: FinishReason | None = None
        while reason is None:
            chosen = self.chooser.choose(rows[n_accepted])
            taken = self._take(chosen)
            reason = self._finish_reason(chosen.tokens, taken)
            n_same = _n_same(taken, drafts[n_accepted:])
            n_accepted += n_same
            if n_same < len(taken):
                break  # what follows the first draft that differs was computed for another text
        self._n_drafted += len(drafts)
        self._n_accepted += n_accepted
        return self._step(reason, n_accepted)

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

    def _take(self, chosen: Chosen) -> list[int]:
        """Append what was chosen, up to the limit or a stop string; returns what was appended."""
        taken: list[int] = []
        for place, token in enumerate(chosen.tokens):
            if self._has_ended or self.sequence.n_generated >= self._limit:
                break
            self.sequence.tokens.append(token)
            taken.append(token)
            self._unreported += 1
            self._held_logprobs += chosen.logprobs[place : place + 1]
            self._read(self._utf8.feed(self._piece(token)))
        return taken

    def _read(self, text: str) -> None:
        reader = self._call_reader
        if reader is not None:
            text, calls = reader.feed(text)
            self._calls += calls
            self._n_calls += len(calls)
        self._tell(self._stops.feed(text))
        if reader is not None and reader.in_calls:
            self._held_logprobs.clear()  # they belong to a call, which is no text

    def _tell(self, text: str) -> None:
        if text:
            self._text += text
            self._logprobs += self._held_logprobs
            self._held_logprobs.clear()

    def _step(self, reason: FinishReason | None, n_accepted: int) -> Step:
        if reason is not None and not self._stops.hit:
            if self._call_reader is not None:
                self._tell(self._stops.feed(self._call_reader.flush()))
            self._tell(self._stops.flush())
        tokens = 0
        if self._text or self._calls or reason is not None:
            tokens, self._unreported = self._unreported, 0
        step = Step(
            text=self._text,
            tokens=tokens,
            logprobs=tuple(self._logprobs),
            calls=tuple(self._calls),
            finish_reason=reason,
            stop=self._stops.met,
            n_accepted=n_accepted,
        )
        self._text = ""
        self._calls.clear()
        self._logprobs.clear()
        return step

    def _finish_reason(self, chosen: Sequence[int], taken: Sequence[int]) -> FinishReason | None:
        ended = FinishReason.TOOL_CALLS if self._n_calls else FinishReason.STOP
        if self._is_cut:
            return FinishReason.LENGTH
        if self._has_ended or not chosen:
            return ended
        if len(taken) == len(chosen) and self.chooser.complete:
            return ended
        if self.sequence.n_generated < self._limit:
            return None
        # Calls that are whole are worth as much as if the model had ended there: only a cut one needs more tokens.
        whole = self._n_calls and self._call_reader is not None and not self._call_reader.is_cut
        return FinishReason.TOOL_CALLS if whole else FinishReason.LENGTH

    @property
    def _has_ended(self) -> bool:
        """Whether the text says that the answer is over, whatever the model would go on with."""
        return self._stops.hit or (self._call_reader is not None and self._call_reader.repeats)


def _n_same(chosen: Sequence[int], drafts: Sequence[int]) -> int:
    """How many leading tokens of both are equal."""
    return next(
        (place for place, (left, right) in enumerate(zip(chosen, drafts, strict=False)) if left != right),
        min(len(chosen), len(drafts)),
    )
