"""What a user may do with agents: add, change, pause, run now, remove. Runs in: the runtime's event loop.

One function per user action; each stores first and tells the clients then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from agents import contract, views
from agents.builtin import builtin_names, builtin_source
from agents.clock import Clock
from agents.core import Agent, AgentDefinition, AgentKind, NewOccurrence, Run
from agents.definitions import (
    asks_of,
    check_folders,
    local_zone,
    new_asks,
    parse_definition,
    render_definition,
    trigger_lines,
    with_folders,
)
from agents.errors import Conflict, NeedsConsent, NotFound, UsageProblem
from agents.events import EventBus
from agents.front_matter import refuse
from agents.gates.programs import program_problem
from agents.models.naming import check_model
from agents.runs.manager import RunManager
from agents.scheduling.chains import check_chains, notes_on
from agents.scheduling.due_times import in_words, next_due
from agents.scheduling.simulate import simulate
from agents.storage import Store
from agents.timetable import Timetable
from agents.triggers import TriggerKind, WebhookTrigger, trigger_key
from agents.watching.service import FileTriggerService

FIRST_START_DONE = "built_in_agents_added"
ZONE_STANDS = timedelta(minutes=1)
TIMED = frozenset({TriggerKind.CRON, TriggerKind.INTERVAL, TriggerKind.ONCE})


class Registry:
    """The agents of this home."""

    def __init__(
        self,
        *,
        store: Store,
        triggers: FileTriggerService,
        timetable: Timetable,
        runs: RunManager,
        bus: EventBus,
        clock: Clock,
        home: Path,
        forget_prompts: Callable[[int], Awaitable[None]],
    ) -> None:
        """`forget_prompts` takes the id of an agent whose prompts will not be asked so again."""
        self._store = store
        self._triggers = triggers
        self._timetable = timetable
        self._runs = runs
        self._bus = bus
        self._clock = clock
        self._home = home
        self._forget_prompts = forget_prompts
        self._zone_known: tuple[str, datetime] | None = None  # and when it was read

    async def add_built_in(self) -> None:
        """In a new home: the agents that ship, paused until folders are chosen. Once only, so a removed one stays away."""
        if await self._store.meta.get(FIRST_START_DONE):
            return
        for name in builtin_names():
            source = builtin_source(name)
            definition = parse_definition(source, home=self._home, template=True)
            agent = await self._store.agents.add(definition, source)
            await self._store.agents.set_paused(agent.id, True)
        await self._store.meta.set(FIRST_START_DONE, "yes")

    async def list_agents(self) -> list[contract.AgentInfo]:
        return [await self._info(agent) for agent in await self._store.agents.list()]

    async def show(self, name: str) -> contract.AgentDetail:
        agent = await self._store.agents.get(name)
        revisions = await self._store.agents.revisions(agent.id)
        notes = notes_on(agent.definition, [each.name for each in await self._store.agents.list()])
        return views.agent_detail(agent, await self._info(agent), revisions, notes=notes)

    async def due_times(
        self, name: str, *, n: int, start: datetime | None, end: datetime | None
    ) -> list[contract.DueTime]:
        """What the agent's timed triggers would do from `start` (now) on, at most `n` due times; past weeks too."""
        agent = await self._store.agents.get(name)
        if not agent.definition.timed_triggers:
            raise UsageProblem(f"“{agent.name}” has no timed trigger; nothing makes it due at a known time.")
        now, zone = self._clock.now(), await self._zone()
        armed = {(row.trigger_key, row.due_at) for row in await self._store.schedule.armed(agent.id)}
        anchors = {
            key: due_at
            for (agent_id, key), due_at in (await self._store.schedule.anchors()).items()
            if agent_id == agent.id
        }
        firings = await asyncio.to_thread(
            simulate, agent.definition, start=start or now, end=end, limit=n, anchors=anchors
        )
        return [
            views.due_time(
                firing, armed=(trigger_key(firing.trigger), firing.due.at) in armed, zone=zone, now=now
            )
            for firing in firings
        ]

    async def add(self, request: contract.AgentAdd) -> contract.AgentDetail:
        """Adds an agent, or a revision of an existing one. New capabilities need `accept`."""
        definition = await asyncio.to_thread(self._read, request.source)
        existing = await self._find(definition.name)
        if existing is not None and not request.replace:
            raise Conflict(
                f"There is already an agent named “{existing.name}”; "
                "change the name in the file, or add it as a replacement."
            )
        await asyncio.to_thread(check_model, definition.model)
        await self._check_among_others(definition, request.source)
        _check_still_to_come(definition, existing, request.source, now=self._clock.now())
        asks = new_asks(existing.definition, definition) if existing else asks_of(definition)
        if asks and not request.accept:
            raise NeedsConsent(asks)
        if existing is None:
            await self._store.agents.add(definition, request.source)
        else:
            await self._store.agents.revise(existing.id, definition, request.source)
            await self._forget_prompts(existing.id)
        return await self._changed(definition.name)

    async def choose_folders(self, name: str, folders: list[str]) -> contract.AgentDetail:
        """Gives the agent these folders to watch and read, and starts it: choosing them is the consent."""
        if not folders:
            raise UsageProblem("Name at least one folder; pause the agent if it should watch none.")
        agent = await self._store.agents.get(name)
        definition = await asyncio.to_thread(self._with_folders, agent.definition, folders)
        await self._check_among_others(definition)
        await self._store.agents.revise(agent.id, definition, render_definition(definition))
        await self._store.agents.set_paused(agent.id, False)
        return await self._changed(name)

    async def pause(self, name: str) -> contract.AgentInfo:
        return await self._set_paused(name, True)

    async def resume(self, name: str) -> contract.AgentInfo:
        agent = await self._store.agents.get(name)
        _check_folder_chosen(agent)
        return await self._set_paused(name, False)

    async def remove(self, name: str) -> None:
        agent = await self._store.agents.get(name)
        # The newest first, so that none begins while those before it are ended.
        for run in reversed(await self._store.runs.unfinished(agent.id)):
            with contextlib.suppress(Conflict):  # it has just ended
                await self._runs.cancel(run.id)
        await self._store.agents.remove(agent.id)
        await self._forget_prompts(agent.id)
        await self.arm()
        self._bus.publish(contract.AgentChanged(name=agent.name, agent=None))

    async def run_now(self, name: str, file: str | None) -> contract.RunsStarted:
        """Looks at the folders at once, or works on `file` again whatever the ledger says; one that writes just does so."""
        agent = await self._store.agents.get(name)
        _check_folder_chosen(agent)
        if agent.paused:
            raise Conflict(f"“{agent.name}” is paused; resume it first.")
        if file is not None or agent.definition.kind is AgentKind.WRITE:
            run = await self._run_by_hand(agent, file)
            why = self._runs.problem(agent.id)
            waits = f"Run {run.id} is waiting to start" + (f": {why}" if why else ".")
            return contract.RunsStarted(runs=[views.run_info(run)], message=waits)
        before = {run.id for run in await self._store.runs.list(agent=agent.name, limit=1)}
        found = await self._triggers.scan_now(agent.id)
        new = [
            run
            for run in await self._store.runs.list(agent=agent.name, limit=200)
            if run.id > max(before, default=0)
        ]
        return contract.RunsStarted(
            runs=[views.run_info(run) for run in new],
            message=_found(agent, max(found, len(new)), n_runs=len(new)),
        )

    async def arm(self) -> None:
        """Makes the triggers match the store; on return the next due times are rows. Raises StoreProblem when they can't be."""
        agents = await self._store.agents.list()
        await self._triggers.set_agents(agents)
        await self._timetable.set_agents(agents)

    async def tell(self, name: str) -> None:
        """Tells the clients about an agent whose runs have changed."""
        agent = await self._find(name)
        if agent is not None:
            self._bus.publish(contract.AgentChanged(name=agent.name, agent=await self._info(agent)))

    def _read(self, source: str) -> AgentDefinition:
        """Off the loop: a long file takes a while to parse, and the folders are looked at on the disk."""
        definition = parse_definition(source, home=self._home, program_problem=program_problem)
        check_folders(definition, home=self._home)
        return definition

    def _with_folders(self, definition: AgentDefinition, folders: list[str]) -> AgentDefinition:
        """Off the loop: `~somebody` is looked up, and the folders are looked at on the disk."""
        changed = with_folders(definition, [_absolute(folder) for folder in folders])
        check_folders(changed, home=self._home)
        return changed

    async def _run_by_hand(self, agent: Agent, file: str | None) -> Run:
        """A fresh occurrence, so that the same version may be digested again."""
        path = None if file is None else await asyncio.to_thread(_file_of, agent, file)
        run = await self._store.runs.record(
            NewOccurrence(
                agent_id=agent.id,
                trigger=TriggerKind.MANUAL,
                key=f"manual:{time.time_ns()}:{uuid.uuid4().hex[:8]}",
                due_at=self._clock.now(),
                path=path,
            )
        )
        assert run is not None  # the key is new
        self._bus.publish(contract.RunChanged(run=views.run_info(run)))
        self._runs.poke()
        return run

    async def _check_among_others(self, definition: AgentDefinition, source: str | None = None) -> None:
        """What a file alone can't tell: a hook belongs to one agent, and no chain of agents may run in a circle.

        `source` is the file that the user wrote, where there is one.
        """
        others = [
            agent.definition
            for agent in await self._store.agents.list()
            if agent.name.casefold() != definition.name.casefold()
        ]
        taken = {hook: other.name for other in others for hook in _hooks(other)}
        for hook in _hooks(definition):
            if hook in taken:
                raise Conflict(
                    f"The hook “{hook}” wakes “{taken[hook]}” already; choose another name for it."
                )
        try:
            check_chains([*others, definition])
        except UsageProblem as problem:
            line = None if source is None else _line_of_chain(others, definition, source)
            if line is None:
                raise
            raise UsageProblem(f"Line {line}: {problem}") from None

    async def _zone(self) -> str:
        """The user's time zone as it was a minute ago at most: a laptop travels, and each change of a run asks."""
        now = self._clock.now()
        if self._zone_known is None or abs(now - self._zone_known[1]) > ZONE_STANDS:
            self._zone_known = (await asyncio.to_thread(local_zone), now)
        return self._zone_known[0]

    async def _set_paused(self, name: str, paused: bool) -> contract.AgentInfo:
        agent = await self._store.agents.get(name)
        if agent.paused != paused:
            await self._store.agents.set_paused(agent.id, paused)
            await self._changed(name)
        return await self._info(await self._store.agents.get(name))

    async def _changed(self, name: str) -> contract.AgentDetail:
        await self.arm()
        await self.tell(name)
        self._runs.poke()
        return await self.show(name)

    async def _find(self, name: str) -> Agent | None:
        try:
            return await self._store.agents.get(name)
        except NotFound:
            return None

    async def _info(self, agent: Agent) -> contract.AgentInfo:
        return views.agent_info(
            agent,
            counts=await self._store.runs.agent_counts(agent.id),
            last_run=await self._store.runs.last_run(agent.id),
            problem=self._problem(agent),
            stopped=self._runs.switch.stopped is not None,
            waits=await self._waits(agent),
            next_due=await self._next_due(agent.id),
            wakings=await self._store.schedule.wakings(agent.id),
            zone=await self._zone(),
            now=self._clock.now(),
        )

    def _problem(self, agent: Agent) -> str | None:
        """Why it can't work at the moment. One that is woken by no file needs no folder to watch."""
        watching = self._triggers.problem(agent.id) if agent.definition.file_triggers else None
        return watching or self._runs.problem(agent.id)

    async def _waits(self, agent: Agent) -> str | None:
        """Why something that happened does not become a run yet."""
        if agent.paused:
            return None
        return next((row.reason for row in await self._store.schedule.held(agent.id)), None)

    async def _next_due(self, agent_id: int) -> datetime | None:
        armed = await self._store.schedule.armed(agent_id)
        return min((row.due_at for row in armed if row.trigger in TIMED), default=None)


def _line_of_chain(others: list[AgentDefinition], definition: AgentDefinition, source: str) -> int | None:
    """Of the trigger that is to blame: without it all is well. None when no single one is."""
    for line, trigger in zip(trigger_lines(source), definition.triggers, strict=True):
        rest = tuple(each for each in definition.triggers if each is not trigger)
        with contextlib.suppress(UsageProblem):
            check_chains([*others, replace(definition, triggers=rest)])
            return line
    return None


def _check_still_to_come(
    definition: AgentDefinition, existing: Agent | None, source: str, *, now: datetime
) -> None:
    """What is armed must have a next due time. A moment that has passed may stand in a file that was there before."""
    known = existing.definition.triggers if existing else ()
    for trigger in definition.timed_triggers:
        if trigger not in known and next_due(trigger, after=now, anchor=now) is None:
            refuse(
                trigger_lines(source)[definition.triggers.index(trigger)],
                f"“{definition.name}” would never be due ({in_words(trigger)}): that time has passed; name one that is to come.",
            )


def _hooks(definition: AgentDefinition) -> list[str]:
    return [trigger.hook for trigger in definition.triggers if isinstance(trigger, WebhookTrigger)]


def _check_folder_chosen(agent: Agent) -> None:
    if agent.definition.kind is AgentKind.DIGEST and not agent.definition.read_folders:
        raise UsageProblem(f"“{agent.name}” has no folder yet; choose one first.")


def _absolute(text: str) -> Path:
    """A path that a client sent. Clients resolve relative ones, since only they know the user's folder."""
    if "\0" in text:
        raise UsageProblem("A path with a NUL character leads nowhere; name the folder or file without it.")
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # ~somebody who is not known here
        raise UsageProblem(
            f"Nobody's home is known as “{text}”; name the folder or file from the root on."
        ) from None
    if not path.is_absolute():
        raise UsageProblem(f"“{text}” is not an absolute path; name the folder or file from the root on.")
    return Path(os.path.normpath(path))  # with a “..” left in it, it would seem to lie where it does not


def _file_of(agent: Agent, text: str) -> Path:
    """The file that a client named, which the agent may read. Looks at the disk."""
    path = _absolute(text)
    if not any(path.is_relative_to(folder) for folder in agent.definition.read_folders):
        raise UsageProblem(f"“{agent.name}” may not read {path.name}: it lies in none of its folders.")
    try:
        is_file = path.is_file()
    except OSError as error:
        raise UsageProblem(f"{path} can't be opened ({error.strerror}); name another file.") from None
    if not is_file:
        raise UsageProblem(f"There is no file {path}.")
    return path


def _found(agent: Agent, count: int, *, n_runs: int) -> str:
    """What a look at the folders found. Where something is asked first, files become runs after the answer, or not at all."""
    if count:
        asked = "" if n_runs == count else "; gates and budgets are asked before they are read"
        return f"{count} new {'file' if count == 1 else 'files'}{asked}."
    folders = ", ".join(str(folder) for folder in agent.definition.read_folders)
    return f"Nothing new in {folders}."
