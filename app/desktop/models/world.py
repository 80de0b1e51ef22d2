"""What the desktop knows of the runtime: loaded once, then kept true by events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from agents.contract import (
    AgentChanged,
    AgentInfo,
    EngineChanged,
    Event,
    GovernorChanged,
    Notice,
    ResultInfo,
    ResultReady,
    RunChanged,
    RunFailed,
    RunInfo,
    RunProgress,
    Status,
    StepChanged,
    StepInfo,
    SwitchChanged,
)

FINISHED_RUNS_KEPT = 200
RESULTS_KEPT = 50
NOTICES_KEPT = 20
_ALIVE = ("pending", "running", "waiting_for_approval")


class Part(StrEnum):
    """What changed, so that a page draws no more than that."""

    STATUS = "status"  # engine, notices, counts, times
    AGENTS = "agents"
    RUNS = "runs"
    STEPS = "steps"
    PROGRESS = "progress"
    RESULTS = "results"


EVERYTHING = frozenset(Part)


class World:
    """The state behind all pages."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.agents: dict[str, AgentInfo] = {}
        self.runs: dict[int, RunInfo] = {}
        self.steps: dict[int, dict[int, StepInfo]] = {}  # of live runs: run id -> seq -> step
        self.progress: dict[int, RunProgress] = {}  # of live runs
        self.results: list[ResultInfo] = []  # newest first
        self.notices: list[str] = []
        self.is_loaded = False
        self._more_waiting = False

    # --- loading

    def load(
        self,
        *,
        status: Status,
        agents: Iterable[AgentInfo],
        runs: Iterable[RunInfo],
        results: Iterable[ResultInfo],
        more_waiting: bool = False,
    ) -> frozenset[Part]:
        """Everything anew, after each connection; `more_waiting` says that not all pending runs are in `runs`."""
        self.agents = {agent.name: agent for agent in agents}
        self.runs = {run.id: run for run in runs}
        self.results = list(results)[:RESULTS_KEPT]
        self.steps, self.progress = {}, {}
        self._more_waiting = more_waiting
        self.is_loaded = True
        self.set_status(status)
        return EVERYTHING

    def set_status(self, status: Status) -> frozenset[Part]:
        self.status = status
        self.notices = list(status.notices)[-NOTICES_KEPT:]
        return frozenset({Part.STATUS})

    # --- events

    def apply(self, event: Event) -> frozenset[Part]:
        """Takes one event in and says what changed."""
        match event.data:
            case RunChanged(run=run) | RunFailed(run=run):
                return self._put_run(run)
            case StepChanged(run_id=run_id, step=step):
                self.steps.setdefault(run_id, {})[step.seq] = step
                self.progress.pop(run_id, None)
                return frozenset({Part.STEPS})
            case RunProgress() as progress:
                self.progress[progress.run_id] = progress
                return frozenset({Part.PROGRESS})
            case ResultReady(result=result):
                self.results = [result, *(r for r in self.results if r.id != result.id)][:RESULTS_KEPT]
                return frozenset({Part.RESULTS})
            case AgentChanged(name=name, agent=agent):
                return self._put_agent(name, agent)
            case EngineChanged(engine=engine):
                return self._change_status(engine=engine)
            case GovernorChanged(governor=governor):
                return self._change_status(governor=governor)
            case SwitchChanged(switch=switch):
                return self._change_status(agents_stopped=switch.reason if switch.stopped else None)
            case Notice(text=text):
                self.notices = [*(n for n in self.notices if n != text), text][-NOTICES_KEPT:]
                return frozenset({Part.STATUS})
            case _:
                return frozenset()

    def _change_status(self, **changes: object) -> frozenset[Part]:
        if self.status is not None:
            self.status = self.status.model_copy(update=changes)
        return frozenset({Part.STATUS})

    def _put_run(self, run: RunInfo) -> frozenset[Part]:
        self.runs[run.id] = run
        if run.status not in _ALIVE:
            self.steps.pop(run.id, None)
            self.progress.pop(run.id, None)
            self._forget_old_runs()
        elif run.status == "pending":
            self.progress.pop(run.id, None)
        return frozenset({Part.RUNS})

    def _forget_old_runs(self) -> None:
        finished = sorted(run.id for run in self.runs.values() if run.status not in _ALIVE)
        for run_id in finished[:-FINISHED_RUNS_KEPT]:
            del self.runs[run_id]

    def _put_agent(self, name: str, agent: AgentInfo | None) -> frozenset[Part]:
        if agent is None:
            self.agents.pop(name, None)
        else:
            self.agents[name] = agent
        return frozenset({Part.AGENTS})

    # --- reading

    @property
    def running(self) -> list[RunInfo]:
        """Runs that are being worked on, oldest first."""
        return sorted((r for r in self.runs.values() if r.status == "running"), key=lambda r: r.id)

    @property
    def waiting(self) -> list[RunInfo]:
        """Runs that have not begun, next one first."""
        return sorted(
            (r for r in self.runs.values() if r.status == "pending"), key=lambda r: (r.due_at, r.id)
        )

    @property
    def waiting_count(self) -> int:
        known = sum(run.status == "pending" for run in self.runs.values())
        return max(known, self.status.runs_pending) if self._more_waiting and self.status else known

    @property
    def active_agents(self) -> list[AgentInfo]:
        return [agent for agent in self.agents.values() if not agent.paused]

    @property
    def all_paused(self) -> bool:
        return bool(self.agents) and not self.active_agents

    @property
    def agents_stopped(self) -> str | None:
        """Why no agent works, when the one switch for all was used."""
        return self.status.agents_stopped if self.status else None

    def current_step(self, run_id: int) -> StepInfo | None:
        """The newest step of a live run that this window saw."""
        steps = self.steps.get(run_id)
        return steps[max(steps)] if steps else None

    @property
    def problem(self) -> str | None:
        """The first thing that keeps agents from working, as one sentence."""
        if self.status is not None and self.status.engine.state == "set_aside":
            return self.status.engine.reason or "The model was set aside."
        return next((a.problem for a in self.active_agents if a.problem), None)
