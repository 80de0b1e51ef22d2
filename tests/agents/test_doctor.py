"""The doctor tells how old the newest backup is, and what to do about a model that was set aside."""

from __future__ import annotations

import os
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
) -> DoctorCheck:
    report = await doctor.examine(
        paths=paths,
        store=store,
        backups=made,
        engine=engine or EngineStatus(state=EngineState.READY),
        agents=[],
        last_tick=None,
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
            last_tick=None,
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
