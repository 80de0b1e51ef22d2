"""Reads the whole state of the runtime: five requests at once, one answer.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from agents.contract import API_VERSION, AgentInfo, ResultInfo, RunInfo, Status
from app.desktop.link.api import RuntimeApi
from app.desktop.link.transport import Trouble
from app.desktop.models.world import RESULTS_KEPT

RUNS_LOADED = 100


@dataclass(frozen=True, kw_only=True)
class WrongVersion:
    """A runtime answers, but speaks another version of the contract."""

    version: str

    @property
    def sentence(self) -> str:
        return (
            f"The running background part of Hearth is another version ({self.version}); "
            "run `hearth stop`, then open Hearth again."
        )


class _Version(BaseModel):
    api_version: int
    version: str


def read_status(body: bytes) -> Status | WrongVersion:
    """Parses a status; of another version's body only the version is expected. Raises pydantic's ValidationError."""
    answer = _Version.model_validate_json(body)
    if answer.api_version != API_VERSION:
        return WrongVersion(version=answer.version)
    return Status.model_validate_json(body)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The state at one moment, or shortly after each other: held events make it whole."""

    agents: list[AgentInfo]
    runs: list[RunInfo]
    results: list[ResultInfo]
    more_waiting: bool


class Loader:
    """Calls `done` once when all answers are there, or `failed` once."""

    def __init__(
        self, api: RuntimeApi, done: Callable[[Loaded], None], failed: Callable[[Trouble], None]
    ) -> None:
        self._done = done
        self._failed: Callable[[Trouble], None] | None = failed
        self._missing = 5
        self._agents: list[AgentInfo] = []
        self._runs: dict[int, RunInfo] = {}
        self._results: list[ResultInfo] = []
        self._more_waiting = False
        api.agents(self._take_agents, self._fail)
        api.runs(self._take_runs, self._fail, limit=RUNS_LOADED)
        api.runs(self._take_pending, self._fail, status="pending", limit=RUNS_LOADED)
        api.runs(self._take_runs, self._fail, status="running", limit=RUNS_LOADED)
        api.results(self._take_results, self._fail, limit=RESULTS_KEPT)

    def _take_agents(self, agents: list[AgentInfo]) -> None:
        self._agents = agents
        self._one_less()

    def _take_runs(self, runs: list[RunInfo]) -> None:
        self._runs.update((run.id, run) for run in runs)
        self._one_less()

    def _take_pending(self, runs: list[RunInfo]) -> None:
        self._more_waiting = len(runs) >= RUNS_LOADED
        self._take_runs(runs)

    def _take_results(self, results: list[ResultInfo]) -> None:
        self._results = results
        self._one_less()

    def _one_less(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._done(
                Loaded(
                    agents=self._agents,
                    runs=list(self._runs.values()),
                    results=self._results,
                    more_waiting=self._more_waiting,
                )
            )

    def _fail(self, trouble: Trouble) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            failed(trouble)
