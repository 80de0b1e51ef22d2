"""Decides which tokens are computed next; pure bookkeeping, tested without a model.

There is no prefill phase and no decode phase: n_computed chases the tokens of the sequence, in batches of n_batch,
and a sequence whose tokens are all computed is ready for its next token. A reused prefix, a chunked prompt,
fast-forward tokens of a grammar and plain decoding are the same thing here.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Sequence:
    """The tokens of one request: the prompt, then what was generated."""

    request_id: str
    tokens: list[int] = field(repr=False)
    n_prompt: int
    n_computed: int = 0

    @property
    def n_generated(self) -> int:
        """Tokens after the prompt."""
        return len(self.tokens) - self.n_prompt

    def check_integrity(self) -> None:
        """Raise if the counters contradict each other; that would be a bug, not bad input."""
        if not 0 <= self.n_computed <= len(self.tokens) or self.n_prompt > len(self.tokens):
            raise RuntimeError(f"sequence counters are inconsistent: {self!r} of {len(self.tokens)} tokens")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A run of tokens of one sequence for one llama_decode call."""

    sequence: Sequence
    start: int
    tokens: list[int] = field(repr=False)

    @property
    def ends_sequence(self) -> bool:
        """Whether the last token's logits are wanted: nothing of the sequence is left to compute."""
        return self.start + len(self.tokens) == len(self.sequence.tokens)


class Scheduler:
    """Serves one sequence at a time, in the order that the supervisor chose."""

    def __init__(self, *, n_batch: int) -> None:
        self._n_batch = n_batch
        self._running: Sequence | None = None

    @property
    def running(self) -> Sequence | None:
        """The sequence in work."""
        return self._running

    def add(self, sequence: Sequence) -> None:
        """Take a sequence into work; the caller keeps to one at a time."""
        if self._running is not None:
            raise RuntimeError("a sequence is already in work")
        self._running = sequence

    def remove(self, sequence: Sequence) -> None:
        """Forget a finished sequence."""
        if self._running is sequence:
            self._running = None

    def schedule(self) -> Batch | None:
        """The next batch, or None when there is nothing to compute."""
        sequence = self._running
        if sequence is None or sequence.n_computed == len(sequence.tokens):
            return None
        start = sequence.n_computed
        return Batch(sequence=sequence, start=start, tokens=sequence.tokens[start : start + self._n_batch])

    def update(self, batch: Batch) -> None:
        """Note that a batch was computed."""
        batch.sequence.n_computed = batch.start + len(batch.tokens)
        batch.sequence.check_integrity()


def common_prefix(left: list[int], right: list[int]) -> int:
    """How many leading tokens two lists share."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    return next(index for index in range(limit) if left[index] != right[index])
