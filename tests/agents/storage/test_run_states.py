"""Whatever is asked of due times and runs in whatever order, the ledger stays true to its rules."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlite_utils import Database

from agents.core import (
    FILE_GONE,
    OCCURRENCE_TRANSITIONS,
    RUN_TRANSITIONS,
    GateOutcome,
    NewOccurrence,
    NewResult,
    OccurrenceStatus,
    Run,
    RunStatus,
    StepKind,
    StepStatus,
    StepUsage,
)
from agents.errors import Conflict
from agents.storage import due_ledger, ledger, step_rows
from agents.storage.driver import rows
from agents.storage.occurrence_rows import due_by, get_occurrence, schedule_rows
from agents.storage.opening import open_database
from agents.storage.run_rows import count_runs, get_run, next_pending_run
from agents.triggers import GateKind, TriggerKind
from tests.agents.storage.databases import DUE, NO_KEY, occurrence

RESULT = NewResult(title="t", summary="s", action_items=(), category="c")
KEYS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
OWNERS = st.sampled_from(["old", "new"])
ENDS = st.sampled_from([OccurrenceStatus.MISSED, OccurrenceStatus.SKIPPED, OccurrenceStatus.CANCELLED])
CLOSED = GateOutcome(gate=GateKind.HOURS, key="hours:1", is_open=False, detail="It is night.")
AGENT = 1


@dataclass
class Expected:
    """What the ledger must say of one due time."""

    key: str
    status: OccurrenceStatus
    fence: int = 0
    owner: str | None = None
    run_id: int | None = None
    lost: bool = False  # its file was gone, so its key is free


def timed(key: str) -> NewOccurrence:
    return replace(occurrence(AGENT, key), trigger=TriggerKind.CRON, trigger_key="cron:1")


class Ledger(RuleBasedStateMachine):
    """The real tables beside a plain model of what each due time, and its run, must be."""

    dues: Bundle[int] = Bundle("dues")

    @initialize()
    def an_agent(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.db: Database = open_database(Path(self.folder.name) / "hearth.db", NO_KEY)
        self.db.execute("PRAGMA synchronous = OFF")  # power is not what this test cuts
        self.db.execute("INSERT INTO agents (name, name_key, revision, created_us) VALUES ('A', 'a', 1, 0)")
        self.db.execute(
            "INSERT INTO agent_revisions (agent_id, number, source, definition, created_us) VALUES (1, 1, '', '{}', 0)"
        )
        self.model: dict[int, Expected] = {}
        self.owners: dict[int, str] = {}  # of running runs
        self.attempts: dict[int, int] = {}
        self.failures: dict[int, int] = {}
        self.woken = self.free = 0
        self.now_us = itertools.count(1)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.folder.cleanup()

    # --- due times ---

    def holder(self, key: str) -> int | None:
        """The due time that has the key now."""
        held = [id_ for id_, expected in self.model.items() if expected.key == key and not expected.lost]
        return held[0] if held else None

    def note(self, key: str, status: OccurrenceStatus) -> int:
        """A row that must have come into being just now."""
        (found,) = rows(self.db, "SELECT max(id) AS id FROM occurrences")
        self.model[found["id"]] = Expected(key=key, status=status)
        return int(found["id"])

    @rule(target=dues, key=KEYS)
    def plan(self, key: str) -> int:
        # A planned row never takes a key over: only a file that was gone gives one up, to what notices it again.
        held = [id_ for id_, expected in self.model.items() if expected.key == key]
        taken = bool(rows(self.db, "SELECT 1 FROM occurrences WHERE key = ?", (key,)))
        with self.db.atomic():
            inserted = schedule_rows(self.db, [timed(key), timed(key)], now_us=next(self.now_us))
        assert inserted == int(not taken)
        return self.note(key, OccurrenceStatus.SCHEDULED) if inserted else held[-1]

    @rule(target=dues, key=KEYS)
    def announce(self, key: str) -> int:
        held = self.holder(key)
        with self.db.atomic():
            row = due_ledger.announce_row(self.db, occurrence(AGENT, key), now_us=next(self.now_us))
        assert (row is None) == (held is not None)
        return self.note(key, OccurrenceStatus.SCHEDULED) if held is None else held

    @rule(target=dues, key=KEYS)
    def record(self, key: str) -> int:
        held = self.holder(key)
        with self.db.atomic():
            run = ledger.record_occurrence(self.db, occurrence(AGENT, key), now_us=next(self.now_us))
        assert (run is None) == (held is not None)
        if run is None:
            assert held is not None
            return held
        id_ = self.note(key, OccurrenceStatus.PENDING)
        self.admitted(id_, run)
        return id_

    def admitted(self, id_: int, run: Run) -> None:
        self.model[id_].run_id = run.id
        self.attempts[run.id] = self.failures[run.id] = 0
        self.woken += 1

    @rule(owner=OWNERS, chosen=st.none() | st.lists(dues, max_size=4))
    def claim(self, owner: str, chosen: list[int] | None) -> None:
        ids = list(self.model) if chosen is None else chosen
        free = {id_ for id_ in ids if self.model[id_].status is OccurrenceStatus.SCHEDULED}
        with self.db.atomic():
            taken = due_ledger.claim_rows(self.db, ids, owner=owner, planned=(), now_us=next(self.now_us))
        assert {row.id for row in taken} == free
        for row in taken:
            expected = self.model[row.id]
            assert row.fence > expected.fence
            expected.status, expected.owner, expected.fence = OccurrenceStatus.CLAIMED, owner, row.fence

    def decides(self, id_: int, fence: int, target: OccurrenceStatus, job: Callable[[], object]) -> bool:
        """Does a job that must succeed exactly while the claim holds."""
        expected = self.model[id_]
        if expected.status is OccurrenceStatus.CLAIMED and fence == expected.fence:
            assert target in OCCURRENCE_TRANSITIONS[expected.status]
            with self.db.atomic():
                job()
            expected.status, expected.owner = target, None
            return True
        with pytest.raises(Conflict), self.db.atomic():
            job()
        return False

    @rule(id_=dues, behind=st.integers(0, 1))
    def admit(self, id_: int, behind: int) -> None:
        fence = self.model[id_].fence - behind
        made: list[Run] = []

        def job() -> None:
            made.append(
                due_ledger.admit_occurrence(
                    self.db, id_, fence=fence, gates=(), not_before_us=None, now_us=next(self.now_us)
                )
            )

        if self.decides(id_, fence, OccurrenceStatus.PENDING, job):
            self.admitted(id_, made[0])

    @rule(id_=dues, behind=st.integers(0, 1), status=ENDS, closed=st.booleans())
    def end(self, id_: int, behind: int, status: OccurrenceStatus, closed: bool) -> None:
        fence = self.model[id_].fence - behind

        def job() -> None:
            due_ledger.end_occurrence(
                self.db,
                id_,
                fence=fence,
                status=status,
                reason="Because.",
                gates=[CLOSED] if closed else [],
                now_us=next(self.now_us),
            )

        if self.decides(id_, fence, status, job) and status is OccurrenceStatus.SKIPPED:
            self.woken += 1
            self.free += 1  # whatever kept it from a run

    # --- runs ---

    def change(self, id_: int, target: RunStatus, job: Callable[[], Run], *, only_from: RunStatus) -> bool:
        """Does a job that must succeed exactly when the run is where the job takes it from."""
        before = RunStatus(self.model[id_].status)
        if before is only_from:
            assert target in RUN_TRANSITIONS[before]
            with self.db.atomic():
                assert job().status is target
            self.model[id_].status = OccurrenceStatus(target)
            return True
        with pytest.raises(Conflict, match=f"is {before}; it can't become {target}"), self.db.atomic():
            job()
        return False

    @rule(id_=dues, owner=OWNERS)
    def begin(self, id_: int, owner: str) -> None:
        run_id = self.model[id_].run_id
        if run_id is None:
            return

        def job() -> Run:
            return ledger.begin_run(self.db, run_id, owner=owner, model="m", now_us=next(self.now_us))

        if self.change(id_, RunStatus.RUNNING, job, only_from=RunStatus.PENDING):
            self.owners[run_id] = owner
            self.attempts[run_id] += 1

    @rule(id_=dues)
    def give_back(self, id_: int) -> None:
        run_id = self.model[id_].run_id
        if run_id is None:
            return

        def job() -> Run:
            return ledger.give_back_run(self.db, run_id, now_us=next(self.now_us))

        self.change(id_, RunStatus.PENDING, job, only_from=RunStatus.RUNNING)

    @rule(id_=dues)
    def retry_later(self, id_: int) -> None:
        run_id = self.model[id_].run_id
        if run_id is None:
            return

        def job() -> Run:
            return ledger.retry_run_later(
                self.db, run_id, reason="Busy.", not_before_us=5, now_us=next(self.now_us)
            )

        if self.change(id_, RunStatus.PENDING, job, only_from=RunStatus.RUNNING):
            self.failures[run_id] += 1

    @rule(
        id_=dues,
        status=st.sampled_from([status for status in RunStatus if status.is_final]),
        gone=st.booleans(),
        follower=KEYS,
    )
    def finish(self, id_: int, status: RunStatus, gone: bool, follower: str) -> None:
        expected = self.model[id_]
        run_id = expected.run_id
        if run_id is None:
            return
        code = FILE_GONE if gone and status is RunStatus.FAILED else None
        result = RESULT if status is RunStatus.SUCCEEDED else None
        taken = bool(rows(self.db, "SELECT 1 FROM occurrences WHERE key = ?", (f"after {follower}",)))

        def job() -> Run:
            return ledger.finish_run(
                self.db,
                run_id,
                status,
                reason=None if result else "Because.",
                code=code,
                result=result,
                followers=[occurrence(AGENT, f"after {follower}")],
                now_us=next(self.now_us),
            )

        if self.change(id_, status, job, only_from=RunStatus.RUNNING):
            expected.lost = code is not None
            if not taken:
                self.note(f"after {follower}", OccurrenceStatus.SCHEDULED)

    @rule(id_=dues)
    def cancel(self, id_: int) -> None:
        run_id = self.model[id_].run_id
        if run_id is None:
            return

        def job() -> Run:
            return ledger.cancel_pending_run(self.db, run_id, "No.", now_us=next(self.now_us))

        self.change(id_, RunStatus.CANCELLED, job, only_from=RunStatus.PENDING)

    @rule(id_=dues, key=KEYS, finish=st.booleans())
    def step(self, id_: int, key: str, finish: bool) -> None:
        run_id = self.model[id_].run_id
        if run_id is None or self.model[id_].status is not OccurrenceStatus.RUNNING:
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
            freed = due_ledger.recover_rows(self.db, owner, now_us=next(self.now_us))
            given_back = ledger.recover_runs(self.db, owner, now_us=next(self.now_us))
        unclaimed = {id_ for id_, expected in self.model.items() if expected.owner not in (None, owner)}
        assert {row.id for row in freed} == unclaimed
        for id_ in unclaimed:
            self.model[id_].status, self.model[id_].owner = OccurrenceStatus.SCHEDULED, None
        left = {
            expected.run_id: id_
            for id_, expected in self.model.items()
            if expected.status is OccurrenceStatus.RUNNING
            and expected.run_id is not None
            and self.owners[expected.run_id] != owner
        }
        assert {run.id for run in given_back} == left.keys()
        for id_ in left.values():
            self.model[id_].status = OccurrenceStatus.PENDING

    # --- what always holds ---

    @invariant()
    def no_due_time_is_lost_and_each_is_where_it_must_be(self) -> None:
        if not hasattr(self, "db"):
            return
        assert {row["id"] for row in rows(self.db, "SELECT id FROM occurrences")} == self.model.keys()
        for id_, expected in self.model.items():
            row = get_occurrence(self.db, id_)
            assert (row.status, row.fence, row.run_id) == (expected.status, expected.fence, expected.run_id)
            assert expected.lost or row.key == expected.key
        (counted,) = rows(self.db, "SELECT woken, woken_free FROM agents")
        assert (counted["woken"], counted["woken_free"]) == (self.woken, self.free)

    @invariant()
    def every_run_is_where_its_due_time_is(self) -> None:
        if not hasattr(self, "db"):
            return
        runs = {expected.run_id: expected for expected in self.model.values() if expected.run_id is not None}
        assert {row["id"] for row in rows(self.db, "SELECT id FROM runs")} == runs.keys()
        for run_id, expected in runs.items():
            run = get_run(self.db, run_id)
            assert run.status == expected.status
            assert (run.finished_at is not None) == run.status.is_final
            assert (run.title is not None) == (run.status is RunStatus.SUCCEEDED)
            assert (run.attempt, run.failures) == (self.attempts[run_id], self.failures[run_id])
        counts = count_runs(self.db, None)
        assert sum(counts.values()) == len(runs)

    @invariant()
    def occurrences_agree_with_their_runs(self) -> None:
        if not hasattr(self, "db"):
            return
        differing = """
            SELECT r.id FROM runs r JOIN occurrences o ON o.id = r.occurrence_id
            WHERE r.status <> o.status OR r.reason IS NOT o.reason OR r.due_us <> o.due_us
        """
        assert rows(self.db, differing) == []

    @invariant()
    def a_step_is_open_only_in_a_running_run(self) -> None:
        if not hasattr(self, "db"):
            return
        stray = "SELECT s.id FROM steps s JOIN runs r ON r.id = s.run_id WHERE s.status = 'running' AND r.status <> 'running'"
        assert rows(self.db, stray) == []

    @invariant()
    def what_is_scheduled_is_found_when_it_is_due(self) -> None:
        if not hasattr(self, "db"):
            return
        scheduled = {
            id_ for id_, expected in self.model.items() if expected.status is OccurrenceStatus.SCHEDULED
        }
        assert {row.id for row in due_by(self.db, DUE, 1000)} == scheduled
        assert due_by(self.db, DUE - timedelta(microseconds=1), 1000) == []

    @invariant()
    def the_next_run_is_pending_when_any_is(self) -> None:
        if not hasattr(self, "db"):
            return
        following = next_pending_run(self.db, now=DUE)
        pending = {
            expected.run_id for expected in self.model.values() if expected.status is OccurrenceStatus.PENDING
        }
        assert (following.id in pending) if following else not pending


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=80, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
