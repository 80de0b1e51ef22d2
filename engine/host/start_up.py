"""Brings a child up to a loaded model: file check, handshake, and the trial loads that find plan and settings.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.errors import EngineStopped, ModelInvalid, ModelSetAside, ModelTooLarge
from engine.host.bounded_log import BoundedLog
from engine.host.child_process import ChildDied, ChildLimits, EngineChild
from engine.host.descent import Descent, Rung
from engine.host.gguf import GgufFacts, check_model_file
from engine.host.intact import IntactFiles, verify
from engine.host.machine import cpu_model, total_memory_bytes
from engine.host.plan_memory import PlanMemory, plan_key
from engine.host.plan_words import explain
from engine.messages import PROTOCOL, Hello, Load, Loaded, LoadFailed, LoadFault, LoadProgress
from engine.model import CacheSpec, ModelSpec
from engine.plans import LoadPlan, ModelShape, host_bytes, ladder
from engine.safe_settings import LADDER, SafeMode

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Started:
    """A child that is ready to serve."""

    child: EngineChild
    facts: Loaded
    mode: SafeMode
    plan: str  # in words


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """What may be tried with a model on this computer, the best first."""

    key: str  # under which the outcome is remembered
    plans: tuple[LoadPlan, ...]
    shape: ModelShape
    devices: tuple[str, ...]


class StartUp:
    """Starts children for one model; on_child hears of each new process, on_self_test when a trial begins, on_progress how far a load is."""

    def __init__(
        self,
        *,
        model: ModelSpec,
        cache: CacheSpec,
        command: Sequence[str],
        environment: Callable[[], Mapping[str, str]],
        memory: PlanMemory,
        intact: IntactFiles,
        log: BoundedLog,
        limits: ChildLimits,
        on_child: Callable[[EngineChild | None], None],
        on_self_test: Callable[[], None],
        on_death: Callable[[], None],
        on_progress: Callable[[float], None],
        is_stopping: Callable[[], bool],
        free_memory: Callable[[], int],
    ) -> None:
        self._model = model
        self._cache = cache
        self._command = command
        self._environment = environment
        self._memory = memory
        self._intact = intact
        self._log = log
        self._limits = limits
        self._on_child = on_child
        self._on_self_test = on_self_test
        self._on_death = on_death
        self._on_progress = on_progress
        self._is_stopping = is_stopping
        self._free_memory = free_memory

    async def start(self, *, trust_memory: bool) -> Started:
        """One start, with the remembered plan or with the first that passes a trial load.

        Raises ModelMissing, ModelInvalid, ModelTooLarge, ModelSetAside (no settings work) or ChildDied (a start that
        usually works).
        """
        facts = await asyncio.to_thread(check_model_file, self._model.path)
        await self._check_bytes()
        child, hello = await self._greet()
        trial = self._plan(facts, hello)
        remembered = self._memory.recall(trial.key) if trust_memory else None
        if remembered is not None:
            try:
                answer = await self._load(child, remembered, self_test=False)
            except ChildDied:
                self._keep(
                    trial.key, None
                )  # what was true once is not any more: go down the ladders next time
                raise
            if isinstance(answer, Loaded):
                return self._started(child, answer, remembered, trial)
            self._keep(trial.key, None)
            child, _ = await self._greet()
        self._on_self_test()
        return await self._go_down(child, trial)

    def _plan(self, facts: GgufFacts, hello: Hello) -> _Trial:
        shape = ModelShape(
            n_layers=facts.n_layers,
            n_ctx_train=facts.n_ctx_train,
            weight_bytes=facts.size_bytes - facts.data_offset,
            kv_values_per_token=None if facts.has_window else facts.kv_values_per_token,
            embedding=facts.makes_vectors,
        )
        key = plan_key(
            fingerprint=facts.fingerprint,
            build=hello.build,
            cpu=cpu_model(),
            devices=hello.devices,
            memory_bytes=total_memory_bytes(),
            model=self._model,
        )
        plans = ladder(self._model, shape, has_gpu=bool(hello.devices))
        return _Trial(key=key, plans=plans, shape=shape, devices=hello.devices)

    async def _check_bytes(self) -> None:
        """Compares the file with the hash it was published with, where one is known. Raises ModelInvalid."""
        model, sha256 = self._model, self._model.sha256
        if sha256 is None or self._intact.knows(model.path, sha256):
            return
        mark = await asyncio.to_thread(verify, model.path, name=model.name, sha256=sha256)
        self._note(lambda: self._intact.remember(mark, sha256))

    async def _go_down(self, first: EngineChild, trial: _Trial) -> Started:
        """Try one rung after the other, each in a child of its own. Raises ModelTooLarge or ModelSetAside."""
        child: EngineChild | None = first
        descent, reason = Descent(trial.plans), ""
        while (rung := descent.rung) is not None:
            short = self._is_short(rung.plan, trial.shape)
            if short is not None:
                reason = short
                descent.no_room()
                continue
            try:
                if child is None:
                    child, _ = await self._greet()
                answer = await self._load(child, rung, self_test=True)
            except ChildDied as death:
                reason = str(death)
                descent.crashed()
            else:
                if isinstance(answer, Loaded):
                    if (
                        not descent.host_was_short
                    ):  # what others take now they may give back: try again next time
                        self._keep(trial.key, rung)
                    return self._started(child, answer, rung, trial)
                reason = answer.message
                descent.no_room()
            child = None
        if child is not None:
            await child.close(CLOSE_TIMEOUT_S)
            self._on_child(None)
        if descent.ran_out_of_room:
            raise ModelTooLarge(reason)
        raise ModelSetAside(f"it can't run on this computer, also with the most careful settings ({reason})")

    def _is_short(self, plan: LoadPlan, shape: ModelShape) -> str | None:
        """The sentence about a plan that can't fit whatever else happens; None when it may fit."""
        free_bytes, needed_bytes = self._free_memory(), host_bytes(plan, shape)
        if needed_bytes <= free_bytes:
            return None
        return (
            f"The model {self._model.name} needs at least {needed_bytes / 1e6:,.0f} MB of memory and "
            f"{free_bytes / 1e6:,.0f} MB are free; close other programs or choose a smaller model."
        )

    def _started(self, child: EngineChild, facts: Loaded, rung: Rung, trial: _Trial) -> Started:
        words = explain(facts, model=self._model, best=trial.plans[0], devices=trial.devices)
        return Started(child=child, facts=facts, mode=rung.mode, plan=words)

    async def _greet(self) -> tuple[EngineChild, Hello]:
        self._refuse_when_stopping()  # nobody would end a child that is born after stop() looked for one
        child = await EngineChild.spawn(
            self._command, environment=self._environment(), log=self._log, on_death=self._on_death
        )
        self._on_child(child)
        try:
            self._refuse_when_stopping()
            with child.expecting(self._limits.hello_s):
                hello = await child.receive()
            if not isinstance(hello, Hello) or hello.protocol != PROTOCOL or hello.pid != child.pid:
                raise ChildDied("did not introduce itself as this engine")
        except BaseException as error:
            await self._give_up(child, error)
            raise
        return child, hello

    async def _load(self, child: EngineChild, rung: Rung, *, self_test: bool) -> Loaded | LoadFailed:
        """LoadFailed is only ever for want of room, and leaves no child. Raises ModelInvalid or ChildDied."""
        draft = self._model.draft_path
        child.post(
            Load(
                path=str(self._model.path.absolute()),
                plan=rung.plan,
                settings=LADDER[rung.mode],
                n_slots=self._model.n_slots,
                n_threads=self._model.n_threads,
                draft_path=None if draft is None else str(draft.absolute()),
                speculate=self._model.speculate,
                cache=self._cache,
                self_test=self_test,
                memory_limit_bytes=self._free_memory(),
            )
        )
        try:
            with child.expecting(self._limits.load_s):
                answer = await child.receive()
                while isinstance(answer, LoadProgress):
                    self._on_progress(answer.fraction)
                    answer = await child.receive()
            match answer:
                case Loaded():
                    return answer
                case LoadFailed(fault=LoadFault.SELF_TEST):
                    raise ChildDied(answer.message)
                case LoadFailed(fault=LoadFault.INVALID):
                    raise ModelInvalid(answer.message)
                case LoadFailed():
                    await child.close(CLOSE_TIMEOUT_S)
                    self._on_child(None)
                    return answer
                case _:
                    raise ChildDied("answered out of turn")
        except BaseException as error:
            await self._give_up(child, error)
            raise

    def _keep(self, key: str, rung: Rung | None) -> None:
        if rung is None:
            self._note(lambda: self._memory.forget(key))
        else:
            self._note(lambda: self._memory.remember(key, rung))

    def _note(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:  # such as a full disk: the engine works all the same
            log.warning("what the engine found out was not remembered: %s", error.strerror)

    def _refuse_when_stopping(self) -> None:
        if self._is_stopping():
            raise EngineStopped("The engine was stopped while it started; start it again.")

    async def _give_up(self, child: EngineChild, error: BaseException) -> None:
        """Leave no process behind; only a ChildDied counts as a death."""
        await asyncio.shield(child.bury() if isinstance(error, ChildDied) else child.close(CLOSE_TIMEOUT_S))
        self._on_child(None)
