"""What a notification says, and when several become one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agents.contract import Event, ResultReady, RunFailed
from app.desktop.models import words

QUIET_S = 10.0  # after a notification, more of its kind are gathered for so long
# Servers may read the body as markup; these look like what they replace and mean nothing.
_INERT = str.maketrans({"<": "‹", ">": "›", "&": "＆"})


@dataclass(frozen=True, kw_only=True)
class Note:
    """One notification; `run_id` is what its Open button opens, None opens Home."""

    title: str
    body: str
    run_id: int | None
    failed: bool = False


def note_of(event: Event) -> Note | None:
    """The notification that an event is worth, if any."""
    match event.data:
        case ResultReady(result=result, notify=True):
            subject = words.file_name(result.file) or result.agent
            return Note(
                title=words.one_line(result.title, 100) or "A result is ready",
                body=inert(f"{result.agent}: {subject}"),
                run_id=result.run_id,
            )
        case RunFailed(run=run, notify=True):
            return Note(
                title=f"Failed: {words.one_line(words.run_subject(run), 90)}",
                body=inert(run.reason or "The run failed."),
                run_id=run.id,
                failed=True,
            )
        case _:
            return None


def inert(text: str) -> str:
    return words.one_line(text).translate(_INERT)


class NoteGatherer:
    """Lets the first through at once; what follows within the quiet time becomes one note at its end."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._quiet_until_s = float("-inf")
        self._gathered: list[Note] = []

    def take(self, note: Note, now_s: float) -> Note | None:
        """The note to show now; None when it is kept for later."""
        if now_s < self._quiet_until_s:
            self._gathered.append(note)
            return None
        self._quiet_until_s = now_s + self._quiet_s
        return note

    def due_in_s(self, now_s: float) -> float | None:
        """When gathered notes are to be shown; None when there are none."""
        return max(0.0, self._quiet_until_s - now_s) if self._gathered else None

    def flush(self, now_s: float) -> Note | None:
        """The gathered notes as one."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return None
        self._quiet_until_s = now_s + self._quiet_s
        if len(gathered) == 1:
            return gathered[0]
        failed = sum(note.failed for note in gathered)
        done = len(gathered) - failed
        parts = [words.counted(done, "result is ready", "results are ready")] if done else []
        parts += [words.counted(failed, "run failed", "runs failed")] if failed else []
        return Note(
            title=", ".join(parts).capitalize(),
            body="Open Hearth to read them.",
            run_id=None,
            failed=not done,
        )
