"""Decides live how many tokens are guessed ahead: as many as pay by what was measured, and none where it does not; pure.

A guess costs a row in the batch, and wins a step if the model would have chosen it too. Both are measured all the time:
what batches of each size take, and how many guesses of each kind stood. Where guessing does not pay it is tried
again now and then, ever more rarely.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from engine.pace.prompt_lookup import PromptLookup

MAX_DRAFT = 8
MIN_GAIN = 1.03  # a smaller one is noise
PLAIN_EVERY = 64  # batches: one without guesses, so that the price of a plain one stays known
OTHER_LENGTH_EVERY = (
    16  # drafts: one of another length, because prices of batches have steps that no line foretells
)
FIRST_REST, LONGEST_REST = 16, 256  # steps until guessing is tried again where it did not pay
TRIAL_DRAFT = 2
_PRIOR_WEIGHT = 3.0  # of what other answers have shown, in guesses
_MEMORY = 0.95  # how much of the past is left after each guess: about the last twenty count
_COMMON_MEMORY = 0.995
_SAMPLES = 5
_PRIOR_ROW = 0.5  # until measured: what one more row costs, as a share of a row of the smallest known batch


class Kind(StrEnum):
    """Where a guess comes from, as far as it says how often such guesses stand."""

    PAIR = "pair"  # two tokens stood there before
    TRIPLE = "triple"
    SHORT = "short"  # four or five
    MEDIUM = "medium"  # six to nine
    LONG = "long"
    MODEL = "model"  # a second model wrote it


_FIRST_GUESS = {
    Kind.PAIR: 0.35,
    Kind.TRIPLE: 0.5,
    Kind.SHORT: 0.65,
    Kind.MEDIUM: 0.75,
    Kind.LONG: 0.85,
    Kind.MODEL: 0.8,
}


class DraftSource(Protocol):
    """Guesses the next tokens of one sequence."""

    def look(self, tokens: Sequence[int]) -> Kind | None:
        """What kind of guess there is now; None for none. Costs next to nothing."""
        ...

    def take(self, n_tokens: int) -> list[int]:
        """At most so many guesses for the tokens that were looked at last."""
        ...

    @property
    def token_s(self) -> float:
        """What one guess costs, beside its row in the batch."""
        ...

    def close(self) -> None:
        """The sequence has ended."""


class LookupSource:
    """Guesses from the sequence itself."""

    token_s = 0.0

    def __init__(self) -> None:
        self._lookup = PromptLookup()

    def look(self, tokens: Sequence[int]) -> Kind | None:
        """By how much of the end stood there before."""
        n_matching = self._lookup.look(tokens)
        if n_matching < 2:
            return None
        if n_matching == 2:
            return Kind.PAIR
        if n_matching == 3:
            return Kind.TRIPLE
        if n_matching <= 5:
            return Kind.SHORT
        return Kind.MEDIUM if n_matching <= 9 else Kind.LONG

    def take(self, n_tokens: int) -> list[int]:
        """What followed there."""
        return self._lookup.take(n_tokens)

    def close(self) -> None:
        """Nothing is held."""


class StepCosts:
    """What a batch of so many rows takes: the median of the latest, and a line between the sizes that were measured."""

    def __init__(self) -> None:
        self._by_threads: dict[int, _Measured] = {}
        self._n_threads = 0

    def observe(self, n_rows: int, step_s: float, n_threads: int) -> None:
        """A batch without prompt tokens took so long, choosing the tokens included."""
        self._n_threads = n_threads
        self._by_threads.setdefault(n_threads, _Measured()).add(n_rows, step_s)

    def step_s(self, n_rows: int) -> float | None:
        """What such a batch would take now; None as long as nothing was measured."""
        measured = self._by_threads.get(self._n_threads)
        return measured.step_s(n_rows) if measured is not None else None


class _Measured:
    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._samples: dict[int, deque[float]] = {}

    def add(self, n_rows: int, step_s: float) -> None:
        if n_rows not in self._samples:
            insort(self._sizes, n_rows)
            self._samples[n_rows] = deque(maxlen=_SAMPLES)
        self._samples[n_rows].append(step_s)

    def step_s(self, n_rows: int) -> float:
        place = bisect_left(self._sizes, n_rows)
        if place < len(self._sizes) and self._sizes[place] == n_rows:
            return self._median(n_rows)
        if place == 0:  # smaller than all known: in proportion, but never for nothing
            smallest = self._sizes[0]
            return self._median(smallest) * (1.0 - _PRIOR_ROW * (smallest - n_rows) / smallest)
        lower = self._sizes[place - 1]
        if place < len(self._sizes):
            upper = self._sizes[place]
            share = (n_rows - lower) / (upper - lower)
            return self._median(lower) * (1.0 - share) + self._median(upper) * share
        return self._median(lower) + (n_rows - lower) * self._row_s()

    def _row_s(self) -> float:
        """What one more row takes, beyond the largest size that is known."""
        first, last = self._sizes[0], self._sizes[-1]
        if first == last:
            return _PRIOR_ROW * self._median(first) / first
        return max(self._median(last) - self._median(first), 0.0) / (last - first)

    def _median(self, n_rows: int) -> float:
        samples = sorted(self._samples[n_rows])
        return samples[(len(samples) - 1) // 2]  # of two the smaller: a first time is often a slow one


@dataclass(kw_only=True)
class _Counts:
    stood: float = 0.0
    fell: float = 0.0

    def note(self, n_stood: int, n_fell: int, memory: float) -> None:
        fade = memory ** (n_stood + n_fell)
        self.stood = self.stood * fade + n_stood
        self.fell = self.fell * fade + n_fell

    def rate(self, prior: float) -> float:
        total = self.stood + self.fell + _PRIOR_WEIGHT
        return float((self.stood + prior * _PRIOR_WEIGHT) / total)


@dataclass(kw_only=True)
class Experience:
    """How often guesses of each kind stood, over all answers; where a new answer begins."""

    counts: dict[Kind, _Counts] = field(default_factory=lambda: {kind: _Counts() for kind in Kind})
    n_drafts: int = 0

    def vary(self, length: int, limit: int) -> int:
        """The length that is to be drafted: the given one, or now and then the next of all others in turn."""
        self.n_drafts += 1
        n_turns, rest = divmod(self.n_drafts, OTHER_LENGTH_EVERY)
        return length if rest else 1 + n_turns % limit

    def rate(self, kind: Kind) -> float:
        """The share that stands."""
        return self.counts[kind].rate(_FIRST_GUESS[kind])

    def note(self, kind: Kind, n_stood: int, n_fell: int) -> None:
        """Some more were checked."""
        self.counts[kind].note(n_stood, n_fell, _COMMON_MEMORY)


class Speculator:
    """Guesses for one sequence."""

    def __init__(self, sources: Sequence[DraftSource], *, costs: StepCosts, experience: Experience) -> None:
        self._sources = sources
        self._costs = costs
        self._experience = experience
        self._counts = {kind: _Counts() for kind in Kind}
        self._kind: Kind | None = None
        self._since_draft = 0
        self._rest = FIRST_REST
        self._n_trials = 0

    def draft(self, tokens: Sequence[int], limit: int, n_rows: int = 1) -> list[int]:
        """At most limit guesses of what follows; n_rows are in the batch without them. Empty when it does not pay."""
        self._kind = None
        self._since_draft += 1
        limit = min(limit, MAX_DRAFT)
        if limit <= 0:
            return []
        looked = [(source, kind) for source in self._sources if (kind := source.look(tokens)) is not None]
        plans = [(*self._best_length(source, kind, limit, n_rows), source, kind) for source, kind in looked]
        paying = [plan for plan in plans if plan[1] > 0]
        if paying:
            _, n_tokens, source, kind = max(paying, key=lambda plan: plan[0])
            n_tokens = self._experience.vary(n_tokens, limit)
        elif plans and self._since_draft > self._rest:
            _, _, source, kind = plans[self._n_trials % len(plans)]
            self._n_trials += 1
            n_tokens = min(TRIAL_DRAFT, limit)
            self._rest = min(2 * self._rest, LONGEST_REST)
        else:
            return []
        drafts = source.take(n_tokens)
        if drafts:
            self._kind = kind
            self._since_draft = 0
            if paying:
                self._rest = FIRST_REST
        return drafts

    def observe(self, n_drafted: int, n_accepted: int) -> None:
        """Of the latest guesses so many stood. Those behind the first that fell were not checked."""
        if self._kind is None or n_drafted == 0:
            return
        n_fell = 1 if n_accepted < n_drafted else 0
        self._counts[self._kind].note(n_accepted, n_fell, _MEMORY)
        self._experience.note(self._kind, n_accepted, n_fell)

    def close(self) -> None:
        """The sequence has ended."""
        for source in self._sources:
            source.close()

    def _best_length(self, source: DraftSource, kind: Kind, limit: int, n_rows: int) -> tuple[float, int]:
        """The gain of the best number of guesses over a plain step, and that number; (1.0, 0) when none pays."""
        plain_s = self._costs.step_s(n_rows)
        if not plain_s:
            return 1.0, 0
        rate = self._counts[kind].rate(self._experience.rate(kind))
        best_gain, best_length = 1.0, 0
        won, still_standing = 0.0, 1.0
        for length in range(1, limit + 1):
            still_standing *= rate
            won += still_standing
            step_s = max(self._costs.step_s(n_rows + length) or plain_s, plain_s)
            # every sequence in the batch waits for the guesses of this one
            gain = (n_rows + won) / n_rows * plain_s / (step_s + length * source.token_s)
            if gain > max(best_gain, MIN_GAIN):
                best_gain, best_length = gain, length
        return best_gain, best_length


class Speculation:
    """Guesses for all sequences of a model; the loop tells it what its batches took.

    draft_source makes the second model's guesses for a sequence, None without one.
    """

    def __init__(self, *, draft_source: Callable[[], DraftSource] | None = None) -> None:
        self._draft_source = draft_source
        self._costs = StepCosts()
        self._experience = Experience()
        self._speculators: dict[str, Speculator] = {}
        self._n_rows = 0  # of the batch in the making, guesses included
        self._n_drafted = 0
        self._may_draft = False
        self._since_plain = 0

    def draft(self, request_id: str, tokens: Sequence[int], limit: int) -> list[int]:
        """Guesses for a sequence that is about to get its next token. Empty when they don't pay."""
        if not self._may_draft:
            return []
        speculator = self._speculators.get(request_id)
        if speculator is None:
            speculator = self._speculators[request_id] = self._new_speculator()
        drafts = speculator.draft(tokens, limit, max(self._n_rows, 1))
        self._n_rows += len(drafts)
        self._n_drafted += len(drafts)
        return drafts

    def settle(self, request_id: str, n_drafted: int, n_accepted: int) -> None:
        """So many guesses of a sequence stood."""
        speculator = self._speculators.get(request_id)
        if speculator is not None:
            speculator.observe(n_drafted, n_accepted)

    def end(self, request_id: str) -> None:
        """The sequence has ended."""
        speculator = self._speculators.pop(request_id, None)
        if speculator is not None:
            speculator.close()

    def note_batch(
        self, *, n_sequences: int, n_rows: int, n_threads: int, step_s: float, tells: bool
    ) -> None:
        """A batch has ended. Its time tells something if it was computed to its end and held no part of a prompt.

        Beside prompts nothing is guessed: such a batch is as large as it may be already.
        """
        if tells:
            self._costs.observe(n_rows, step_s, n_threads)
        self._since_plain = self._since_plain + 1 if self._n_drafted else 0
        # what the next batch holds is what this one held, without its guesses
        self._n_rows, self._n_drafted = n_sequences, 0
        self._may_draft = tells and self._since_plain < PLAIN_EVERY

    def _new_speculator(self) -> Speculator:
        sources: list[DraftSource] = [LookupSource()]
        if self._draft_source is not None:
            sources.append(self._draft_source())
        return Speculator(sources, costs=self._costs, experience=self._experience)
