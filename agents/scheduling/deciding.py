"""What becomes of one claimed due time: the stop switch, overlap, the number of runs, gates; then a run, a wait or an end.

Runs in: the runtime's event loop. Agents are looked at side by side, the due times of one agent one after another, so that the second
sees the run that the first has made.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from agents.clock import Clock
from agents.core import Agent, GateOutcome, HeldBy, Occurrence, OccurrenceStatus
from agents.errors import Conflict, NotFound, StoreProblem
from agents.policies import MisfirePolicy
from agents.scheduling.overlap import Replace, Skip, decide
from agents.scheduling.ports import DueTimes, Gates, House, OnAdmitted, OnEnded, OnPutOff
from agents.scheduling.run_limits import RunLimits
from agents.scheduling.waiting import PATIENT, Refusal, Wait, by_gates, by_limit, by_switch

AT_ONCE = 16
GATES_TIMEOUT_S = 900.0  # far over the gates' own limits, for one that hangs all the same
INTERNAL_ERROR = "An internal error kept it from starting; the log names the place in the code."

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A due time that this runtime holds; `not_before` staggers those that are caught up on."""

    occurrence: Occurrence
    agent: Agent
    not_before: datetime | None = None
    missed: str | None = None  # why it was too late to run; then it only has to be ended


async def _tell_nobody(_: Occurrence) -> None:
    """Nobody shows what waits."""


class Decider:
    """Decides in the background; what the ledger did not take is kept and tried again by `retry`."""

    def __init__(
        self,
        *,
        store: DueTimes,
        gates: Gates,
        house: House,
        clock: Clock,
        on_admitted: OnAdmitted,
        on_ended: OnEnded,
        on_put_off: OnPutOff = _tell_nobody,
        at_once: int = AT_ONCE,
        gates_timeout_s: float = GATES_TIMEOUT_S,
    ) -> None:
        self._store = store
        self._gates = gates
        self._limits = RunLimits(counts=store, house=house, clock=clock)
        self._house = house
        self._clock = clock
        self._on_admitted = on_admitted
        self._on_ended = on_ended
        self._on_put_off = on_put_off
        self._gates_timeout_s = gates_timeout_s
        self._room = asyncio.Semaphore(at_once)
        self._room_at_gates = asyncio.Semaphore(
            at_once
        )  # of its own: slow gates hold up no agent without any
        self._admitting = asyncio.Lock()
        self._lines: dict[int, list[Claimed]] = defaultdict(list)  # by agent, the oldest first
        self._workers: dict[int, asyncio.Task[None]] = {}
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why decisions could not be written, and wait."""
        return self._problem

    @property
    def in_hand(self) -> list[int]:
        """The ids of claimed due times that are not decided yet."""
        return [item.occurrence.id for line in self._lines.values() for item in line]

    @property
    def n_waiting(self) -> int:
        """Claimed due times that are not decided yet."""
        return sum(len(line) for line in self._lines.values())

    def take(self, claimed: Sequence[Claimed]) -> None:
        """Begins to decide on these."""
        for item in claimed:
            self._lines[item.agent.id].append(item)
        self.retry()

    def set_agents(self, agents: Sequence[Agent]) -> None:
        """What is not decided yet goes by these: a gate or a grant that was taken back is asked no more, nor is a removed agent's."""
        by_id = {agent.id: agent for agent in agents}
        for agent_id, line in self._lines.items():
            agent = by_id.get(agent_id)
            if agent is None:
                del line[1:]  # they have ended with it; the first may be in work, and finds that out
            else:
                line[:] = [replace(item, agent=agent) for item in line]

    def retry(self) -> None:
        """Goes on with whatever is not decided and in nobody's hands."""
        for agent_id in self._lines:
            if agent_id not in self._workers:
                worker = asyncio.create_task(self._work(agent_id), name=f"decide-{agent_id}")
                self._workers[agent_id] = worker
                worker.add_done_callback(partial(self._leave, agent_id))

    async def settled(self) -> None:
        """Waits until everything taken so far is decided or was put off."""
        while self._workers:
            await asyncio.wait(list(self._workers.values()))

    async def stop(self) -> None:
        """Ends the work; what is not decided stays claimed, and the next start turns it back."""
        for worker in list(self._workers.values()):
            worker.cancel()
        await self.settled()

    async def _work(self, agent_id: int) -> None:
        line = self._lines[agent_id]
        while line:
            async with self._room_at_gates if line[0].agent.definition.gates else self._room:
                if not await self._handle(line[0]):
                    return
            line.pop(0)
        # Without waiting for the task's end: what is taken a moment later needs a new worker.
        del self._lines[agent_id]
        self._workers.pop(agent_id, None)

    def _leave(self, agent_id: int, worker: asyncio.Task[None]) -> None:
        if self._workers.get(agent_id) is worker:
            del self._workers[agent_id]

    async def _handle(self, item: Claimed) -> bool:
        """False when the ledger could not take the decision: then it is put off."""
        try:
            await self._decide(item)
        except (Conflict, NotFound):  # another owner has it, or the agent is gone: not ours any more
            log.info("a claimed due time was taken back")
        except StoreProblem as problem:
            log.warning("a decision could not be written: %s", problem.code)
            self._problem = str(problem)
            return False
        except Exception:
            log.exception("a due time could not be decided on")
            return await self._give_up(item)
        self._problem = None
        return True

    async def _give_up(self, item: Claimed) -> bool:
        """A bug must not leave a due time without an end."""
        try:
            await self._end(item, OccurrenceStatus.SKIPPED, INTERNAL_ERROR)
        except (Conflict, NotFound):
            return True  # it had been decided already
        except StoreProblem as problem:
            self._problem = str(problem)
            return False
        return True

    async def _decide(self, item: Claimed) -> None:
        if item.missed is not None:
            await self._end(item, OccurrenceStatus.MISSED, item.missed)
            return
        replaces = False
        outcomes: Sequence[GateOutcome] = ()
        refusal = await self._switched_off()
        if refusal is None:
            replaces, refusal = await self._meets(item)
        if refusal is None:
            refusal = await self._too_many(item.agent)
        if refusal is None:
            outcomes = await self._look_at_gates(item.agent)
            refusal = by_gates(outcomes, item.agent, now=self._clock.now())
        if refusal is None:
            refusal = await self._admit(item, outcomes, replaces=replaces)
        if refusal is None:
            return
        if refusal.wait is not None and item.occurrence.trigger in PATIENT:
            await self._put_off(item, refusal.wait)
        else:
            await self._end(item, OccurrenceStatus.SKIPPED, refusal.reason, outcomes)

    async def _admit(
        self, item: Claimed, outcomes: Sequence[GateOutcome], *, replaces: bool
    ) -> Refusal | None:
        """Makes the run. Else says why it is one too many by now: counting and admitting are one, for all agents together."""
        if replaces:  # not while others wait for their turn: the end of a run takes a while
            await self._house.replace(item.agent.id)
        async with self._admitting:
            refusal = await self._too_many(item.agent)
            if refusal is not None:
                return refusal
            run = await self._store.admit(
                item.occurrence.id, fence=item.occurrence.fence, gates=outcomes, not_before=item.not_before
            )
        await self._on_admitted(run)
        return None

    async def _switched_off(self) -> Refusal | None:
        reason = await self._house.stopped()
        return None if reason is None else by_switch(reason, now=self._clock.now())

    async def _meets(self, item: Claimed) -> tuple[bool, Refusal | None]:
        """Whether it takes the place of unfinished runs, and why it is skipped for them."""
        unfinished = await self._store.unfinished_runs(item.agent.id)
        policy = item.agent.definition.policy
        decision = decide(
            policy.overlap,
            unfinished=unfinished,
            trigger=item.occurrence.trigger,
            is_wanted_late=item.not_before is not None and policy.misfire.policy is MisfirePolicy.RUN_ALL,
        )
        if isinstance(decision, Skip):
            return False, Refusal(reason=decision.reason)
        return isinstance(decision, Replace), None

    async def _too_many(self, agent: Agent) -> Refusal | None:
        """Why another run would be one too many, for the agent or for the house."""
        limit = await self._limits.used_up(agent)
        return None if limit is None else by_limit(limit)

    async def _look_at_gates(self, agent: Agent) -> list[GateOutcome]:
        if not agent.definition.gates:
            return []
        states = await self._store.gate_states(agent.id)
        return await asyncio.wait_for(self._gates.check(agent, states), self._gates_timeout_s)

    async def _put_off(self, item: Claimed, wait: Wait) -> None:
        held = await self._store.put_off(
            item.occurrence.id,
            fence=item.occurrence.fence,
            until=wait.until,
            held_by=wait.held_by,
            reason=wait.reason,
        )
        if wait.held_by is HeldBy.STOPPED and await self._house.stopped() is None:
            # They were let go on while this was written: what releases the others came too early for it.
            await self._store.release(agent_id=item.agent.id, held_by=HeldBy.STOPPED)
        await self._on_put_off(held)

    async def _end(
        self,
        item: Claimed,
        status: OccurrenceStatus,
        reason: str,
        outcomes: Sequence[GateOutcome] = (),
    ) -> None:
        ended = await self._store.end(
            item.occurrence.id, fence=item.occurrence.fence, status=status, reason=reason, gates=outcomes
        )
        await self._on_ended(ended)
