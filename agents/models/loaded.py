"""Which models take memory now, and giving that back when somebody asks for it. Runs in: the runtime's event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agents import contract
from agents.core import BUILT_IN_MODEL
from agents.errors import Conflict, NotFound
from agents.models.local import EnginePool
from agents.models.served import ServedModels


class LoadedModels:
    """The served models, and those that agents name by their file; each has one id."""

    def __init__(
        self, *, engines: EnginePool, served: ServedModels, due: Callable[[], Mapping[str, float]]
    ) -> None:
        """`due` says in how many seconds an armed due time needs a model, by its name in agent files."""
        self._engines = engines
        self._served = served
        self._due = due

    def list(self) -> list[contract.ModelInfo]:
        """The default model first."""
        return [self._info(model_id, key) for model_id, key in self._keys().items()]

    async def unload(self, model_id: str) -> contract.ModelInfo:
        """Raises NotFound for an unknown id, Conflict while somebody uses the model."""
        key = self._key(model_id)
        if self._info(model_id, key).loaded and not await self._engines.unload(key):
            raise Conflict(f"The model {model_id!r} is at work; unload it when it has finished.")
        return self._info(model_id, key)

    def _keys(self) -> dict[str, str]:
        """The key in the engine pool for each id."""
        keys = {model.id: model.key for model in self._served.all if model.id != BUILT_IN_MODEL}
        for key in self._engines.in_use_since_start:
            if key not in keys.values():
                keys[Path(key).stem if Path(key).stem not in keys else key] = key
        return keys

    def _key(self, model_id: str) -> str:
        if model_id == BUILT_IN_MODEL:
            return BUILT_IN_MODEL
        keys = self._keys()
        if model_id not in keys:
            raise NotFound(f"There is no model {model_id!r} here; `hearth models list` shows those at hand.")
        return keys[model_id]

    def _info(self, model_id: str, key: str) -> contract.ModelInfo:
        pooled = self._engines.in_use_since_start.get(key)
        if pooled is None:
            return contract.ModelInfo(
                id=model_id, name=model_id, state="stopped", loaded=False, due_s=self._due().get(key)
            )
        status = pooled.status
        return contract.ModelInfo(
            id=model_id,
            name=status.model_name or model_id,
            state=status.state.value,
            loaded=pooled.is_loaded,
            in_use=pooled.in_use,
            memory_bytes=pooled.memory_bytes if pooled.is_loaded else None,
            idle_s=round(pooled.idle_s, 1) if pooled.is_loaded else None,
            load_progress=status.load_progress,
            due_s=self._due().get(key),
            plan=status.plan,
        )
