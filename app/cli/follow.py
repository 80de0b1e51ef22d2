"""Follows one run to its end through the event stream, over restarts of the engine and of the runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from agents.contract import (
    EngineChanged,
    Event,
    Notice,
    RunChanged,
    RunDetail,
    RunFailed,
    RunInfo,
    RunProgress,
    StepChanged,
    Stopping,
)
from app.cli.narrate import Narrator, describe_end, describe_result
from app.cli.output import emit
from app.cli.screen import Screen
from app.client import RuntimeClient, RuntimeUnreachable

# A stream that says nothing for so long is opened again, and the state read anew: an event may have been lost.
# It is less than the 15 s after which the runtime sends a sign of life, which would hide the silence.
SILENCE_S = 10.0
_RETRY_S = 0.5
_PAGE_RUNS = 500  # as many as the runtime gives at once
FINAL = frozenset({"succeeded", "unverified", "failed", "cancelled"})
_STATE_READ_ID = 0  # the id of an event that was made here from a state that was read


class Listener(Protocol):
    """Who is told about the run."""

    def joined(self, run: RunDetail) -> None:
        """How the run stood when its events began to be heard."""
        ...

    def event(self, event: Event) -> None: ...

    def note(self, sentence: str) -> None:
        """Why nothing happens: there is no run yet, the runtime went away or came back."""
        ...

    def end(self, run: RunDetail) -> None: ...


class JsonListener:
    """One event per line."""

    def joined(self, run: RunDetail) -> None:
        pass

    def event(self, event: Event) -> None:
        emit(event, compact=True)

    def note(self, sentence: str) -> None:
        pass

    def end(self, run: RunDetail) -> None:
        info = RunInfo.model_validate(run.model_dump())
        emit(Event(id=_STATE_READ_ID, at=datetime.now(UTC), data=RunChanged(run=info)), compact=True)


class PersonListener:
    """Lines for a person."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._narrator = Narrator(screen)

    def joined(self, run: RunDetail) -> None:
        self._narrator.catch_up(run)

    def event(self, event: Event) -> None:
        self._narrator.tell(event)

    def note(self, sentence: str) -> None:
        self._screen.line(f"  {sentence}")

    def end(self, run: RunDetail) -> None:
        self._narrator.catch_up(run)
        self._screen.line(describe_end(run))
        if run.result is not None:
            self._screen.line(describe_result(run.result))


class Follower:
    """Waits for the end of one run. `run_id` None means the one at work, else the next to begin."""

    def __init__(
        self,
        client: RuntimeClient,
        listener: Listener,
        *,
        run_id: int | None,
        reconnect_s: float,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._listener = listener
        self._run_id = run_id
        self._reconnect_s = reconnect_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._away_since: float | None = None
        self._noted: set[str] = set()

    def follow(self) -> RunDetail:
        """Returns the ended run; RuntimeUnreachable when the runtime stays away for longer than `reconnect_s`."""
        if self._run_id is not None:
            self._client.run(self._run_id)  # a wrong number is said at once
        while True:
            try:
                with self._client.events(silence_s=SILENCE_S) as events:
                    run = self._listen(events)
            except RuntimeUnreachable:
                self._wait_for_runtime()
                continue
            if run is not None:
                self._listener.end(run)
                return run
            self._sleep(_RETRY_S)

    def _listen(self, events: Iterator[Event]) -> RunDetail | None:
        """Reads the state, then the events from there on; None when the stream ended before the run did."""
        if self._away_since is not None:
            self._away_since = None
            self._listener.note("Hearth is back")
        if self._run_id is None:
            self._run_id = self._at_work()
            if self._run_id is None:
                self._note_once("nothing is at work; waiting for the next run")
        if self._run_id is not None:
            run = self._client.run(self._run_id)
            if run.status in FINAL:
                return run
            self._listener.joined(run)
        for event in events:
            if isinstance(event.data, Stopping):
                self._listener.note("Hearth is stopping; the run goes on when it starts again")
            run_id = _run_of(event)
            if run_id is None:
                if isinstance(event.data, EngineChanged | Notice):
                    self._listener.event(event)
                continue
            if self._run_id is None:
                self._run_id = run_id
            if run_id != self._run_id:
                continue
            if isinstance(event.data, RunChanged | RunFailed) and event.data.run.status in FINAL:
                return self._client.run(run_id)
            self._listener.event(event)
        return None

    def _at_work(self) -> int | None:
        """The run at work, else the next to begin: the one due for longest whose agent is not paused."""
        running = self._client.runs(status="running", limit=1)
        if running:
            return running[0].id
        paused = {agent.name for agent in self._client.agents() if agent.paused}
        waiting = [run for run in self._pending() if run.agent not in paused]
        return min(waiting, key=lambda run: (run.due_at, run.id)).id if waiting else None

    def _pending(self) -> Iterator[RunInfo]:
        before: int | None = None
        while page := self._client.runs(status="pending", limit=_PAGE_RUNS, before=before):
            yield from page
            if len(page) < _PAGE_RUNS:
                return
            before = page[-1].id

    def _note_once(self, sentence: str) -> None:
        if sentence not in self._noted:
            self._noted.add(sentence)
            self._listener.note(sentence)

    def _wait_for_runtime(self) -> None:
        now = self._monotonic()
        if self._away_since is None:
            self._away_since = now
            self._listener.note("Hearth went away; waiting for it to come back")
        if now - self._away_since >= self._reconnect_s:
            raise RuntimeUnreachable(
                f"Hearth did not come back for {self._client.paths.root} within {self._reconnect_s:g} s; start it "
                "with `hearth serve`, and the run goes on."
            )
        self._sleep(_RETRY_S)


def _run_of(event: Event) -> int | None:
    data = event.data
    if isinstance(data, RunChanged | RunFailed):
        return data.run.id
    if isinstance(data, StepChanged | RunProgress):
        return data.run_id
    return None
