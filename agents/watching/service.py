"""Turns new versions of files in watched folders into occurrences, each version once, for all agents.

Runs in: the runtime's event loop, with two worker threads for the disk and watchdog's threads for hints.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agents.clock import Clock
from agents.core import Agent
from agents.errors import Conflict, HearthError, NotFound
from agents.scheduling.alarm import Alarm, Cancel
from agents.watching.agent_watch import AgentWatch
from agents.watching.ports import OnOccurrence, OnStorm, WatchContext, WatchStore
from agents.watching.scan import LIMIT_FILES
from agents.watching.watcher import FolderWatcher

log = logging.getLogger(__name__)
T = TypeVar("T")

RECONCILE_INTERVAL_S = 30.0
HINT_DELAY_S = 0.2  # a burst of hints becomes one look
MAX_PAUSE_S = 5.0  # between looks that take long
THREADS = 2
STOP_TIMEOUT_S = 5.0  # for a disk that does not answer


@dataclass(kw_only=True)
class _Post:
    """One agent that is watched, and the task that does it."""

    watch: AgentWatch
    looked_at: datetime  # when its last full look had ended; before the first one, when the watch began
    task: asyncio.Task[None] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    everything: bool = True  # the next look is a full scan
    trouble: str | None = None  # why the last look failed
    cancel_settle_alarm: Cancel | None = None


class FileTriggerService:
    """`on_occurrence` gets each new version, newest first where there are many, and `on_storm` those that are too many for that;
    see their types for what they must do.

    Files that are there when an agent begins to watch a folder are handled too: that is what people expect.
    """

    def __init__(
        self,
        *,
        store: WatchStore,
        clock: Clock,
        alarm: Alarm,
        on_occurrence: OnOccurrence,
        on_storm: OnStorm,
        on_notice: Callable[[str], None],
        home: Path,
        reconcile_interval_s: float = RECONCILE_INTERVAL_S,
        hint_delay_s: float = HINT_DELAY_S,
        limit_files: int = LIMIT_FILES,
        make_observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        self._clock = clock
        self._alarm = alarm
        self._on_notice = on_notice
        self._interval_s = reconcile_interval_s
        self._hint_delay_s = hint_delay_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="hearth-files")
        self._stopping = threading.Event()
        self._told_unwatchable = False
        self._watcher = FolderWatcher(on_hint=self._hint_arrived, make_observer=make_observer)
        self._context = WatchContext(
            store=store,
            clock=clock,
            watcher=self._watcher,
            in_thread=self._in_thread,
            on_occurrence=on_occurrence,
            on_storm=on_storm,
            on_notice=on_notice,
            on_unwatchable=self._tell_unwatchable,
            home=home,
            limit_files=limit_files,
            stopping=self._stopping,
        )
        self._posts: dict[int, _Post] = {}
        self._paused: dict[int, str] = {}
        self._changing = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancel_ticks: Cancel | None = None
        self._rang_at: datetime | None = None

    @property
    def last_tick(self) -> datetime | None:
        """When the last look at the folders had ended, of the agent that has waited longest for one; None with nothing to watch.

        A look that hangs lets this grow old, the first look of a new agent too.
        """
        return min((post.looked_at for post in self._posts.values()), default=None)

    @property
    def next_tick(self) -> datetime | None:
        """When the next look at all folders is due; a change is noticed earlier."""
        if self._rang_at is None or self._cancel_ticks is None:
            return None
        return self._rang_at + timedelta(seconds=self._interval_s)

    def problem(self, agent_id: int) -> str | None:
        """Why the agent can't notice files at the moment; it recovers by itself."""
        post = self._posts.get(agent_id)
        return None if post is None else post.watch.problem or post.trouble

    async def set_agents(self, agents: Sequence[Agent]) -> None:
        """Watches these agents' folders and no others. Unchanged agents are left in peace, paused ones are not watched."""
        async with self._changing:
            if self._stopping.is_set():
                return
            self._begin_ticking()
            self._paused = {agent.id: agent.name for agent in agents if agent.paused}
            wanted = {agent.id: agent for agent in agents if not agent.paused}
            for agent_id, post in list(self._posts.items()):
                agent = wanted.get(agent_id)
                if agent is None or agent.revision_id != post.watch.agent.revision_id:
                    await self._retire(agent_id)
            for agent_id, agent in wanted.items():
                if agent_id not in self._posts:
                    post = _Post(watch=AgentWatch(agent, self._context), looked_at=self._clock.now())
                    self._posts[agent_id] = post
                    post.task = asyncio.create_task(self._keep_watching(post), name=f"watch-{agent_id}")

    def look_again(self) -> None:
        """Looks at all folders now and watches anew what was replaced, such as after a sleep."""
        self._tick()

    async def scan_now(self, agent_id: int) -> int:
        """Looks at an agent's folders at once and returns how many new versions were found.

        A file that has not changed for its settle time, by its own time, is handled now; others follow when they rest.
        """
        post = self._posts.get(agent_id)
        if post is None and agent_id in self._paused:
            raise Conflict(f"{self._paused[agent_id]} is paused; resume it first.")
        if post is None:
            raise NotFound("This agent is not there any more; look at the list of agents.")
        before = post.watch.reported  # another look may be under way and find them first
        await post.watch.look_at_all(trust_age=True)
        post.wake.set()  # so that the settle alarm is set for what this look saw
        return post.watch.reported - before

    async def stop(self) -> None:
        """Ends tasks, watches and threads; what was not reported yet will be at the next start."""
        self._stopping.set()
        async with self._changing:
            if self._cancel_ticks is not None:
                self._cancel_ticks()
                self._cancel_ticks = None
            for agent_id in list(self._posts):
                await self._retire(agent_id, disarm=False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await asyncio.to_thread(self._end_threads)

    def _end_threads(self) -> None:
        self._watcher.stop()
        self._threads.shutdown(cancel_futures=True)

    async def _retire(self, agent_id: int, *, disarm: bool = True) -> None:
        post = self._posts.pop(agent_id)
        if post.cancel_settle_alarm is not None:
            post.cancel_settle_alarm()
        if post.task is not None:
            post.task.cancel()
            await asyncio.wait([post.task])
        if disarm:
            await self._in_thread(lambda: self._watcher.disarm(agent_id))

    async def _keep_watching(self, post: _Post) -> None:
        """The life of one agent's watch: a look, then a wait for a tick, a hint or a file that has settled."""
        first = True
        while True:
            began_s = self._clock.monotonic()
            everything, post.everything = post.everything, False
            await self._look(post, everything=everything, first=first)
            if everything:
                post.looked_at = self._clock.now()
            first = False
            took_s = self._clock.monotonic() - began_s
            await post.wake.wait()
            # A folder in turmoil must not take a whole core: rest twice as long as a look takes.
            await asyncio.sleep(max(self._hint_delay_s, min(2 * took_s, MAX_PAUSE_S)))
            post.wake.clear()

    async def _look(self, post: _Post, *, everything: bool, first: bool) -> None:
        if post.cancel_settle_alarm is not None:
            post.cancel_settle_alarm()
            post.cancel_settle_alarm = None
        try:
            if everything:
                await post.watch.look_at_all(trust_age=first)
            await post.watch.look_at_hints()
        except NotFound:  # the agent was removed a moment ago: this watch is about to end
            return
        except HearthError as error:  # the disk is full, say: the next tick tries again
            if post.trouble != str(error):
                self._on_notice(str(error))
            post.trouble = str(error)
            return
        except Exception:  # a bug in one look must not end the watch for good
            log.exception("a look at the folders of agent %d failed", post.watch.agent.id)
            post.trouble = "An internal error keeps Hearth from noticing new files; see its log."
            return
        post.trouble = None
        next_look_s = post.watch.next_look_s()
        if next_look_s is not None:
            post.cancel_settle_alarm = self._alarm.after(next_look_s, post.wake.set)

    def _begin_ticking(self) -> None:
        if self._cancel_ticks is None:
            self._loop = asyncio.get_running_loop()
            self._rang_at = self._clock.now()
            self._cancel_ticks = self._alarm.every(self._interval_s, self._tick)

    def _tick(self) -> None:
        self._rang_at = self._clock.now()
        for post in self._posts.values():
            post.everything = True
            post.wake.set()

    def _hint_arrived(self, agent_id: int) -> None:
        """In a watchdog thread."""
        if self._loop is not None and not self._stopping.is_set():
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._loop.call_soon_threadsafe(self._wake, agent_id)

    def _wake(self, agent_id: int) -> None:
        post = self._posts.get(agent_id)
        if post is not None:
            post.wake.set()

    def _tell_unwatchable(self) -> None:
        if not self._told_unwatchable:
            self._told_unwatchable = True
            self._on_notice(
                "The system can't watch every folder (its limit for watches may be reached), so Hearth looks for new files "
                f"every {self._interval_s:g} seconds; raise fs.inotify.max_user_watches to have them noticed at once."
            )

    async def _in_thread(self, function: Callable[[], T], /) -> T:
        """The function's result. A cancelled caller waits for its end too, lest it go on beside its successor."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future], timeout=STOP_TIMEOUT_S)
            raise
