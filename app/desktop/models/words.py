"""Numbers, times and states as the user reads them. Pure; times become local here and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import PurePath

from agents.contract import EngineInfo, RunInfo, StepInfo

STATUS_WORDS = {
    "pending": "Waiting",
    "running": "Working",
    "waiting_for_approval": "Waiting for you",
    "unverified": "Done, not confirmed",
    "succeeded": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
STATUS_ROLES = {
    "pending": "muted",
    "running": "accent",
    "waiting_for_approval": "warning",
    "unverified": "warning",
    "succeeded": "ok",
    "failed": "danger",
    "cancelled": "muted",
}
STATUS_ICONS = {
    "pending": "clock",
    "running": "fire",
    "waiting_for_approval": "clock",
    "unverified": "warning-circle",
    "succeeded": "check-circle",
    "failed": "warning-circle",
    "cancelled": "x-circle",
    "interrupted": "arrow-counter-clockwise",
}
_TRIGGER_WORDS = {
    "cron": "its time",
    "interval": "its time",
    "once": "its time",
    "file_changed": "a new file",
    "start": "Hearth's start",
    "wake": "the computer's waking",
    "idle": "nobody at the computer",
    "webhook": "a program's call",
    "result": "another agent's result",
    "manual": "asked for by hand",
}
_ENGINE_WORDS = {
    "stopped": "not loaded",
    "starting": "loading the model…",
    "self_test": "testing the engine…",
    "ready": "ready",
    "busy": "working",
    "restarting": "restarting…",
    "set_aside": "set aside",
}


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 agent`, `2 agents`, `1,204 agents`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def elapsed(seconds: float) -> str:
    """A running clock: like `duration`, in whole seconds."""
    return f"{max(0, int(seconds))} s" if seconds < 60 else duration(int(seconds))


def clock_time(moment: datetime, now: datetime) -> str:
    """`14:02` today, `yesterday 14:02`, `3 Nov 14:02`, `3 Nov 2025`."""
    local, today = moment.astimezone(), now.astimezone()
    time = f"{local:%H:%M}"
    if local.date() == today.date():
        return time
    if local.date() == today.date() - timedelta(days=1):
        return f"yesterday {time}"
    if local.year == today.year:
        return f"{local.day} {local:%b} {time}"
    return f"{local.day} {local:%b %Y}"


def ago(moment: datetime, now: datetime) -> str:
    """`just now`, `40 s ago`, `5 min ago`, then the clock time."""
    seconds = (now - moment).total_seconds()
    if seconds < 5:
        return "just now"
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    return clock_time(moment, now)


def until(moment: datetime, now: datetime) -> str:
    """`now`, `in 12 s`, `in 3 min`, then the clock time."""
    seconds = (moment - now).total_seconds()
    if seconds < 1:
        return "now"
    if seconds < 60:
        return f"in {seconds:.0f} s"
    if seconds < 3600:
        return f"in {seconds // 60:.0f} min"
    return f"at {clock_time(moment, now)}"


def due_time(moment: datetime, now: datetime) -> str:
    """`today 14:02`, `tomorrow 08:00`, `Tue 24 Nov 08:00`, `24 Nov 2027 08:00`."""
    local, today = moment.astimezone(), now.astimezone()
    time = f"{local:%H:%M}"
    if local.date() == today.date():
        return f"today {time}"
    if local.date() == today.date() + timedelta(days=1):
        return f"tomorrow {time}"
    if local.year == today.year:
        return f"{local:%a} {local.day} {local:%b} {time}"
    return f"{local.day} {local:%b %Y} {time}"


def trigger(kind: str) -> str:
    """What a run began with."""
    return _TRIGGER_WORDS.get(kind, kind.replace("_", " "))


def energy(joules: float) -> str:
    """`0.8 J`, `120 J`, `1.2 Wh`."""
    if joules >= 3_600:
        return f"{joules / 3_600:.1f} Wh"
    return f"{joules:.0f} J" if joules >= 10 else f"{joules:.1f} J"


def rate(tokens_per_s: float) -> str:
    return f"{tokens_per_s:.0f} tokens/s" if tokens_per_s >= 10 else f"{tokens_per_s:.1f} tokens/s"


def file_name(path: str | None) -> str:
    return PurePath(path).name if path else ""


def model_name(model: str | None) -> str:
    """A model's path or name, short."""
    return PurePath(model).name.removesuffix(".gguf") if model else "Model"


def engine_line(engine: EngineInfo) -> str:
    """`SmolLM2-135M-Instruct · ready · 92 tokens/s`."""
    parts = [model_name(engine.model), _ENGINE_WORDS[engine.state]]
    if engine.tokens_per_s and engine.state in ("ready", "busy"):
        parts.append(rate(engine.tokens_per_s))
    return " · ".join(parts)


def run_subject(run: RunInfo) -> str:
    """What a run is about: its file's name, or the agent's when there is none."""
    return file_name(run.file) or run.agent


def step_numbers(step: StepInfo) -> str:
    """`412 tokens read, 96 written · 88 tokens/s · 120 J · local`, or empty."""
    parts = []
    if step.prompt_tokens or step.completion_tokens:
        parts.append(f"{step.prompt_tokens:,} tokens read, {step.completion_tokens:,} written")
    if step.tokens_per_s:
        parts.append(rate(step.tokens_per_s))
    if step.energy_j is not None:
        parts.append(energy(step.energy_j))
    if step.cost_usd:
        parts.append(f"${step.cost_usd:.4f}")
    if step.route:
        parts.append(step.route)
    return " · ".join(parts)


def step_time(step: StepInfo) -> str:
    """How long a finished step took; empty while it runs."""
    if step.finished_at is None:
        return ""
    return duration((step.finished_at - step.started_at).total_seconds())


def one_line(text: str, limit: int = 200) -> str:
    """Untrusted text for a title, a menu or a notification: one line, no control or direction characters, cut."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    words = " ".join(clean.split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"
