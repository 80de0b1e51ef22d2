"""The composition root of the runtime: makes every part, starts them in order and stops them in the reverse one.

Runs in: the runtime process, event loop. Order of a stop: clients are told, triggers, surroundings, runs (given back to the ledger),
engines, HTTP, a backup of what is new, database. Each has a time limit, and the whole has one too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from zoneinfo import ZoneInfo

from agents import __version__, contract, doctor, views
from agents.api import (
    ApiServer,
    Metrics,
    OpenDoor,
    bind_socket,
    create_app,
    create_model_door,
)
from agents.chat import Chat
from agents.clock import Clock
from agents.core import BUILT_IN_MODEL, FileState, HeldBy, NewOccurrence, NewResult, Run, RunStatus
from agents.credentials import ResolvedKey, recovery_code_of
from agents.definitions import local_zone
from agents.environs import Environs
from agents.errors import NotFound
from agents.events import EventBus
from agents.gates.checking import GateKeeper
from agents.history import History
from agents.hooks import Hooks
from agents.house_limits import HouseLimits
from agents.models.loaded import LoadedModels
from agents.models.local import EnginePool
from agents.models.metering import MeteredEngine
from agents.models.served import ServedModels
from agents.notice_board import NoticeBoard
from agents.owner import this_process
from agents.paths import HomePaths
from agents.policies import PowerClass
from agents.printable import printable
from agents.registry import Registry
from agents.runs.manager import RunManager
from agents.runs.prefixes import prefix_names
from agents.runs.replay import Repeater
from agents.runs.workflows import do_work
from agents.scheduling.alarm import Alarm
from agents.scheduling.chains import followers_of
from agents.storage import Store
from agents.storage.backups import Backups
from agents.timetable import Timetable
from agents.upkeep import Upkeep
from agents.watching.service import FileTriggerService
from engine.model import CacheSpec, ModelSpec
from engine.status import EngineState, EngineStatus
from engine.supervisor import Engine, EngineSupervisor

STOP_TIMEOUT_S = 20.0
ENGINE_STOP_TIMEOUT_S = 5.0
MAX_INCIDENTS = 5  # in the status; all of them are in the database
BACKUP_AT_STOP_S = 4.0
RECOVERY_SHOWN = "recovery_code_shown"

log = logging.getLogger(__name__)


def engine_command() -> Sequence[str]:
    """How the engine child is started from this installation."""
    return [sys.executable, "-P", "-m", "engine"]  # -P: nothing in the current folder is imported


class Runtime:
    """One runtime for one home whose lock the caller holds."""

    def __init__(
        self,
        *,
        paths: HomePaths,
        store: Store,
        key: ResolvedKey,
        clock: Clock,
        default_model: ModelSpec,
        make_engine: Callable[[ModelSpec], Engine] | None = None,
        other_models: Sequence[ModelSpec] = (),
        cache: CacheSpec | None = None,
        door: OpenDoor | None = None,
        notice: str | None = None,
        on_stop_asked: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
        failpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`other_models` are served to programs beside the default one, at `door` too if there is one.

        `failpoint` is told each boundary of a run's work that a crash could fall on.

        `say` is told that the runtime is ready, and each notice, for a terminal.
        """
        self._paths = paths
        self._clock = clock
        self._key = key
        self._started_at = clock.now()
        self._on_stop_asked = on_stop_asked
        self._say = say
        self._stop_asked = asyncio.Event()
        self._engine_told: contract.EngineInfo | None = None
        self._cache = cache or CacheSpec()
        self.version = __version__
        self.store = store
        self.backups = Backups(paths=paths, store=store, key=key, clock=clock)
        self.history = History(settings=store.meta, retention=store.retention, clock=clock)
        self.bus = EventBus(clock)
        self._notices = NoticeBoard(bus=self.bus, say=say, first=notice)
        self.metrics = Metrics()
        self._make_bare_engine = make_engine or self._make_supervisor
        self.engines = EnginePool(
            default=default_model,
            make_engine=self._make_engine,
            on_status=self._engine_changed,
            others=other_models,
            next_due=lambda: self._upkeep.models_due,
            clock=clock,
        )
        self.models = ServedModels(engines=self.engines, default=default_model, others=other_models)
        self.loaded = LoadedModels(
            engines=self.engines, served=self.models, due=lambda: self._upkeep.models_due
        )
        owner = this_process()
        self.runs = RunManager(
            store=store,
            engines=self.engines,
            bus=self.bus,
            owner=str(owner),
            workflow=do_work,
            on_change=self._run_changed,
            on_store_trouble=self._notices.store_trouble,
            clock=clock,
            why_paused=partial(self._why_paused, by_hand=False),
            why_paused_by_hand=partial(self._why_paused, by_hand=True),
            is_throttled=lambda: self.environs.is_throttled,
            followers=self._followers_of,
            on_given_up=self._agent_given_up,
            at=failpoint,
        )
        self._alarm = Alarm(clock=clock)
        self._gates = GateKeeper(clock=clock, on_ac=self._on_ac, remembered=store.runs)
        self.timetable = Timetable(
            store=store,
            runs=self.runs,
            gates=self._gates,
            bus=self.bus,
            clock=clock,
            alarm=self._alarm,
            owner=owner,
            zone=ZoneInfo(local_zone()),
            on_change=self._run_changed,
            on_trouble=partial(self._notices.store_trouble, who="schedule"),
            on_incident=self._notices.tell,
        )
        self.triggers = FileTriggerService(
            store=store,
            clock=clock,
            alarm=self._alarm,
            on_occurrence=self._occurred,
            on_storm=self._stormed,
            on_notice=self._notices.tell,
            home=paths.root,
        )
        self._upkeep = Upkeep(
            engines=self.engines,
            backups=self.backups,
            history=self.history,
            timetable=self.timetable,
            notices=self._notices,
        )
        self.environs = Environs(
            engines=self.engines,
            runs=self.runs,
            scheduler=self.timetable.scheduler,
            folders=self.triggers,
            agents=lambda: self.timetable.agents,
            bus=self.bus,
            clock=clock,
        )
        self.registry = Registry(
            store=store,
            triggers=self.triggers,
            timetable=self.timetable,
            runs=self.runs,
            bus=self.bus,
            clock=clock,
            home=paths.root,
            forget_prompts=self._forget_prompts,
        )
        self.limits = HouseLimits(
            budget=self.runs.house_budget,
            history=self.history,
            on_change=lambda: self.timetable.scheduler.release(HeldBy.RUN_LIMIT),
        )
        self.repeater = Repeater(store=store, clock=clock, poke=self.runs.poke)
        self.hooks = Hooks(store=store, clock=clock, announce=self.timetable.scheduler.announce)
        self.chat = Chat(store=store, engines=self.engines, talk=self.environs.surroundings.talk)
        self._api: ApiServer | None = None
        self._door = door
        self._door_api: ApiServer | None = None

    async def run(self) -> None:
        """Serves until somebody asks to stop, then ends everything in order."""
        try:
            await self._start()
            await self._stop_asked.wait()
        finally:
            await self._stop()

    def ask_to_stop(self) -> None:
        """Begins an ordered stop; may be called more than once and from a signal handler of the loop."""
        if not self._stop_asked.is_set():
            self._on_stop_asked()
        self._stop_asked.set()

    async def _start(self) -> None:
        await self.environs.start()  # before runs, so that the first one knows what it may
        await self.runs.start()
        await self.registry.add_built_in()
        self._api = ApiServer(create_app(self, version=self.version), bind_socket(self._paths.socket))
        await self._api.start()
        await self._open_door()
        log.info("serving, version %s, pid %d", self.version, os.getpid())
        for text in self._notices.texts:
            self._say(text)
        self._say(f"Hearth is ready for {printable(self._paths.root)}; `hearth stop` or Ctrl-C ends it.")
        self._alarm.start()
        self._upkeep.start(self._alarm)
        agents = await self.store.agents.list()
        self.timetable.start(agents)
        await self.triggers.set_agents(agents)
        self.runs.poke()

    async def _open_door(self) -> None:
        """Serves the models over TCP, if that was asked for."""
        if self._door is None:
            return
        door = create_model_door(self, version=self.version, address=self._door.address, key=self._door.key)
        self._door_api = ApiServer(door, self._door.listener)
        await self._door_api.start()
        self._say(self._door.sentence)

    async def _stop(self) -> None:
        log.info("stopping")
        self.bus.publish(contract.Stopping())
        steps: list[tuple[str, Callable[[], Awaitable[object]], float]] = [
            ("triggers", self.triggers.stop, 3.0),
            ("surroundings", self.environs.stop, 3.0),
            ("timetable", self.timetable.stop, 3.0),
            ("gates", self._gates.stop, 1.0),
            ("alarm", self._alarm.stop, 1.0),
            ("runs", self.runs.stop, 5.0),
            # Before the clients: an answer that is being streamed ends with a sentence instead of a broken line.
            ("engines", lambda: self.engines.stop(ENGINE_STOP_TIMEOUT_S), ENGINE_STOP_TIMEOUT_S + 2.0),
            ("clients", self._stop_api, 4.0),
            ("backup", self._upkeep.back_up_last, BACKUP_AT_STOP_S),
            ("database", self.store.close, 5.0),
        ]
        self._upkeep.stop()
        for name, step, limit_s in steps:
            try:
                await asyncio.wait_for(step(), limit_s)
            except TimeoutError:
                log.error("stopping: %s did not end within %.0f s", name, limit_s)
            except Exception:
                log.exception("stopping: %s failed", name)  # the others still have to be stopped
        log.info("stopped")

    async def _stop_api(self) -> None:
        self.bus.close()
        servers = [server for server in (self._api, self._door_api) if server is not None]
        await asyncio.gather(*(server.stop(3.0) for server in servers))
        if self._door is not None:
            self._door.listener.close()
        self._paths.socket.unlink(missing_ok=True)

    # --- what the routes ask ---------------------------------------------------------------------

    async def status(self) -> contract.Status:
        agents = await self.store.agents.list()
        counts = await self.store.runs.counts()
        return contract.Status(
            version=self.version,
            pid=os.getpid(),
            home=printable(self._paths.root),
            started_at=self._started_at,
            encrypted=self.store.encrypted,
            recovery_code_pending=await self._recovery_code_pending(),
            engine=views.engine_info(self.engines.default.status),
            agents=len(agents),
            agents_paused=sum(agent.paused for agent in agents),
            runs_pending=counts.get(RunStatus.PENDING, 0),
            runs_running=counts.get(RunStatus.RUNNING, 0),
            last_tick=self.triggers.last_tick,
            next_tick=self.triggers.next_tick,
            scheduler=contract.SchedulerInfo(
                last_tick=self.timetable.scheduler.last_tick,
                next_due=self.timetable.scheduler.next_due,
                trouble=self.timetable.scheduler.trouble,
                incidents=[
                    views.incident_info(each) for each in await self.store.incidents.list(MAX_INCIDENTS)
                ],
            ),
            governor=self.environs.governor,
            agents_stopped=views.agents_switched(self.runs.switch).reason,
            notices=self._notices.texts,
        )

    async def doctor(self) -> contract.DoctorReport:
        return await doctor.examine(
            paths=self._paths,
            store=self.store,
            backups=self.backups,
            engine=self.engines.default.status,
            agents=await self.registry.list_agents(),
            last_look=self.triggers.last_tick,
            schedule=doctor.ScheduleHealth(
                last_tick=self.timetable.scheduler.last_tick,
                next_due=self.timetable.scheduler.next_due,
                trouble=self.timetable.scheduler.trouble,
                incidents=tuple(await self.store.incidents.list(MAX_INCIDENTS)),
            ),
            now=self._clock.now(),
            listening=self._door.sentence if self._door else None,
            api_key=self._door.key_file if self._door else self._paths.api_key,
        )

    async def switch_agents(self, stopped: bool) -> contract.AgentsSwitched:
        """The one switch for all agents: nothing of theirs generates when this returns, or they go on.

        Clients are told how it stands also where that could not be written down: a stop holds all the same.
        """
        try:
            if stopped:
                await self.runs.stop_all()
            else:
                await self.runs.resume_all()
                self.timetable.scheduler.release(HeldBy.STOPPED)
        finally:
            switched = views.agents_switched(self.runs.switch)
            self.bus.publish(contract.SwitchChanged(switch=switched))
        return switched

    async def report_presence(self, presence: contract.Presence) -> None:
        """What the desktop sees of its user."""
        self.environs.surroundings.report_presence(
            idle_s=presence.idle_s, full_screen=presence.full_screen, locked=presence.locked
        )

    async def retry_engine(self) -> contract.EngineInfo:
        try:
            await self.engines.retry_set_aside()
        finally:
            self.runs.release()
        return views.engine_info(self.engines.default.status)

    async def recovery_code(self) -> contract.RecoveryCode:
        if not await self._recovery_code_pending():
            raise NotFound("The recovery code was shown already; it is not shown twice.")
        return contract.RecoveryCode(code=recovery_code_of(self._key) or "")

    async def recovery_code_shown(self) -> None:
        await self.store.meta.set(RECOVERY_SHOWN, "yes")

    async def _recovery_code_pending(self) -> bool:
        if recovery_code_of(self._key) is None or not self._key.in_keyring:
            return False
        return await self.store.meta.get(RECOVERY_SHOWN) is None

    # --- what the parts report -------------------------------------------------------------------

    async def _occurred(self, occurrence: NewOccurrence, state: FileState) -> bool:
        """Stores a new version of a file, with its run unless gates are asked first; False when the ledger has it already."""
        is_new = await self.timetable.announce_files(occurrence, [state])
        if is_new is not None:
            return is_new
        return await self._made(await self.store.runs.record(occurrence, file_state=state))

    async def _stormed(self, occurrence: NewOccurrence, states: Sequence[FileState]) -> bool:
        """The same for very many new versions, which are one run."""
        files = [(state.path, state.content_hash, state.size_bytes) for state in states]
        is_new = await self.timetable.announce_files(occurrence, states, files=files)
        if is_new is not None:
            return is_new
        return await self._made(await self.store.runs.record(occurrence, file_states=states, files=files))

    async def _made(self, run: Run | None) -> bool:
        """Tells of a new run, if there is one."""
        if run is not None:
            self.bus.publish(contract.RunChanged(run=views.run_info(run)))
            await self.registry.tell(run.agent_name)
            self.runs.poke()
        return run is not None

    async def _followers_of(
        self, run: Run, status: RunStatus, result: NewResult | None, reason: str | None
    ) -> Sequence[NewOccurrence]:
        """Due times of the agents that start on this end of a run."""
        agents = await self.store.agents.list()
        now = self._clock.now()
        return followers_of(agents, run, result, status=status, reason=reason, now=now)

    async def _agent_given_up(self, sentence: str) -> None:
        """An agent was paused because its runs fail and fail."""
        self._notices.tell(sentence, contract.NoticeLevel.ERROR)
        await self.registry.arm()

    async def _run_changed(self, agent_name: str) -> None:
        self.timetable.scheduler.poke()  # its end may have woken another agent
        await self.registry.tell(agent_name)

    def _on_ac(self) -> bool | None:
        """Whether the computer is plugged in; None where nothing tells."""
        return self.environs.surroundings.current.on_ac

    def _why_paused(self, power: PowerClass, *, by_hand: bool) -> str | None:
        return self.environs.why_paused(power, by_hand=by_hand)

    def _engine_changed(self, model: str, status: EngineStatus) -> None:
        """An engine's new status. Clients know one engine, the default model's; trouble is told of every one."""
        if model == BUILT_IN_MODEL:
            info = views.engine_info(status)
            if info != self._engine_told:  # a status also counts requests, which no client shows
                self._engine_told = info
                self.bus.publish(contract.EngineChanged(engine=info))
        if status.notice:
            self._notices.tell(status.notice)
        topic = f"set aside: {model}"
        if status.state is EngineState.SET_ASIDE:
            sentence = (
                f"{status.model_name or 'The model'} was set aside: {status.reason or 'it crashed too often'}. "
                "Its runs wait; try it again on the Home page, or with `hearth doctor --retry`."
            )
            self._notices.tell(sentence, contract.NoticeLevel.ERROR, topic=topic)
        elif status.state is EngineState.READY:
            self._notices.withdraw(topic)

    def _make_engine(self, spec: ModelSpec) -> Engine:
        """An engine that is measured, whoever uses it."""
        bare = self._make_bare_engine(spec)
        engine = MeteredEngine(bare, model=spec.name, meter=self.metrics, clock=self._clock)
        self.metrics.watch(spec.name, engine)
        return engine

    def _make_supervisor(self, spec: ModelSpec) -> Engine:
        return EngineSupervisor(
            model=spec,
            command=engine_command(),
            state_file=self._paths.engine_state,
            log_file=self._paths.engine_log,
            cache=self._cache,
        )

    async def _forget_prompts(self, agent_id: int) -> None:
        """Drops what was computed for an agent's prompts: they are not asked so any more."""
        for name in prefix_names(agent_id):
            await self.engines.forget_prefix(name)
