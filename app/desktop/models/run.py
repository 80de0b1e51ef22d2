"""One run with its steps, kept true by events. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agents.contract import (
    Event,
    ResultReady,
    RunChanged,
    RunDetail,
    RunFailed,
    RunInfo,
    RunProgress,
    StepChanged,
    StepInfo,
)
from app.desktop.models import words

_ALIVE = ("pending", "running", "waiting_for_approval")


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step in words."""

    seq: int
    title: str
    detail: str
    error: str
    at: str
    side: str
    icon: str
    role: str
    share: float | None  # of the prompt that is read


class RunModel:
    """The run that is open in the window."""

    def __init__(self, detail: RunDetail) -> None:
        self.run: RunInfo = detail
        self.result = detail.result
        self.occurrence = detail.occurrence
        self.steps = {step.seq: step for step in detail.steps}
        self.progress: RunProgress | None = None

    @property
    def is_alive(self) -> bool:
        return self.run.status in _ALIVE

    def apply(self, event: Event) -> bool:
        """Takes an event in; True when something of this run changed."""
        match event.data:
            case RunChanged(run=run) | RunFailed(run=run) if run.id == self.run.id:
                self.run = run
                self.progress = None
            case StepChanged(run_id=run_id, step=step) if run_id == self.run.id:
                self.steps[step.seq] = step
                self.progress = None
            case RunProgress() as progress if progress.run_id == self.run.id:
                self.progress = progress
            case ResultReady(result=result) if result.run_id == self.run.id:
                self.result = result
            case _:
                return False
        return True

    def rows(self, now: datetime) -> list[StepRow]:
        return [self._row(self.steps[seq], now) for seq in sorted(self.steps)]

    def facts(self, now: datetime) -> str:
        """`Document digest · a new file · 14:02 · took 12 s · 1,204 tokens · 88 tokens/s`."""
        run = self.run
        parts = [
            run.agent,
            words.trigger(run.trigger),
            words.clock_time(run.started_at or run.created_at, now),
        ]
        if run.started_at and run.finished_at:
            parts.append(f"took {words.duration((run.finished_at - run.started_at).total_seconds())}")
        if run.tokens:
            parts.append(words.counted(run.tokens, "token"))
        if run.tokens_per_s:
            parts.append(words.rate(run.tokens_per_s))
        if run.energy_j is not None:
            parts.append(words.energy(run.energy_j))
        if run.cost_usd:
            parts.append(f"${run.cost_usd:.4f}")
        if run.attempt > 1:
            parts.append(f"attempt {run.attempt}")
        return " · ".join(parts)

    def waking(self, now: datetime) -> list[str]:
        """Why it ran and when: its due time, how late it was seen to, what its gates said, and what it repeats."""
        run, lines = self.run, []
        if run.retry_of or run.replay_of:
            lines.append(f"{'Retry' if run.retry_of else 'Replay'} of run {run.retry_of or run.replay_of}")
        due = f"Due {words.clock_time(run.due_at, now)}"
        if self.occurrence is not None and self.occurrence.claimed_at is not None:
            late_s = (self.occurrence.claimed_at - self.occurrence.due_at).total_seconds()
            due += f", seen to {words.duration(late_s)} later" if late_s >= 1 else ", seen to at once"
        if run.status == "pending" and run.not_before is not None:
            due += f"; tried again {words.until(run.not_before, now)}"
        lines.append(due)
        if self.occurrence is not None:
            for gate in self.occurrence.gates:
                kind = gate.gate.replace("_", " ").capitalize()
                lines.append(f"{kind}: {'open' if gate.open else 'closed'}, {words.one_line(gate.detail)}")
        return lines

    def _row(self, step: StepInfo, now: datetime) -> StepRow:
        share, numbers = None, words.step_numbers(step)
        running = step.status == "running"
        if running and self.progress is not None and self.progress.seq == step.seq:
            share, numbers = self._progress_words(self.progress)
        detail = " · ".join(part for part in (step.detail or "", numbers) if part)
        error = step.error or ("Interrupted; begun anew." if step.status == "interrupted" else "")
        side = words.elapsed((now - step.started_at).total_seconds()) if running else words.step_time(step)
        return StepRow(
            seq=step.seq,
            title=step.title,
            detail=detail,
            error=error,
            at=f"{step.started_at.astimezone():%H:%M:%S}",
            side=side,
            icon=words.STATUS_ICONS[step.status],
            role="warning" if step.status == "interrupted" else words.STATUS_ROLES[step.status],
            share=share,
        )

    @staticmethod
    def _progress_words(progress: RunProgress) -> tuple[float | None, str]:
        if progress.completion_tokens:
            rate = f" · {words.rate(progress.tokens_per_s)}" if progress.tokens_per_s else ""
            return None, f"{progress.completion_tokens:,} tokens written{rate}"
        if progress.total_prompt_tokens:
            share = progress.done_prompt_tokens / progress.total_prompt_tokens
            return share, f"{progress.done_prompt_tokens:,} of {progress.total_prompt_tokens:,} tokens read"
        return None, "waiting for its turn"
