"""The models that other programs may name: what is at hand on this machine, each under a short id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agents.core import BUILT_IN_MODEL
from agents.models.local import EnginePool
from engine.builtin import makes_vectors
from engine.model import ModelSpec
from engine.supervisor import Engine


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One model in the list. A request names its id and never a path: no program can make Hearth open a file."""

    id: str
    name: str
    key: str  # as the engine pool takes it
    created: int  # of its file, in seconds since 1970; 0 when there is none


class ServedModels:
    """The default model, which is listed as "built-in" too, as agent files name it, and the others that were handed over."""

    def __init__(self, *, engines: EnginePool, default: ModelSpec, others: Sequence[ModelSpec] = ()) -> None:
        self._engines = engines
        named: dict[str, ServedModel] = {}
        for spec in (default, *others):
            model = _served(spec, BUILT_IN_MODEL if spec is default else str(spec.path))
            named.setdefault(model.id, model)
        first = next(iter(named.values()))
        named.setdefault(BUILT_IN_MODEL, replace(first, id=BUILT_IN_MODEL))
        self.all = tuple(named.values())
        self._by_name = named

    def find(self, name: str) -> ServedModel | None:
        return self._by_name.get(name)

    def embedders(self) -> list[str]:
        """The ids of those that make vectors. Blocking: it reads their files."""
        return [model.id for model in self.all if makes_vectors(Path(model.key))]

    def engine(self, model: ServedModel) -> Engine:
        """Its engine; nothing is loaded before the first request."""
        return self._engines.engine(model.key)


def _served(spec: ModelSpec, key: str) -> ServedModel:
    slug = re.sub(r"[^a-z0-9.]+", "-", spec.name.lower()).strip("-") or BUILT_IN_MODEL
    return ServedModel(id=slug, name=spec.name, key=key, created=_made_at(spec.path))


def _made_at(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0
