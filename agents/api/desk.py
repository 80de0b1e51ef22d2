"""What every model route needs: the model that a body names, its engine, who asks, and the words for a new answer."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from agents import __version__
from agents.api.answering import unless_gone
from agents.api.asking import Answer, collect
from agents.api.callers import Caller, caller_of
from agents.api.refusals import Refusal
from agents.models.served import ServedModel, ServedModels
from engine.core import Request as EngineRequest
from engine.supervisor import Engine

FINGERPRINT = f"hearth-{__version__}"
MAX_SHOWN_CHARS = 80

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to a model: which one, by whom, and the answer's id without its API's beginning."""

    model: ServedModel
    engine: Engine
    caller: Caller
    number: str


class Desk:
    """Where requests for models arrive, whatever their API."""

    def __init__(self, models: ServedModels) -> None:
        self.models = models

    def find(self, name: str) -> ServedModel:
        """The model of that id. Raises Refusal (404)."""
        model = self.models.find(name)
        if model is None:
            shown = name[:MAX_SHOWN_CHARS]
            raise Refusal(
                404,
                f"There is no model {shown!r} here; GET /v1/models lists those at hand.",
                code="model_not_found",
                param="model",
            )
        return model

    def ask(self, request: Request, model_name: str) -> Asked:
        """Raises Refusal for an unknown model (404) or a header that can't be read (400)."""
        model = self.find(model_name)
        return Asked(
            model=model,
            engine=self.models.engine(model),
            caller=caller_of(request.headers),
            number=uuid.uuid4().hex,
        )


async def answers(request: Request, asked: Asked, requests: tuple[EngineRequest, ...]) -> list[Answer]:
    """Whole answers; nothing goes on for a caller that went away. Raises Refusal."""
    return await unless_gone(request, collect(asked.engine, requests))


async def done(request: Request, work: Awaitable[T]) -> T:
    """The result of other work of the engine, given up when the caller goes away. Raises Refusal or EngineError."""

    async def waiting() -> T:
        return await work

    return await unless_gone(request, waiting())
