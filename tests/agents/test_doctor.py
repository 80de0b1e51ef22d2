"""The doctor tells how old the newest backup is, and what to do about a model that was set aside."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from agents import doctor
from agents.contract import DoctorCheck
from agents.credentials import KeyKind, ResolvedKey
from agents.paths import HomePaths
from agents.storage import Store
from agents.storage.backups import Backups
from engine.status import EngineState, EngineStatus
from tests.agents.conftest import FakeClock

KEY = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32))


@pytest.fixture
def paths(tmp_path: Path) -> HomePaths:
    return HomePaths(tmp_path / "home")


async def check_named(
    name: str,
    paths: HomePaths,
    store: Store,
    clock: FakeClock,
    made: Backups,
    engine: EngineStatus | None = None,
    schedule: doctor.ScheduleHealth | None = None,
) -> DoctorCheck:
    report = await doctor.examine(
        paths=paths,
        store=store,
        backups=made,
        engine=engine or EngineStatus(state=EngineState.READY),
        agents=[],
        last_look=None,
        schedule=schedule or doctor.ScheduleHealth(),
        now=clock.now(),
    )
    [check] = [check for check in report.checks if check.name == name]
    return check


async def backup_check(paths: HomePaths, store: Store, clock: FakeClock, made: Backups) -> DoctorCheck:
    return await check_named("backup", paths, store, clock, made)


async def test_a_model_that_was_set_aside_comes_with_its_remedy(
    paths: HomePaths, store: Store, clock: FakeClock
) -> None:
    backups = Backups(paths=paths, store=store, key=KEY, clock=clock)
    aside = EngineStatus(state=EngineState.SET_ASIDE, reason="the engine ended 3 times (last: x)")
    check = await check_named("engine", paths, store, clock, backups, aside)
    assert not check.ok
    assert check.message == (
        "The model is set aside: the engine ended 3 times (last: x); `hearth doctor --retry` tries it again."
    )


async def test_the_age_of_the_newest_backup(paths: HomePaths, store: Store, clock: FakeClock) -> None:
    backups = Backups(paths=paths, store=store, key=KEY, clock=clock)
    before = await backup_check(paths, store, clock, backups)
    assert (before.ok, before.message) == (True, "The first backup is being made.")

    await backups.make_if_due()
    seen = []
    for hours in (0.5, 24.5, 24):
        clock.advance(hours * 3600)
        check = await backup_check(paths, store, clock, backups)
        seen.append((check.ok, check.message.split(" is ")[1].split(" old")[0]))

    assert seen == [(True, "30 min"), (True, "25 h"), (False, "49 h")]
    assert "hearth serve" in check.message


async def test_a_clock_that_was_set_back_makes_no_negative_age(
    paths: HomePaths, store: Store, clock: FakeClock
) -> None:
    backups = Backups(paths=paths, store=store, key=KEY, clock=clock)
    await backups.make_if_due()
    clock.advance(-3 * 86_400)

    assert (await backup_check(paths, store, clock, backups)).message.startswith(
        "The newest backup is 0 min old"
    )


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
async def test_an_api_key_that_others_can_read_is_minded(
    paths: HomePaths, store: Store, clock: FakeClock
) -> None:
    async def key_checks() -> list[DoctorCheck]:
        report = await doctor.examine(
            paths=paths,
            store=store,
            backups=Backups(paths=paths, store=store, key=KEY, clock=clock),
            engine=EngineStatus(state=EngineState.READY),
            agents=[],
            last_look=None,
            schedule=doctor.ScheduleHealth(),
            now=clock.now(),
            api_key=paths.api_key,
        )
        return [check for check in report.checks if check.name == "api key"]

    assert await key_checks() == []
    paths.api_key.write_text("a key of a good length")
    paths.api_key.chmod(0o600)
    [private] = await key_checks()
    paths.api_key.chmod(0o644)
    [found] = await key_checks()
    assert (private.ok, found.ok) == (True, False)
    assert f"chmod 600 {paths.api_key}" in found.message


async def test_a_schedule_that_stands_still_or_cannot_write_is_a_fault_with_its_remedy(
    paths: HomePaths, store: Store, clock: FakeClock
) -> None:
    backups = Backups(paths=paths, store=store, key=KEY, clock=clock)
    seconds_ago = [10.0, 50.0, 70.0]
    seen = []
    for age_s in seconds_ago:
        health = doctor.ScheduleHealth(last_tick=clock.now() - timedelta(seconds=age_s))
        check = await check_named("schedule", paths, store, clock, backups, schedule=health)
        seen.append(check.ok)
    assert seen == [True, True, False]
    assert "hearth serve" in check.message

    full = doctor.ScheduleHealth(last_tick=clock.now(), trouble="The disk is full; make room.")
    check = await check_named("schedule", paths, store, clock, backups, schedule=full)
    assert (check.ok, check.message) == (False, "The disk is full; make room.")


async def test_what_the_watchdog_mended_is_told_for_a_day(
    paths: HomePaths, store: Store, clock: FakeClock
) -> None:
    backups = Backups(paths=paths, store=store, key=KEY, clock=clock)
    incident = await store.incidents.add("scheduler_stuck", "It was started again.", clock.now())
    messages = []
    for hours in (1, 24):
        clock.advance(hours * 3600)
        health = doctor.ScheduleHealth(last_tick=clock.now(), incidents=(incident,))
        check = await check_named("schedule", paths, store, clock, backups, schedule=health)
        assert check.ok
        messages.append("It was started again." in check.message)
    assert messages == [True, False]
