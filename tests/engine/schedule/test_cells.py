"""The ledger of cells against a naive model in which every cell is an object of its own."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.schedule.cells import CellLedger

N_CELLS, N_IDS = 40, 5
ids = st.integers(0, N_IDS - 1)
sizes = st.integers(0, 20)


class Ledger(RuleBasedStateMachine):
    """Forks, growth and cuts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = CellLedger(N_CELLS)
        self.cells: dict[int, list[object]] = {seq_id: [] for seq_id in range(N_IDS)}

    def used(self, seq_ids: set[int] | None = None) -> int:
        return len(
            {
                id(c)
                for seq_id, cells in self.cells.items()
                for c in cells
                if seq_ids is None or seq_id in seq_ids
            }
        )

    @rule(seq_id=ids, n=sizes)
    def extend(self, seq_id: int, n: int) -> None:
        if n > N_CELLS - self.used():
            with pytest.raises(RuntimeError, match="free"):
                self.ledger.extend(seq_id, n)
            return
        self.ledger.extend(seq_id, n)
        self.cells[seq_id] += [object() for _ in range(n)]

    @rule(source=ids, into=ids, n=sizes)
    def fork(self, source: int, into: int, n: int) -> None:
        if self.cells[into] or n > len(self.cells[source]):
            with pytest.raises(RuntimeError):
                self.ledger.fork(source, into, n)
            return
        self.ledger.fork(source, into, n)
        self.cells[into] = self.cells[source][:n]

    @rule(seq_id=ids, n=sizes)
    def trim(self, seq_id: int, n: int) -> None:
        self.ledger.trim(seq_id, n)
        del self.cells[seq_id][n:]

    @rule(seq_id=ids)
    def drop(self, seq_id: int) -> None:
        self.ledger.drop(seq_id)
        self.cells[seq_id] = []

    @invariant()
    def counts_agree(self) -> None:
        self.ledger.check_integrity()
        assert self.ledger.n_used == self.used()
        assert self.ledger.n_free == N_CELLS - self.used()
        for seq_id, cells in self.cells.items():
            assert self.ledger.length(seq_id) == len(cells)
            assert self.ledger.n_exclusive(seq_id) == self.used() - self.used(set(self.cells) - {seq_id})
        assert self.ledger.n_held([0, 2]) == self.used({0, 2})


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_wrong_books_are_found() -> None:
    ledger = CellLedger(10)
    ledger.extend(0, 5)
    ledger.n_used = 4
    with pytest.raises(RuntimeError, match="counted"):
        ledger.check_integrity()
