"""Opens a home's database and models, and serves it until somebody asks to stop. Runs in: the runtime process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from agents.api import ListenOptions, open_door
from agents.clock import Clock
from agents.credentials import KeyOptions, remember_key, resolve_key
from agents.errors import StoreProblem
from agents.paths import HomePaths
from agents.printable import printable
from agents.runtime import Runtime
from agents.storage import Store
from agents.storage.restoring import open_or_restore
from engine.builtin import built_in_embedder, built_in_model, makes_vectors
from engine.errors import ModelInvalid, ModelMissing
from engine.model import CacheSpec, ModelSpec

CACHE_KEY = "prefix_cache_key"
CACHE_RAM_SHARE = 0.05  # of the computer's memory, for states beside the KV cache of a model

log = logging.getLogger(__name__)


async def serve(
    paths: HomePaths,
    *,
    key_options: KeyOptions,
    model: Path | None,
    clock: Clock,
    on_runtime: Callable[[Runtime], None],
    on_stop_asked: Callable[[], None],
    say: Callable[[str], None],
    restore_backup: bool = False,
    listen: ListenOptions | None = None,
) -> None:
    """Opens the home's database and serves until asked to stop. The caller holds the home's lock.

    Raises HearthError or EngineError when it can't start.
    """
    default_model = await asyncio.to_thread(_chat_model, model) if model else built_in_model()
    key = await asyncio.to_thread(resolve_key, paths, key_options)
    with contextlib.ExitStack() as undo:
        door = open_door(listen, home_key_file=paths.api_key) if listen else None
        if door is not None:
            undo.callback(door.listener.close)
        opened = await open_or_restore(paths, key, clock=clock, restore=restore_backup)
        # Only now: a key that does not open the database is not worth remembering.
        await asyncio.to_thread(remember_key, paths, key)
        undo.pop_all()
    runtime = Runtime(
        paths=paths,
        store=opened.store,
        key=key,
        clock=clock,
        default_model=default_model,
        other_models=_embedders(),
        cache=await _cache_of(paths, opened.store),
        door=door,
        notice=opened.notice,
        on_stop_asked=on_stop_asked,
        say=say,
    )
    on_runtime(runtime)
    await runtime.run()


async def _cache_of(paths: HomePaths, store: Store) -> CacheSpec:
    """Computed prompts go to disk only where the home is encrypted, under a key that lies in its database."""
    plain = CacheSpec()
    ram_bytes = min(plain.ram_bytes, int(psutil.virtual_memory().total * CACHE_RAM_SHARE))
    if not store.encrypted:
        return replace(plain, ram_bytes=ram_bytes)
    try:
        key = await store.meta.get(CACHE_KEY)
        if key is None:
            key = secrets.token_hex(32)
            await store.meta.set(CACHE_KEY, key)
    except StoreProblem as problem:  # such as a full disk: then there is no room for computed prompts either
        log.warning("computed prompts are not kept on disk: %s", problem.code)
        return replace(plain, ram_bytes=ram_bytes)
    return CacheSpec(ram_bytes=ram_bytes, folder=paths.prefixes, key=key)


def _chat_model(path: Path) -> ModelSpec:
    """The user's own model. Raises ModelInvalid for one that agents can't talk to; the rest shows when it is loaded."""
    if makes_vectors(path):
        raise ModelInvalid(
            f"The model {printable(path)} turns texts into vectors and writes none; choose a chat model."
        )
    return ModelSpec(path=path, name=path.stem)


def _embedders() -> list[ModelSpec]:
    """The model for vectors, where it is installed; without it everything else works."""
    with contextlib.suppress(ModelMissing):
        return [built_in_embedder()]
    return []
