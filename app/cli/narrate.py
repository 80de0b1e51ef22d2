"""Tells a run as it happens: one line for each finished step, and what goes on right now."""

from __future__ import annotations

from agents.contract import (
    EngineChanged,
    EngineInfo,
    Event,
    Notice,
    ResultInfo,
    RunChanged,
    RunDetail,
    RunInfo,
    RunProgress,
    StepChanged,
    StepInfo,
)
from app.cli.output import count, cut, describe_costs, duration, file_name, pad, paragraph, rate, took
from app.cli.screen import Screen

_TITLE_COLUMNS = 34


class Narrator:
    """Shows the events of the runs that it is given; a screen of its own keeps order between lines and hints."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._open: dict[int, StepInfo] = {}  # by run
        self._told: set[tuple[int, int, str]] = set()
        self._engine_state: str | None = None
        self._noticed = False  # the runtime has said itself what is out of the ordinary

    def tell(self, event: Event) -> None:
        match event.data:
            case StepChanged(run_id=run_id, step=step):
                self.step(run_id, step)
            case RunProgress() as progress:
                self._progress(progress)
            case RunChanged(run=run) if run.status == "pending" and run.attempt:
                self._screen.line("  the run waits to go on from its last finished step")
            case EngineChanged(engine=engine):
                self._engine(engine)
            case Notice(text=text):
                self._noticed = True
                self._screen.line(f"  ! {text}")
            case _:
                pass

    def catch_up(self, run: RunDetail) -> None:
        """Tells the steps that ended while nobody listened, in their order; what was told already is not told again."""
        for step in run.steps:
            if (run.id, step.seq, step.status) not in self._told:
                self.step(run.id, step)

    def step(self, run_id: int, step: StepInfo) -> None:
        """A step that began becomes a hint, one that ended a line; the same state is told once."""
        if step.status == "running":
            if (run_id, step.seq, "succeeded") in self._told:
                return  # an event from before the state was read
            self._open[run_id] = step
            self._screen.hint(f"  … {step.title}")
            return
        self._open.pop(run_id, None)
        key = (run_id, step.seq, step.status)
        if key not in self._told or step.status == "interrupted":
            self._told.add(key)
            self._screen.line(describe_step(step))

    def _progress(self, progress: RunProgress) -> None:
        step = self._open.get(progress.run_id)
        title = step.title if step is not None else "model"
        if progress.completion_tokens:
            speed = rate(progress.tokens_per_s)
            doing = f"writing, {count(progress.completion_tokens, 'token')}" + (f", {speed}" if speed else "")
        elif progress.total_prompt_tokens:
            percent = 100 * progress.done_prompt_tokens // progress.total_prompt_tokens
            doing = f"reading, {percent} % of {count(progress.total_prompt_tokens, 'token')}"
        else:
            doing = "waiting for its turn"
        self._screen.hint(f"  … {title}: {doing}")

    def _engine(self, engine: EngineInfo) -> None:
        """Only what is out of the ordinary: that an engine gets busy and ready is no news."""
        if engine.state == self._engine_state:
            return
        was, self._engine_state = self._engine_state, engine.state
        if engine.state == "restarting" and not self._noticed:
            self._screen.line(f"  the engine ended and is started again{_because(engine)}")
        elif engine.state == "set_aside":
            self._screen.line(f"  the model was set aside{_because(engine)}")
        elif engine.state in ("ready", "busy") and was in ("restarting", "starting", "self_test"):
            self._noticed = False
            self._screen.line(f"  the engine is ready: {engine.model or 'model'}")


def _because(engine: EngineInfo) -> str:
    return f": {engine.reason}" if engine.reason else ""


def describe_step(step: StepInfo, *, costs: bool = False) -> str:
    """One line: what was done, what came out, how long it took; with `costs` also its energy, money and route."""
    facts = [step.error or step.detail or ""]
    if step.status == "interrupted":
        facts.insert(0, "interrupted, it will be done again")
    if step.prompt_tokens or step.completion_tokens:
        facts.append(f"{step.prompt_tokens:,} tokens read, {step.completion_tokens:,} written")
    facts += [rate(step.tokens_per_s), took(step.started_at, step.finished_at)]
    if costs:
        facts += [describe_costs(step), step.route or ""]
    mark = {"succeeded": "+", "failed": "!", "interrupted": "~", "running": "…"}[step.status]
    title = pad(cut(step.title, _TITLE_COLUMNS), _TITLE_COLUMNS)
    return f"  {mark} {title}  {' · '.join(fact for fact in facts if fact)}".rstrip()


def describe_end(run: RunInfo) -> str:
    """How a run ended, in one line."""
    name = file_name(run.file) if run.file else f"run {run.id}"
    if run.status != "succeeded":
        return f"{name}: {run.status}" + (f". {run.reason}" if run.reason else "")
    facts = [f"{name}: succeeded"]
    if run.started_at and run.finished_at:
        facts.append(f"in {duration((run.finished_at - run.started_at).total_seconds())}")
    facts.append(f"{run.tokens:,} tokens")
    if run.tokens_per_s is not None:
        facts.append(rate(run.tokens_per_s))
    return ", ".join(facts)


def describe_result(result: ResultInfo, *, indent: str = "  ") -> str:
    """What a run handed over, wrapped to the terminal."""
    lines = [
        paragraph(result.title, indent=indent + "  ", first=indent),
        paragraph(result.summary, indent=indent),
    ]
    lines += [paragraph(item, indent=indent + "  ", first=f"{indent}- ") for item in result.action_items]
    lines.append(f"{indent}category: {result.category}")
    return "\n".join(lines)
