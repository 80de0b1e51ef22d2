"""Brings a child up to a loaded model: file check, handshake, and the ladder of safe settings.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.bounded_log import BoundedLog
from engine.child_process import ChildDied, ChildLimits, EngineChild
from engine.errors import EngineStopped, ModelInvalid, ModelSetAside
from engine.gguf import check_model_file
from engine.intact import IntactFiles, verify
from engine.messages import PROTOCOL, Hello, Load, Loaded, LoadFailed, LoadFault, LoadProgress
from engine.model import CacheSpec, ModelSpec
from engine.plans import LoadPlan
from engine.safe_settings import LADDER, SafeMode, SettingsMemory, cpu_model, settings_key

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Started:
    """A child that is ready to serve."""

    child: EngineChild
    facts: Loaded
    mode: SafeMode


class StartUp:
    """Starts children for one model; on_child hears of each new process, on_self_test when a trial begins."""

    def __init__(
        self,
        *,
        model: ModelSpec,
        cache: CacheSpec,
        command: Sequence[str],
        environment: Callable[[], Mapping[str, str]],
        memory: SettingsMemory,
        intact: IntactFiles,
        log: BoundedLog,
        limits: ChildLimits,
        on_child: Callable[[EngineChild | None], None],
        on_self_test: Callable[[], None],
        on_death: Callable[[], None],
        is_stopping: Callable[[], bool],
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
        self._is_stopping = is_stopping

    async def start(self, *, trust_memory: bool) -> Started:
        """One start, with the remembered settings or with those that the self-test finds.

        Raises ModelMissing, ModelInvalid, ModelSetAside (no settings work) or ChildDied (a start that usually works).
        """
        facts = await asyncio.to_thread(check_model_file, self._model.path)
        await self._check_bytes()
        child, hello = await self._greet()
        key = settings_key(fingerprint=facts.fingerprint, build=hello.build, cpu=cpu_model())
        remembered = self._memory.recall(key) if trust_memory else None
        if remembered is not None:
            try:
                return await self._load(child, remembered, self_test=False)
            except ChildDied:
                self._keep(key, None)  # what was true once is not any more: try the ladder next time
                raise
        self._on_self_test()
        started = await self._climb_down(child)
        self._keep(key, started.mode)
        return started

    async def _check_bytes(self) -> None:
        """Compares the file with the hash it was published with, where one is known. Raises ModelInvalid."""
        model, sha256 = self._model, self._model.sha256
        if sha256 is None or self._intact.knows(model.path, sha256):
            return
        mark = await asyncio.to_thread(verify, model.path, name=model.name, sha256=sha256)
        self._note(lambda: self._intact.remember(mark, sha256))

    async def _climb_down(self, child: EngineChild | None) -> Started:
        reason = ""
        for mode in LADDER:
            try:
                if child is None:
                    child, _ = await self._greet()
                return await self._load(child, mode, self_test=True)
            except ChildDied as death:
                reason = str(death)
            child = None
        raise ModelSetAside(f"it can't run on this computer, also with the most careful settings ({reason})")

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

    async def _load(self, child: EngineChild, mode: SafeMode, *, self_test: bool) -> Started:
        child.post(
            Load(
                path=str(self._model.path.absolute()),
                plan=LoadPlan(n_ctx=self._model.n_ctx),
                settings=LADDER[mode],
                n_slots=self._model.n_slots,
                n_threads=self._model.n_threads,
                draft_path=None,
                speculate=self._model.speculate,
                cache=self._cache,
                self_test=self_test,
            )
        )
        try:
            with child.expecting(self._limits.load_s):
                answer = await child.receive()
                while isinstance(answer, LoadProgress):
                    answer = await child.receive()
            match answer:
                case Loaded():
                    return Started(child=child, facts=answer, mode=mode)
                case LoadFailed(fault=LoadFault.SELF_TEST):
                    raise ChildDied(answer.message)
                case LoadFailed():
                    raise ModelInvalid(answer.message)
                case _:
                    raise ChildDied("answered out of turn")
        except BaseException as error:
            await self._give_up(child, error)
            raise

    def _keep(self, key: str, mode: SafeMode | None) -> None:
        if mode is None:
            self._note(lambda: self._memory.forget(key))
        else:
            self._note(lambda: self._memory.remember(key, mode))

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
