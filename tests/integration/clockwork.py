"""A process with the real ledger, scheduler, watchdog and run manager, whose runs ask no model: `python -m tests.integration.clockwork`.

It makes agents that are due each second, works until SIGTERM, and prints what its watchdog found as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from agents.bench.ungated import NoGates
from agents.clock import SystemClock
from agents.core import AgentDefinition, AgentKind, NewResult
from agents.credentials import KeyKind, ResolvedKey
from agents.events import EventBus
from agents.models.local import EnginePool
from agents.owner import this_process
from agents.policies import Misfire, MisfirePolicy, RunPolicy
from agents.runs.context import RunContext
from agents.runs.manager import RunManager
from agents.scheduling.alarm import Alarm
from agents.scheduling.deciding import Decider
from agents.scheduling.service import Scheduler
from agents.scheduling.watchdog import IncidentKind, Watchdog
from agents.storage import Store
from agents.timetable import RunHouse
from agents.triggers import IntervalTrigger
from engine.builtin import built_in_model
from engine.supervisor import EngineSupervisor

KEY = ResolvedKey(kind=KeyKind.KEY_FILE, raw=bytes(32))
EVERY_S = 1.0
POLICY = RunPolicy(misfire=Misfire(policy=MisfirePolicy.RUN_ALL, at_most=2))


async def open_store(home: Path) -> Store:
    return await Store.open(home / "hearth.db", KEY, clock=SystemClock())


async def _ignore(*_: object) -> None:
    pass


async def _write_nothing(_: RunContext, definition: AgentDefinition) -> NewResult:
    return NewResult(title=definition.name, summary="Nothing.", action_items=(), category="text")


async def _make_agents(store: Store, count: int) -> None:
    for index in range(len(await store.agents.list()), count):
        definition = AgentDefinition(
            name=f"Agent {index}",
            description="Is due each second.",
            kind=AgentKind.WRITE,
            triggers=(IntervalTrigger(every_s=EVERY_S),),
            read_folders=(),
            policy=POLICY,
        )
        await store.agents.add(definition, "")


async def work(home: Path, *, n_agents: int, stuck_s: float) -> None:
    clock = SystemClock()
    store = await open_store(home)
    await _make_agents(store, n_agents)
    engines = EnginePool(
        default=built_in_model(),
        make_engine=lambda spec: EngineSupervisor(  # never started: no run asks it anything
            model=spec, command=(), state_file=home / "state", log_file=home / "log"
        ),
        on_status=lambda *_: None,
    )
    runs = RunManager(
        store=store,
        engines=engines,
        bus=EventBus(clock),
        owner=str(this_process()),
        workflow=_write_nothing,
        on_change=_ignore,
        on_store_trouble=lambda _: None,
    )

    async def admitted(_: object) -> None:
        runs.poke()

    decider = Decider(
        store=store.schedule,
        gates=NoGates(),
        house=RunHouse(runs),
        clock=clock,
        on_admitted=admitted,
        on_ended=_ignore,
    )
    alarm = Alarm(clock=clock)
    scheduler = Scheduler(
        store=store.schedule,
        decider=decider,
        clock=clock,
        alarm=alarm,
        owner=this_process(),
        on_trouble=lambda _: None,
        look_s=stuck_s / 4,
    )
    found: list[str] = []

    async def incident(kind: IncidentKind, _: str) -> None:
        found.append(kind.value)

    watchdog = Watchdog(
        scheduler=scheduler,
        count_overdue=store.schedule.overdue,
        clock=clock,
        on_incident=incident,
        stuck_s=stuck_s,
        look_s=stuck_s / 20,
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    alarm.start()
    await runs.start()
    scheduler.start(await store.agents.list())
    watchdog.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await ended.wait()
    await watchdog.stop()
    await scheduler.stop()
    await runs.stop()
    await alarm.stop()
    await store.close()
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--stuck", type=float, default=2.0)
    asked = parser.parse_args()
    asyncio.run(work(asked.home, n_agents=asked.agents, stuck_s=asked.stuck))


if __name__ == "__main__":
    main()
