"""A context without a model that keeps books cell by cell, and refuses what llama.cpp would refuse or get wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.schedule.batch import Batch, Outcome
from engine.states.sealing import State


class Cell:
    """One token in the cache, maybe of several sequences."""

    def __init__(self, token: int) -> None:
        self.token = token


class FakeContext:
    """Computes nothing, but knows at each row exactly which tokens the model would have seen."""

    def __init__(self, *, n_ctx: int, n_seq_ids: int, can_rewind: bool = True, delay_s: float = 0.0) -> None:
        self.n_ctx = n_ctx
        self.n_seq_ids = n_seq_ids
        self.can_rewind = can_rewind
        self.native_s = 0.0
        self.n_threads = 2
        self.sequences: dict[int, list[Cell]] = {}
        self.batches: list[list[tuple[int, int, list[int]]]] = []  # of (seq_id, start, tokens)
        self.outcomes: list[Outcome | EngineError] = []  # what the next batches do instead of working
        self.poison: int | None = None  # a token that can't be computed
        self.finite = True
        self.company_changes_numbers = False
        self._rows: dict[int, list[int]] = {}
        self._delay_s = delay_s

    def tokens(self, seq_id: int) -> list[int]:
        return [cell.token for cell in self.sequences.get(seq_id, [])]

    def n_used(self) -> int:
        return len({id(cell) for cells in self.sequences.values() for cell in cells})

    def seen_at(self, row: int) -> list[int]:
        """The tokens that the logits in this row of the last batch stand behind."""
        return self._rows[max(self._rows) if row == -1 else row]

    def logits(self, row: int) -> np.ndarray[Any, Any]:
        seen = self.seen_at(row)
        company = len(self.batches[-1]) if self.company_changes_numbers else 1
        return np.array([company, *seen], dtype=np.float32) if self.finite else np.array([np.nan])

    def decode(self, batch: Batch) -> Outcome:
        time.sleep(self._delay_s)
        planned = self.outcomes.pop(0) if self.outcomes else Outcome.DONE
        if isinstance(planned, EngineError):
            raise planned
        if planned is not Outcome.DONE:
            return planned
        if any(self.poison in run.tokens for run in batch.runs):
            raise EngineError("poisoned")
        self.batches.append([])
        self._rows = {}
        at = 0
        for run in batch.runs:
            assert run.sequence.slot is not None, "a run without a slot"
            seq_id = run.sequence.slot.seq_id
            assert 0 <= seq_id < self.n_seq_ids
            cells = self.sequences.setdefault(seq_id, [])
            assert len(cells) == run.start, "positions have a gap or overlap"
            for place, token in enumerate(run.tokens):
                cells.append(Cell(token))
                if place >= len(run.tokens) - run.n_outputs:
                    self._rows[at + place] = [cell.token for cell in cells]
            at += len(run.tokens)
            self.batches[-1].append((seq_id, run.start, run.tokens))
        assert self.n_used() <= self.n_ctx, "more cells than the cache has"
        return Outcome.DONE

    def set_threads(self, n_threads: int) -> None:
        self.n_threads = n_threads

    def copy_prefix(self, source: int, target: int, n_tokens: int) -> None:
        assert not self.sequences.get(target), "the target holds something"
        assert n_tokens <= len(self.sequences[source])
        assert self.can_rewind or n_tokens == len(self.sequences[source])
        self.sequences[target] = self.sequences[source][:n_tokens]

    def trim(self, seq_id: int, n_tokens: int) -> None:
        cells = self.sequences.get(seq_id, [])
        assert self.can_rewind or n_tokens in (0, len(cells)), "this model can't rewind"
        del cells[n_tokens:]

    def state_bytes(self, seq_id: int) -> int:
        return len(self.save(seq_id))

    def save(self, seq_id: int) -> State:
        return json.dumps(self.tokens(seq_id)).encode()

    def restore(self, seq_id: int, data: State) -> bool:
        assert not self.sequences.get(seq_id), "the target holds something"
        self.sequences[seq_id] = [Cell(token) for token in json.loads(bytes(data))]
        assert self.n_used() <= self.n_ctx, "more cells than the cache has"
        return True
