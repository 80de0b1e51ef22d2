"""Whatever is asked of runs in whatever order, the ledger stays true to its rules."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlite_utils import Database

from agents.core import FILE_GONE, RUN_TRANSITIONS, NewResult, Run, RunStatus, StepKind, StepStatus, StepUsage
from agents.errors import Conflict
from agents.storage import ledger, step_rows
from agents.storage.driver import rows
from agents.storage.opening import open_database
from agents.storage.run_rows import count_runs, get_run, next_pending_run
from tests.agents.storage.databases import DUE, NO_KEY, occurrence

RESULT = NewResult(title="t", summary="s", action_items=(), category="c")
KEYS = st.sampled_from(["a", "b", "c", "d"])
OWNERS = st.sampled_from(["old", "new"])


class Ledger(RuleBasedStateMachine):
    """The real tables beside a dictionary of what each run must be."""

    runs: Bundle[int] = Bundle("runs")

    @initialize()
    def an_agent(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.db: Database = open_database(Path(self.folder.name) / "hearth.db", NO_KEY)
        self.db.execute("PRAGMA synchronous = OFF")  # power is not what this test cuts
        self.db.execute("INSERT INTO agents (name, name_key, revision, created_us) VALUES ('A', 'a', 1, 0)")
        self.db.execute(
            "INSERT INTO agent_revisions (agent_id, number, source, definition, created_us) VALUES (1, 1, '', '{}', 0)"
        )
        self.expected: dict[int, RunStatus] = {}
        self.owners: dict[int, str] = {}
        self.by_key: dict[str, int] = {}
        self.lost: set[int] = set()
        self.now_us = itertools.count(1)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.folder.cleanup()

    def change(self, run_id: int, target: RunStatus, job: Callable[[], Run], *, only_from: RunStatus) -> None:
        """Does a job that must succeed exactly when the run is where the job takes it from."""
        before = self.expected[run_id]
        if before is only_from:
            assert target in RUN_TRANSITIONS[before]
            with self.db.atomic():
                assert job().status is target
            self.expected[run_id] = target
        else:
            with pytest.raises(Conflict, match=f"is {before}; it can't become {target}"), self.db.atomic():
                job()

    @rule(target=runs, key=KEYS)
    def record(self, key: str) -> int:
        with self.db.atomic():
            run = ledger.record_occurrence(self.db, occurrence(1, key), now_us=next(self.now_us))
        assert (run is None) == (key in self.by_key and self.by_key[key] not in self.lost)
        if run is not None:
            self.by_key[key] = run.id
            self.expected[run.id] = RunStatus.PENDING
        return self.by_key[key]

    @rule(run_id=runs, owner=OWNERS)
    def begin(self, run_id: int, owner: str) -> None:
        was = get_run(self.db, run_id)

        def job() -> Run:
            return ledger.begin_run(self.db, run_id, owner=owner, model="m", now_us=next(self.now_us))

        self.change(run_id, RunStatus.RUNNING, job, only_from=RunStatus.PENDING)
        if was.status is RunStatus.PENDING:
            self.owners[run_id] = owner
            assert get_run(self.db, run_id).attempt == was.attempt + 1

    @rule(run_id=runs)
    def give_back(self, run_id: int) -> None:
        def job() -> Run:
            return ledger.give_back_run(self.db, run_id, now_us=next(self.now_us))

        self.change(run_id, RunStatus.PENDING, job, only_from=RunStatus.RUNNING)

    @rule(
        run_id=runs,
        status=st.sampled_from([RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED]),
        gone=st.booleans(),
    )
    def finish(self, run_id: int, status: RunStatus, gone: bool) -> None:
        code = FILE_GONE if gone and status is RunStatus.FAILED else None
        was = self.expected[run_id]
        result = RESULT if status is RunStatus.SUCCEEDED else None
        reason = None if result else "Because."

        def job() -> Run:
            return ledger.finish_run(
                self.db, run_id, status, reason=reason, code=code, result=result, now_us=next(self.now_us)
            )

        self.change(run_id, status, job, only_from=RunStatus.RUNNING)
        if was is RunStatus.RUNNING and code is not None:
            self.lost.add(run_id)

    @rule(run_id=runs)
    def cancel(self, run_id: int) -> None:
        def job() -> Run:
            return ledger.cancel_pending_run(self.db, run_id, "No.", now_us=next(self.now_us))

        self.change(run_id, RunStatus.CANCELLED, job, only_from=RunStatus.PENDING)

    @rule(run_id=runs, key=KEYS, finish=st.booleans())
    def step(self, run_id: int, key: str, finish: bool) -> None:
        if self.expected[run_id] is not RunStatus.RUNNING:
            return
        with self.db.atomic():
            step = step_rows.begin_step(
                self.db, run_id, key=key, kind=StepKind.MODEL, title=key, now_us=next(self.now_us)
            )
            if step.status is StepStatus.SUCCEEDED:
                assert step.output == key
            elif finish:
                step_rows.finish_step(
                    self.db, step.id, output=key, detail=None, usage=StepUsage(), now_us=next(self.now_us)
                )

    @rule(owner=OWNERS)
    def restart(self, owner: str) -> None:
        with self.db.atomic():
            recovered = ledger.recover_runs(self.db, owner, now_us=next(self.now_us))
        lost = {
            run_id
            for run_id, status in self.expected.items()
            if status is RunStatus.RUNNING and self.owners[run_id] != owner
        }
        assert {run.id for run in recovered} == lost
        for run_id in lost:
            self.expected[run_id] = RunStatus.PENDING

    @invariant()
    def every_run_is_where_it_must_be(self) -> None:
        if not hasattr(self, "db"):
            return
        for run_id, status in self.expected.items():
            run = get_run(self.db, run_id)
            assert run.status is status
            assert (run.finished_at is not None) == status.is_final
            assert (run.title is not None) == (status is RunStatus.SUCCEEDED)
        counts = count_runs(self.db, None)
        assert sum(counts.values()) == len(self.expected)
        assert len(self.expected) - len(self.by_key) == len(self.lost - set(self.by_key.values()))

    @invariant()
    def occurrences_agree_with_their_runs(self) -> None:
        if not hasattr(self, "db"):
            return
        differing = """
            SELECT r.id FROM runs r JOIN occurrences o ON o.id = r.occurrence_id
            WHERE r.status <> o.status OR r.reason IS NOT o.reason
        """
        assert rows(self.db, differing) == []

    @invariant()
    def a_step_is_open_only_in_a_running_run(self) -> None:
        if not hasattr(self, "db"):
            return
        stray = "SELECT s.id FROM steps s JOIN runs r ON r.id = s.run_id WHERE s.status = 'running' AND r.status <> 'running'"
        assert rows(self.db, stray) == []

    @invariant()
    def the_next_run_is_pending_when_any_is(self) -> None:
        if not hasattr(self, "db"):
            return
        following = next_pending_run(self.db, now=DUE)
        pending = {run_id for run_id, status in self.expected.items() if status is RunStatus.PENDING}
        assert (following.id in pending) if following else not pending


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
