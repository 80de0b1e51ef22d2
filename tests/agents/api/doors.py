"""The TCP door with a scripted engine behind it, and the official clients in front of it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai

from agents.api import ApiServer, ListenOptions, Metrics, create_model_door, open_door
from agents.api.connection import ConnectionLimits
from agents.clock import SystemClock
from agents.models.metering import MeteredEngine
from agents.models.served import ServedModels
from engine.builtin import built_in_embedder
from engine.fakes import ScriptedEngine
from engine.model import ModelSpec

MODEL = "scripted-model"
EMBEDDER = "scripted-vectors"


class Pool:
    """Gives every model the same engine."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def engine(self, _: str) -> Any:
        return self._engine


@dataclass(frozen=True, kw_only=True)
class Door:
    url: str
    port: int
    key: str
    http: httpx2.AsyncClient  # shows the key
    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic
    engine: ScriptedEngine
    metrics: Metrics

    @property
    def asked(self) -> Any:
        """The one request that the engine has seen."""
        [request] = self.engine.requests
        return request


@dataclass(frozen=True)
class Services:
    models: ServedModels
    metrics: Metrics


@asynccontextmanager
async def door_for(engine: ScriptedEngine, *, limits: ConnectionLimits | None = None) -> AsyncIterator[Door]:
    metrics = Metrics()
    metered = MeteredEngine(engine, model="Scripted", meter=metrics, clock=SystemClock())
    metrics.watch("Scripted", metered)
    models = ServedModels(
        engines=Pool(metered),  # type: ignore[arg-type]
        default=ModelSpec(path=Path("/nowhere/model.gguf"), name="Scripted model"),
        others=[ModelSpec(path=built_in_embedder().path, name="Scripted vectors")],
    )
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "key"
        door = open_door(ListenOptions(address="127.0.0.1:0"), home_key_file=key_file)
        key = key_file.read_text().strip()
    app = create_model_door(Services(models, metrics), version="1", address=door.address, key=door.key)
    server = ApiServer(app, door.listener, limits=limits)
    await server.start()
    url = f"http://{door.address.shown}"
    try:
        async with (
            httpx2.AsyncClient(
                base_url=url,
                trust_env=False,
                verify=False,
                timeout=20,
                headers={"authorization": f"Bearer {key}"},
            ) as http,
            openai.AsyncOpenAI(
                base_url=f"{url}/v1",
                api_key=key,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(trust_env=False, verify=False),
            ) as openai_client,
            anthropic.AsyncAnthropic(
                base_url=url,
                api_key=key,
                max_retries=0,
                http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False, verify=False),
            ) as anthropic_client,
        ):
            yield Door(
                url=url,
                port=door.address.port,
                key=key,
                http=http,
                openai=openai_client,
                anthropic=anthropic_client,
                engine=engine,
                metrics=metrics,
            )
    finally:
        await server.stop(3.0)
