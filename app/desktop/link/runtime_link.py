"""The line to the runtime: finds it, starts it, keeps the world true by its events, and mends itself.

Runs in: desktop process, main thread.

    CONNECTING ──► CONNECTED ──► RECONNECTING ──► CONNECTED     the runtime went away and came back
         │              └──────► STOPPED                        somebody stopped it in order
         ▼
      STARTING ──► CONNECTED | NEEDS_KEY | FAILED               no runtime answered

From STOPPED, NEEDS_KEY and FAILED the user leads on; a runtime that somebody else started is found too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import ValidationError
from PySide6.QtCore import QObject, QTimer, Signal

from agents.contract import Event, Status, Stopping
from agents.paths import HomePaths
from app.desktop.link.api import RuntimeApi
from app.desktop.link.backoff import Backoff, StartLimit
from app.desktop.link.loading import Loaded, Loader, WrongVersion, read_status
from app.desktop.link.starter import RuntimeStarter, StartFailed
from app.desktop.link.states import LinkState
from app.desktop.link.transport import HttpClient, SseStream, Trouble
from app.desktop.models.world import World
from app.launch import LaunchOptions

STATUS_EVERY_MS = 5_000
LOOK_AGAIN_MS = 5_000  # while waiting for the user
START_AFTER_FAILURES = 3  # a runtime that is being restarted by somebody else gets these tries first


class RuntimeLink(QObject):
    """One per desktop process. Pages read `world` and ask `api`; they are told by signals."""

    state_changed = Signal(object)  # LinkState
    world_changed = Signal(object)  # frozenset[Part]
    happened = Signal(object)  # Event, after the world took it in

    def __init__(
        self,
        paths: HomePaths,
        starter: RuntimeStarter,
        *,
        backoff: Backoff | None = None,
        options: LaunchOptions | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.world = World()
        self.state = LinkState.IDLE
        self.sentence = ""
        self._paths = paths
        self._http = HttpClient(paths.socket, self)
        self.api = RuntimeApi(self._http)
        self._starter = starter
        self._options = options or LaunchOptions()
        self._backoff = backoff or Backoff()
        self._limit = StartLimit()
        self._stream: SseStream | None = None
        self._held: list[Event] | None = None  # events that came while the state was being read
        self._attempt = 0  # answers to an older attempt are dropped
        self._stopping_pid: int | None = None  # this runtime said that it ends: not worth a connection
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.timeout.connect(self._connect)
        self._status_timer = QTimer(self)
        self._status_timer.setInterval(STATUS_EVERY_MS)
        self._status_timer.timeout.connect(self.refresh_status)
        starter.started.connect(self._connect)
        starter.failed.connect(self._start_failed)

    # --- what the desktop asks

    @property
    def is_connected(self) -> bool:
        return self.state is LinkState.CONNECTED

    def open(self) -> None:
        """Looks for a runtime, and starts one when none answers."""
        self._set_state(LinkState.CONNECTING)
        self._backoff.failures = START_AFTER_FAILURES - 1  # nobody is expected to be restarting it
        self._connect()

    def retry(self) -> None:
        """The user wants another try."""
        self._limit.forget()
        self.open()

    def choose_key(self, options: LaunchOptions) -> None:
        """How the database is kept, as the user chose; used for all later starts by this process."""
        self._options = options
        self.retry()

    def watch_closely(self, on: bool) -> None:
        """The time of the next look at the folders comes with the status: fetched only while somebody looks."""
        if on:
            self._status_timer.start()
            self.refresh_status()
        else:
            self._status_timer.stop()

    def refresh_status(self) -> None:
        if self.is_connected:
            self.api.status(read_status, self._take_status, lambda _trouble: None)

    def expect_stop(self) -> None:
        """The desktop itself asked the runtime to stop: its end is no trouble."""
        if self.world.status is not None:
            self._stopping_pid = self.world.status.pid

    def close(self) -> None:
        """Ends the line; the runtime goes on."""
        self._set_state(LinkState.CLOSED)
        self._attempt += 1
        self._again.stop()
        self._status_timer.stop()
        self._stream = None
        self._http.close()
        self._starter.close()

    # --- connecting

    def _connect(self) -> None:
        if self.state is LinkState.CLOSED:
            return
        self._again.stop()
        problem = self._paths.socket_problem()
        if problem is not None:
            self._fail(problem)
            return
        self._attempt += 1
        self.api.status(read_status, self._current(self._answered), self._current(self._not_reached))

    def _current(self, step: Callable[..., None]) -> Callable[..., None]:
        """`step`, but only as long as this attempt is the newest."""
        attempt = self._attempt

        def guarded(*arguments: object) -> None:
            if attempt == self._attempt and self.state is not LinkState.CLOSED:
                step(*arguments)

        return guarded

    def _answered(self, answer: Status | WrongVersion) -> None:
        if isinstance(answer, WrongVersion):
            self._fail(answer.sentence)
        elif answer.pid == self._stopping_pid:
            self._again.start(500)
        else:
            self._open_stream(answer)

    def _not_reached(self, trouble: Trouble) -> None:
        if self.state.waits_for_user:
            self._again.start(LOOK_AGAIN_MS)
            return
        if not trouble.unreachable and trouble.code != "timeout":
            self._fail(trouble.message)
            return
        delay_s = self._backoff.next_delay_s()
        if self._backoff.failures >= START_AFTER_FAILURES and not self._starter.is_busy:
            self._start()
        else:
            self._again.start(round(delay_s * 1000))

    def _start(self) -> None:
        if not self._limit.may_start(time.monotonic()):
            self._fail(
                f"Hearth's background part keeps ending; see {self._paths.runtime_log}, then try again."
            )
            return
        if self.state is not LinkState.RECONNECTING:
            self._set_state(LinkState.STARTING)
        self._starter.start(self._options)

    def _start_failed(self, failure: StartFailed) -> None:
        if failure.needs_key:
            self.sentence = failure.sentence
            self._set_state(LinkState.NEEDS_KEY)
            self._again.start(LOOK_AGAIN_MS)
        else:
            self._fail(failure.sentence)

    def _fail(self, sentence: str) -> None:
        self.sentence = sentence
        self._set_state(LinkState.FAILED)
        self._again.start(LOOK_AGAIN_MS)

    # --- loading

    def _open_stream(self, status: Status) -> None:
        self._held = []
        stream = self.api.events()
        self._stream = stream
        stream.opened.connect(self._current(lambda: self._load(status)))
        stream.payload.connect(self._current(self._take_payload))
        stream.finished.connect(self._current(lambda _trouble: self._stream_ended()))

    def _load(self, status: Status) -> None:
        """Reads the state; events that come meanwhile are held and applied after, so that none is lost."""
        Loader(
            self.api,
            self._current(lambda loaded: self._loaded(status, loaded)),
            self._current(self._load_failed),
        )

    def _load_failed(self, trouble: Trouble) -> None:
        if trouble.unreachable:
            return  # then the stream ends too, and that is what reconnects
        self._attempt += 1
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._fail(trouble.message)

    def _loaded(self, status: Status, loaded: Loaded) -> None:
        parts = self.world.load(
            status=status,
            agents=loaded.agents,
            runs=loaded.runs,
            results=loaded.results,
            more_waiting=loaded.more_waiting,
        )
        held, self._held = self._held or [], None
        self._backoff.reset()
        self._set_state(LinkState.CONNECTED)
        self.world_changed.emit(parts)
        for each in held:
            self._take_event(each)

    def _take_status(self, answer: Status | WrongVersion) -> None:
        if self.is_connected and isinstance(answer, Status):
            self.world_changed.emit(self.world.set_status(answer))

    # --- events

    def _take_payload(self, text: str) -> None:
        try:
            event = Event.model_validate_json(text)
        except ValidationError:
            return  # of a kind that this version does not know; the state it speaks of is read anew later
        if isinstance(event.data, Stopping):
            self._stopped()
        elif self._held is not None:
            self._held.append(event)
        else:
            self._take_event(event)

    def _take_event(self, event: Event) -> None:
        parts = self.world.apply(event)
        if parts:
            self.world_changed.emit(parts)
        self.happened.emit(event)

    def _stopped(self) -> None:
        """The runtime ends in order: somebody wanted that, so it is not started again by itself."""
        self.expect_stop()
        self._attempt += 1
        self._stream = None
        self._set_state(LinkState.STOPPED)
        self._again.start(LOOK_AGAIN_MS)

    def _stream_ended(self) -> None:
        self._stream = None
        self._backoff.reset()
        self._set_state(LinkState.RECONNECTING)
        self._connect()

    def _set_state(self, state: LinkState) -> None:
        if state is not self.state and self.state is not LinkState.CLOSED:
            self.state = state
            self.state_changed.emit(state)
