"""Changes outside of Hearth that are made once: the intent is a row before the change, what came of it a row after.

Runs in: the runtime's event loop. A crash can fall between the change and its second row. Then the change itself is looked for: where
it is there it is done; where it can't be found it is made again if that does no harm; else the run ends as unverified and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from agents.core import Effect, EffectKind
from agents.runs.problems import Unverified

FINISH_S = 1.5  # a change that has begun may end, also when its run is cancelled


class Trace(StrEnum):
    """What is left of an intent in the world."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a look at the world said; `outcome` belongs to DONE."""

    trace: Trace
    outcome: Any = field(default=None, repr=False)  # JSON value


class Change(Protocol):
    """One kind of change. `perform` and `find` get the request as it stood at the first intent."""

    kind: EffectKind
    is_idempotent: bool  # making it twice is the same as making it once
    doubt: str  # one sentence: nobody knows whether it happened

    def file_of(self, request: Any) -> tuple[Path, str] | None:
        """Path and sha256 of the file that it writes, if it writes one: its own agent is not woken by that."""
        ...

    async def find(self, request: Any) -> Found: ...
    async def perform(self, request: Any) -> Any: ...


class EffectStore(Protocol):
    """The part of the run store that effects need."""

    async def put_effect(
        self,
        run_id: int,
        key: str,
        kind: str,
        request: Any,
        *,
        path: Path | None = None,
        content_hash: str | None = None,
    ) -> Effect: ...
    async def settle_effect(self, run_id: int, key: str, outcome: Any) -> Any: ...
    async def effects(self, run_id: int) -> list[Effect]: ...


async def make_once(
    store: EffectStore,
    run_id: int,
    *,
    key: str,
    request: Any,
    change: Change,
    at: Callable[[str], None],
) -> Any:
    """The outcome of effect `key`, which is made now unless an earlier attempt at the run made it.

    `at` is called with the name of each boundary that a crash could fall on. Raises what `perform` raises, or Unverified.
    """
    intended_before = any(effect.key == key for effect in await store.effects(run_id))
    path, content_hash = change.file_of(request) or (None, None)
    effect = await store.put_effect(run_id, key, change.kind, request, path=path, content_hash=content_hash)
    at("effect intended")
    if effect.outcome is not None:
        return effect.outcome
    if intended_before:
        found = await change.find(effect.request)
        if found.trace is Trace.DONE:
            await store.settle_effect(run_id, key, found.outcome)
            at("effect settled")
            return found.outcome
        if found.trace is Trace.UNKNOWN and not change.is_idempotent:
            raise Unverified(change.doubt)
    return await _perform(store, run_id, effect, change, at)


async def _perform(
    store: EffectStore, run_id: int, effect: Effect, change: Change, at: Callable[[str], None]
) -> Any:
    """What has begun is let finish when the run is cancelled meanwhile, so that its outcome is known."""

    async def work() -> Any:
        outcome = await change.perform(effect.request)
        at("effect made")
        await store.settle_effect(run_id, effect.key, outcome)
        at("effect settled")
        return outcome

    task = asyncio.ensure_future(work())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait({task}, timeout=FINISH_S)
        if not done:
            task.cancel()
        elif not task.cancelled():
            task.exception()  # looked at: the cancellation is what counts now
        raise
