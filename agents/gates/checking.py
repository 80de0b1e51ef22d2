"""Asks an agent's gates in order, each within its time limit, and stops at the first that is closed.

Runs in: the runtime's event loop, with threads of its own for the disk and for commands.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from agents.clock import Clock
from agents.core import Agent, GateOutcome
from agents.gates.changed import check_changed
from agents.gates.command import check_command
from agents.gates.finding import MAX_STATE_BYTES, Finding
from agents.gates.hours import check_hours
from agents.gates.memory import Remembered, check_memory
from agents.gates.power import check_power
from agents.gates.survey import Cancelled, ContentReader
from agents.gates.url import Fetch, check_url
from agents.triggers import (
    ChangedGate,
    CommandGate,
    Gate,
    HoursGate,
    MemoryGate,
    PowerGate,
    UrlGate,
    gate_key,
)

log = logging.getLogger(__name__)

FILES_LIMIT_S = 30.0
URL_LIMIT_S = 20.0
MEMORY_LIMIT_S = 10.0
COMMAND_GRACE_S = 5.0  # beyond its own limit, for its end
THREADS = 16  # made when they are needed; a disk that does not answer keeps its own
_INTERNAL = "an internal error kept it from being checked; see Hearth's log"


class GateKeeper:
    """`on_ac` tells whether the computer is plugged in, None where nothing tells. `fetch` is for tests."""

    def __init__(
        self,
        *,
        clock: Clock,
        on_ac: Callable[[], bool | None],
        remembered: Remembered,
        fetch: Fetch | None = None,
        files_limit_s: float = FILES_LIMIT_S,
        url_limit_s: float = URL_LIMIT_S,
    ) -> None:
        self._clock = clock
        self._on_ac = on_ac
        self._remembered = remembered
        self._fetch = fetch
        self._files_limit_s = files_limit_s
        self._url_limit_s = url_limit_s
        self._reader = ContentReader()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="hearth-gates")
        self._in_check: set[threading.Event] = set()

    async def check(self, agent: Agent, states: Mapping[str, str]) -> list[GateOutcome]:
        """What each gate said, up to the first closed one; `states` is by gate_key. Trouble is a closed gate, never an exception."""
        outcomes: list[GateOutcome] = []
        for gate in agent.definition.gates:
            key = gate_key(gate)
            finding = await self._check_in_time(gate, agent, states.get(key))
            state = finding.state if len((finding.state or "").encode()) <= MAX_STATE_BYTES else None
            outcomes.append(
                GateOutcome(
                    gate=gate.check, key=key, is_open=finding.is_open, detail=finding.detail, state=state
                )
            )
            if not finding.is_open:
                break
        return outcomes

    async def stop(self) -> None:
        """Ends what is being checked; a disk that does not answer is not waited for."""
        for cancelled in self._in_check:
            cancelled.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _check_in_time(self, gate: Gate, agent: Agent, state: str | None) -> Finding:
        limit_s = self._limit_s(gate)
        cancelled = threading.Event()
        self._in_check.add(cancelled)
        try:
            async with asyncio.timeout(limit_s):
                return await self._check(gate, agent, state, cancelled)
        except TimeoutError:
            return Finding(is_open=False, detail=f"it could not be checked within {limit_s:g} s")
        except Cancelled:
            return Finding(is_open=False, detail="Hearth was stopped while it was checked")
        except Exception:  # a bug in one gate must not hold up the others, nor open it
            log.exception("a gate of agent %d (%s) can't be checked", agent.id, gate.check)
            return Finding(is_open=False, detail=_INTERNAL)
        finally:
            cancelled.set()
            self._in_check.discard(cancelled)

    async def _check(
        self, gate: Gate, agent: Agent, state: str | None, cancelled: threading.Event
    ) -> Finding:
        definition = agent.definition
        match gate:
            case HoursGate():
                return check_hours(gate, self._clock.now())
            case PowerGate():
                return check_power(self._on_ac())
            case MemoryGate():
                return await check_memory(gate, self._remembered)
            case UrlGate():
                return await check_url(gate, state, hosts=definition.hosts, fetch=self._fetcher())
            case ChangedGate():
                return await self._in_thread(
                    lambda: check_changed(
                        gate,
                        state,
                        read_folders=definition.read_folders,
                        reader=self._reader,
                        cancelled=cancelled,
                    )
                )
            case CommandGate():
                return await self._in_thread(
                    lambda: check_command(gate, granted=definition.commands, cancelled=cancelled)
                )
            case _:
                assert_never(gate)

    async def _in_thread(self, work: Callable[[], Finding]) -> Finding:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _fetcher(self) -> Fetch:
        if self._fetch is None:
            from agents.gates.fetching import PageFetcher  # costs memory that most homes never need

            self._fetch = PageFetcher()
        return self._fetch

    def _limit_s(self, gate: Gate) -> float:
        match gate:
            case ChangedGate():
                return self._files_limit_s
            case UrlGate():
                return self._url_limit_s
            case CommandGate():
                return gate.timeout_s + COMMAND_GRACE_S
            case _:
                return MEMORY_LIMIT_S
