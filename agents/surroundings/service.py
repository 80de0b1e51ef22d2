"""Looks around every few seconds, keeps the verdicts that are in force, and tells who has to know.

Runs in: the runtime's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from agents.clock import Clock
from agents.core import Agent
from agents.policies import PowerClass
from agents.surroundings.core import Prober, Surroundings
from agents.surroundings.governor import GO, Action, Standing, Verdict, decide, stand
from agents.surroundings.load import LoadMeter
from agents.surroundings.merging import IdlePeriods, Presence, SustainedLoad, with_presence
from agents.triggers import IdleTrigger
from engine.model import PowerLimits

LOOK_S = 10.0
LOOK_UNARMED_S = 60.0  # when no agent is armed
TALK_LASTS_S = 60.0  # after the last answer: somebody reads it, and writes

log = logging.getLogger(__name__)


class SurroundingsService:
    """`on_change` is told after each change of a verdict, `set_limits` what the engines may use from then on.

    `agents` are all there are now: without any at work it looks less often, and their idle triggers tell what `on_idle` is to be told,
    once for each time that nobody touched the computer for so long.
    """

    def __init__(
        self,
        *,
        prober: Prober,
        load: LoadMeter,
        clock: Clock,
        n_cpus: int,
        set_limits: Callable[[PowerLimits], None],
        on_change: Callable[[], None],
        on_idle: Callable[[float], None],
        agents: Callable[[], Iterable[Agent]],
        look_s: float = LOOK_S,
        look_unarmed_s: float = LOOK_UNARMED_S,
    ) -> None:
        self._prober = prober
        self._load = load
        self._clock = clock
        self._n_cpus = n_cpus
        self._set_limits = set_limits
        self._on_change = on_change
        self._on_idle = on_idle
        self._agents = agents
        self._look_s = look_s
        self._look_unarmed_s = look_unarmed_s
        self._idle = IdlePeriods(now_s=clock.monotonic())
        self._sustained = SustainedLoad()
        self._presence: Presence | None = None
        self._answers = 0  # being written to somebody right now
        self._talked_at_s: float | None = None
        self._probed = Surroundings()
        self._current = Surroundings()
        self._standings: dict[tuple[PowerClass, bool], Standing] = {}
        self._limits: PowerLimits | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> Surroundings:
        """What was seen last."""
        return self._current

    def verdict(self, power: PowerClass = PowerClass.ANY, *, by_hand: bool = False) -> Verdict:
        """What stands for work of this class; work may go on until there was a first look."""
        standing = self._standings.get((power, by_hand))
        return GO if standing is None else standing.verdict

    async def start(self) -> None:
        """Looks once, so that the first run already knows, and goes on looking."""
        await self._look_safely()
        self._task = asyncio.create_task(self._keep_looking(), name="surroundings")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._prober.close()

    async def look(self) -> None:
        """Probes the system and decides anew."""
        self._probed = await self._prober.look()
        sample = self._load.sample()
        if sample is not None:
            self._sustained.add(sample.from_s, sample.to_s, sample.others)
        self.decide()

    def report_presence(
        self, *, idle_s: float | None = None, full_screen: bool | None = None, locked: bool | None = None
    ) -> None:
        """What the desktop knows of its user; it holds for 90 s."""
        self._presence = Presence(
            told_at_s=self._clock.monotonic(), idle_s=idle_s, full_screen=full_screen, locked=locked
        )
        self.decide()

    @contextlib.contextmanager
    def talk(self) -> Iterator[None]:
        """While this is open somebody waits for an answer; the conversation lasts a minute longer."""
        self._answers += 1
        self.decide()
        try:
            yield
        finally:
            self._answers -= 1
            self._talked_at_s = self._clock.monotonic()
            self.decide()

    def decide(self) -> None:
        """Puts together what is known and lets the governor decide for each class of work."""
        now_s = self._clock.monotonic()
        seen = replace(self._probed, other_load=self._sustained.lowest, talking=self._is_talking(now_s))
        self._current = with_presence(seen, self._presence, now_s)
        changed = False
        for power, by_hand in itertools.product(PowerClass, (False, True)):
            before = self._standings.get((power, by_hand))
            previous = before.verdict if before is not None else None
            wanted = decide(self._current, power, self._n_cpus, previous, by_hand=by_hand)
            self._standings[power, by_hand] = after = stand(before, wanted, now_s)
            changed |= _told(after.verdict) != _told(previous or GO)
        self._apply()
        if changed:
            log.info("background work: %s", self.verdict().reason or "free")
            self._on_change()
        for after_s in self._idle.passed(self._current.idle_s, self._idle_thresholds_s(), now_s):
            self._on_idle(after_s)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._look_s if self._working_agents() else self._look_unarmed_s)
            await self._look_safely()

    async def _look_safely(self) -> None:
        try:
            await self.look()
        except Exception:
            log.exception("a look at the surroundings failed")  # the next one may not

    def _working_agents(self) -> list[Agent]:
        return [agent for agent in self._agents() if not agent.paused]

    def _idle_thresholds_s(self) -> frozenset[float]:
        return frozenset(
            trigger.after_s
            for agent in self._working_agents()
            for trigger in agent.definition.triggers
            if isinstance(trigger, IdleTrigger)
        )

    def _is_talking(self, now_s: float) -> bool:
        if self._answers:
            return True
        return self._talked_at_s is not None and now_s - self._talked_at_s < TALK_LASTS_S

    def _apply(self) -> None:
        """The engines are everybody's: they follow what holds for ordinary background work."""
        verdict = self.verdict()
        limits = PowerLimits(max_threads=verdict.max_threads, background=verdict.action is not Action.PAUSE)
        if limits != self._limits:
            self._limits = limits
            self._set_limits(limits)


def _told(verdict: Verdict) -> tuple[Action, str | None]:
    """What of a verdict anybody is shown."""
    return verdict.action, verdict.reason
