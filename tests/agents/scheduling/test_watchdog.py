"""The watchdog has a scheduler that stands still begin anew, says so, and leaves a healthy one alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from agents.clock import SystemClock
from agents.scheduling.heartbeat import Heartbeat
from agents.scheduling.watchdog import IncidentKind, Watchdog

LOOK_S = 0.02
STUCK_S = 0.2


class Patient:
    """A scheduler that beats while it is well; a restart may cure it."""

    def __init__(self) -> None:
        self.heartbeat = Heartbeat()
        self.trouble: str | None = None
        self.beating = True
        self.curable = True
        self.overdue = 0
        self.restarts = 0
        self.breaks = False  # once
        self.incidents: list[tuple[IncidentKind, str]] = []

    async def live(self) -> None:
        while True:
            if self.beating:
                self.heartbeat.beat()
            await asyncio.sleep(LOOK_S)

    async def restart(self) -> None:
        self.restarts += 1
        if self.curable:
            self.beating, self.overdue = True, 0

    async def count_overdue(self, before: datetime) -> int:
        if self.breaks:
            self.breaks = False
            raise RuntimeError("something that nobody thought of")
        return self.overdue

    async def record(self, kind: IncidentKind, sentence: str) -> None:
        self.incidents.append((kind, sentence))


@asynccontextmanager
async def watched(patient: Patient) -> AsyncIterator[None]:
    watchdog = Watchdog(
        scheduler=patient,
        count_overdue=patient.count_overdue,
        clock=SystemClock(),
        on_incident=patient.record,
        stuck_s=STUCK_S,
        look_s=LOOK_S,
    )
    life = asyncio.create_task(patient.live())
    watchdog.start()
    try:
        yield
    finally:
        await watchdog.stop()
        life.cancel()


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not seen():
            await asyncio.sleep(0.01)


async def test_a_scheduler_that_lives_is_left_alone() -> None:
    patient = Patient()
    async with watched(patient):
        await asyncio.sleep(3 * STUCK_S)
    assert (patient.restarts, patient.incidents) == (0, [])


async def test_a_scheduler_that_stands_still_begins_anew_and_the_incident_is_recorded() -> None:
    patient = Patient()
    patient.beating = False
    async with watched(patient):
        await until(lambda: bool(patient.incidents))
        await asyncio.sleep(2 * STUCK_S)
    [(kind, sentence)] = patient.incidents
    assert kind is IncidentKind.SCHEDULER_STUCK
    assert "started again" in sentence
    assert patient.restarts == 1


async def test_due_times_that_nobody_takes_are_noticed_while_the_scheduler_seems_to_live() -> None:
    patient = Patient()
    patient.overdue = 3
    async with watched(patient):
        await until(lambda: bool(patient.incidents))
    assert patient.incidents[0][0] is IncidentKind.DUE_UNCLAIMED
    assert patient.restarts == 1


async def test_a_watchdog_that_could_not_look_looks_again() -> None:
    patient = Patient()
    patient.breaks = True
    async with watched(patient):
        await until(lambda: not patient.breaks)
        patient.overdue = 3
        await until(lambda: patient.restarts > 0)


async def test_a_ledger_that_cannot_be_written_is_not_the_schedulers_fault() -> None:
    patient = Patient()
    patient.overdue, patient.trouble = 3, "The disk is full; make room."
    async with watched(patient):
        await asyncio.sleep(3 * STUCK_S)
    assert patient.restarts == 0


async def test_a_scheduler_that_no_restart_helps_is_restarted_less_and_less_often() -> None:
    patient = Patient()
    patient.beating, patient.curable = False, False
    async with watched(patient):
        await until(lambda: patient.restarts >= 3)
        third_s = time.monotonic()
        await until(lambda: patient.restarts >= 4)
    assert time.monotonic() - third_s > 4 * STUCK_S


async def test_a_loop_that_stood_still_is_told_with_the_place_where_it_did(
    caplog: pytest.LogCaptureFixture,
) -> None:
    patient = Patient()
    async with watched(patient):
        await asyncio.sleep(2 * LOOK_S)
        with caplog.at_level(logging.ERROR, logger="agents.scheduling.watchdog"):
            hold_the_loop(3 * STUCK_S)
        await until(lambda: bool(patient.incidents))
    assert patient.incidents[0][0] is IncidentKind.LOOP_STUCK
    assert patient.restarts == 0  # the scheduler could not beat, and is not to blame
    assert "hold_the_loop" in caplog.text


def hold_the_loop(seconds: float) -> None:
    time.sleep(seconds)
