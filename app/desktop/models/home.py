"""What the Home page says: what runs, what is next, what came out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agents.contract import AgentInfo, ResultInfo, RunInfo
from app.desktop.models import words
from app.desktop.models.agents import asks_for_folders
from app.desktop.models.world import World

WAITING_SHOWN = 5
OUTCOMES_SHOWN = 30


@dataclass(frozen=True, kw_only=True)
class RunningRow:
    """One run in work. `share` is how much of the prompt is read, None while the model writes or nothing is known."""

    run_id: int
    title: str
    detail: str
    share: float | None
    started_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class WaitingRow:
    run_id: int
    title: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class OutcomeRow:
    """A result, or a run that failed."""

    key: str
    run_id: int
    title: str
    detail: str
    category: str
    failed: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class HomeView:
    running: list[RunningRow]
    waiting: list[WaitingRow]
    waiting_more: int
    watching: str  # one sentence on which folders are watched
    looks: str  # when it looked and looks again
    needs_folder: bool
    problems: list[str]
    outcomes: list[OutcomeRow]


def home_view(world: World, now: datetime) -> HomeView:
    """The page at one moment."""
    waiting = world.waiting[:WAITING_SHOWN]
    return HomeView(
        running=[_running_row(world, run) for run in world.running],
        waiting=[
            WaitingRow(run_id=run.id, title=words.run_subject(run), detail=f"{run.agent} · waiting")
            for run in waiting
        ],
        waiting_more=max(0, world.waiting_count - len(waiting)),
        watching=_watching(world),
        looks=_looks(world, now),
        needs_folder=world.is_loaded and all(asks_for_folders(agent) for agent in world.agents.values()),
        problems=[f"{a.name}: {a.problem}" for a in world.agents.values() if a.problem and a.folders],
        outcomes=_outcomes(world),
    )


def step_line(world: World, run_id: int) -> tuple[str, float | None]:
    """What a live run does right now, and the share of its prompt that is read."""
    step = world.current_step(run_id)
    progress = world.progress.get(run_id)
    parts = [step.title] if step else []
    share = None
    if progress is not None and progress.completion_tokens:
        parts.append(f"{progress.completion_tokens:,} tokens written")
        if progress.tokens_per_s:
            parts.append(words.rate(progress.tokens_per_s))
    elif progress is not None and progress.total_prompt_tokens:
        share = progress.done_prompt_tokens / progress.total_prompt_tokens
        parts.append(f"reading {share:.0%}")
    return " · ".join(parts), share


def _running_row(world: World, run: RunInfo) -> RunningRow:
    detail, share = step_line(world, run.id)
    return RunningRow(
        run_id=run.id,
        title=words.run_subject(run),
        detail=" · ".join(part for part in (run.agent, detail) if part),
        share=share,
        started_at=run.started_at,
    )


def _watching(world: World) -> str:
    if world.agents_stopped:
        return f"{world.agents_stopped} Let them run again on the Agents page."
    folders = [folder for agent in world.active_agents if not agent.problem for folder in agent.folders]
    if folders:
        names = list(dict.fromkeys(words.file_name(folder) or folder for folder in folders))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"Watching {shown}"
    if world.all_paused and any(agent.folders for agent in world.agents.values()):
        return "All agents are paused; resume them to handle new files."
    return ""


def _looks(world: World, now: datetime) -> str:
    status = world.status
    if status is None or world.agents_stopped:
        return ""
    parts = [part for part in (status.governor.reason or "", _next_due(world, now)) if part]
    if not any(_watches(agent) for agent in world.active_agents):
        return " · ".join(parts)
    if status.last_tick is not None:
        parts.append(f"looked {words.ago(status.last_tick, now)}")
    if status.next_tick is not None:
        parts.append(f"looks again {words.until(status.next_tick, now)}")
    line = " · ".join(parts)
    return line[:1].upper() + line[1:]


def _next_due(world: World, now: datetime) -> str:
    due = [(agent.next_due, agent.name) for agent in world.active_agents if agent.next_due is not None]
    if not due:
        return ""
    moment, name = min(due)
    return f"{name} is due {words.due_time(moment, now)}"


def _watches(agent: AgentInfo) -> bool:
    return bool(agent.folders)


def _outcomes(world: World) -> list[OutcomeRow]:
    rows = [_result_row(result) for result in world.results]
    rows += [_failed_row(run) for run in world.runs.values() if run.status == "failed"]
    return sorted(rows, key=lambda row: row.at, reverse=True)[:OUTCOMES_SHOWN]


def _result_row(result: ResultInfo) -> OutcomeRow:
    return OutcomeRow(
        key=f"result:{result.id}",
        run_id=result.run_id,
        title=words.one_line(result.title) or "Untitled",
        detail=_result_detail(result),
        category=words.one_line(result.category, 24),
        failed=False,
        at=result.created_at,
    )


def _result_detail(result: ResultInfo) -> str:
    """The file, how much there is to do, and how the summary begins; the row cuts it where it ends."""
    parts = [words.file_name(result.file) or result.agent]
    if result.action_items:
        parts.append(f"{len(result.action_items)} to do")
    parts.append(words.one_line(result.summary))
    return " · ".join(part for part in parts if part)


def _failed_row(run: RunInfo) -> OutcomeRow:
    return OutcomeRow(
        key=f"run:{run.id}",
        run_id=run.id,
        title=words.run_subject(run),
        detail=words.one_line(run.reason or "It failed."),
        category="failed",
        failed=True,
        at=run.finished_at or run.created_at,
    )
