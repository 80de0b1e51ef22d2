"""What clients are shown of what is stored."""

from __future__ import annotations

from datetime import UTC, datetime

from agents import views
from agents.core import Agent, RunStatus, Wakings


async def test_runs_in_work_are_told_beside_those_that_wait(agent: Agent) -> None:
    counts = {RunStatus.PENDING: 2, RunStatus.RUNNING: 1, RunStatus.FAILED: 4}
    info = views.agent_info(
        agent,
        counts=counts,
        last_run=None,
        problem=None,
        waits=None,
        next_due=None,
        wakings=Wakings(woken=0, free=0),
        zone="UTC",
        now=datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert (info.waiting, info.running, info.failed) == (3, 1, 4)
