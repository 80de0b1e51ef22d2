"""Looks at the house and says what is wrong, each thing in one sentence with its remedy."""

from __future__ import annotations

import asyncio
import shutil
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agents.contract import AgentInfo, DoctorCheck, DoctorReport
from agents.core import Incident
from agents.paths import HomePaths
from agents.printable import printable
from agents.storage import Store
from agents.storage.backups import Backups
from engine.status import EngineState, EngineStatus

MIN_FREE_BYTES = 500_000_000
STALE_LOOK = timedelta(minutes=3)  # at folders
STALE_TICK = timedelta(seconds=60)  # of the schedule
RECENT = timedelta(days=1)
STALE_BACKUP = timedelta(hours=48)


@dataclass(frozen=True, kw_only=True)
class ScheduleHealth:
    """What the scheduler tells of itself, and what its watchdog found, the newest first."""

    last_tick: datetime | None = None
    next_due: datetime | None = None
    trouble: str | None = None
    incidents: tuple[Incident, ...] = ()


async def examine(
    *,
    paths: HomePaths,
    store: Store,
    backups: Backups,
    engine: EngineStatus,
    agents: list[AgentInfo],
    last_look: datetime | None,
    schedule: ScheduleHealth,
    now: datetime,
    listening: str | None = None,
    api_key: Path | None = None,
) -> DoctorReport:
    """Every check, in the order in which trouble usually starts."""
    checks = [
        await asyncio.to_thread(_home, paths),
        await asyncio.to_thread(_disk, paths),
        _database(store),
        await asyncio.to_thread(_backup, backups, now),
        _engine(engine),
        _listener(listening),
        *await asyncio.to_thread(_api_key, api_key),
        _folders(last_look, now),
        _schedule(schedule, now),
        *(_agent(agent) for agent in agents),
    ]
    return DoctorReport(ok=all(check.ok for check in checks), checks=checks)


def _home(paths: HomePaths) -> DoctorCheck:
    mode = stat.S_IMODE(paths.root.stat().st_mode)
    if mode & 0o077:
        message = f"Other users can look into {paths.root}; run `chmod 700` on it."
        return DoctorCheck(name="home", ok=False, message=message)
    return DoctorCheck(name="home", ok=True, message=f"{paths.root} is private.")


def _disk(paths: HomePaths) -> DoctorCheck:
    free = shutil.disk_usage(paths.root).free
    if free < MIN_FREE_BYTES:
        message = f"Only {free / 1e6:,.0f} MB are free for {paths.root}; make room."
        return DoctorCheck(name="disk", ok=False, message=message)
    return DoctorCheck(name="disk", ok=True, message=f"{free / 1e9:,.0f} GB are free.")


def _database(store: Store) -> DoctorCheck:
    if not store.encrypted:
        return DoctorCheck(
            name="database", ok=True, message="The database is readable and not encrypted, as you chose."
        )
    return DoctorCheck(name="database", ok=True, message="The database is readable and encrypted.")


def _backup(backups: Backups, now: datetime) -> DoctorCheck:
    kept = backups.newest_first()
    if backups.problem is not None:
        return DoctorCheck(name="backup", ok=False, message=backups.problem)
    if not kept:
        return DoctorCheck(name="backup", ok=True, message="The first backup is being made.")
    age = max(now - kept[0].made_at, timedelta())
    hours, minutes = int(age.total_seconds() // 3600), int(age.total_seconds() // 60)
    told = f"The newest backup is {f'{hours} h' if hours else f'{minutes} min'} old"
    if age > STALE_BACKUP:
        message = f"{told}; restart with `hearth stop`, then `hearth serve`."
        return DoctorCheck(name="backup", ok=False, message=message)
    return DoctorCheck(name="backup", ok=True, message=f"{told}, of {len(kept)} in {backups.folder}.")


def _engine(status: EngineStatus) -> DoctorCheck:
    if status.state is EngineState.SET_ASIDE:
        reason = status.reason or "it crashed too often"
        message = f"The model is set aside: {reason.rstrip('.')}; `hearth doctor --retry` tries it again."
        return DoctorCheck(name="engine", ok=False, message=message)
    if status.state is EngineState.STOPPED and status.reason:
        return DoctorCheck(name="engine", ok=False, message=status.reason)
    name = status.model_name or "The model"
    if status.state in (EngineState.READY, EngineState.BUSY):
        message = f"{name} is loaded." if not status.notice else f"{name} is loaded. {status.notice}"
        return DoctorCheck(name="engine", ok=True, message=message)
    return DoctorCheck(name="engine", ok=True, message=f"{name} is not loaded yet ({status.state.value}).")


def _listener(sentence: str | None) -> DoctorCheck:
    """Never a fault: it is there to be seen."""
    message = sentence or "No network port is open; other programs use the home's socket."
    return DoctorCheck(name="listener", ok=True, message=message)


def _api_key(file: Path | None) -> list[DoctorCheck]:
    """Whoever reads the key can use the models; nothing to say where there is none."""
    try:
        is_open = file is not None and stat.S_IMODE(file.stat().st_mode) & 0o077
    except OSError:
        return []
    if file is None:
        return []
    if is_open:
        message = f"Other users can read the API key in {printable(file)}; run `chmod 600 {printable(file)}`."
        return [DoctorCheck(name="api key", ok=False, message=message)]
    return [DoctorCheck(name="api key", ok=True, message="The API key is private.")]


def _folders(last_look: datetime | None, now: datetime) -> DoctorCheck:
    if last_look is None:
        return DoctorCheck(name="folders", ok=True, message="No folder has been looked at yet.")
    age = now - last_look
    if age > STALE_LOOK:
        minutes = int(age.total_seconds() // 60)
        message = f"The folders were last looked at {minutes} minutes ago; restart with `hearth stop`, then `hearth serve`."
        return DoctorCheck(name="folders", ok=False, message=message)
    return DoctorCheck(
        name="folders", ok=True, message=f"The folders were looked at {int(age.total_seconds())} s ago."
    )


def _schedule(schedule: ScheduleHealth, now: datetime) -> DoctorCheck:
    """Whether due times are claimed; what the watchdog had to mend in the last day is told, and is no fault by now."""
    if schedule.trouble is not None:
        return DoctorCheck(name="schedule", ok=False, message=schedule.trouble)
    if schedule.last_tick is None:
        return DoctorCheck(name="schedule", ok=True, message="Due times have not been looked at yet.")
    age = now - schedule.last_tick
    if age > STALE_TICK:
        seconds = int(age.total_seconds())
        message = (
            f"Due times were last looked at {seconds} s ago; restart with `hearth stop`, then `hearth serve`."
        )
        return DoctorCheck(name="schedule", ok=False, message=message)
    told = f"Due times were looked at {int(age.total_seconds())} s ago, "
    if schedule.next_due is None:
        told += "and none is armed."
    else:
        told += f"and the next one is {_when(schedule.next_due)}."
    recent = [incident for incident in schedule.incidents if now - incident.at < RECENT]
    if recent:
        told += f" Since yesterday: {recent[0].detail}"
    return DoctorCheck(name="schedule", ok=True, message=told)


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("on %d %B at %H:%M").replace("on 0", "on ")


def _agent(agent: AgentInfo) -> DoctorCheck:
    if agent.problem:
        return DoctorCheck(name=f"agent {agent.name}", ok=False, message=agent.problem)
    if not agent.folders:
        message = "It waits for you to choose a folder."
    elif agent.paused:
        message = "It is paused."
    else:
        message = f"It watches {', '.join(agent.folders)}."
    return DoctorCheck(name=f"agent {agent.name}", ok=True, message=message)
