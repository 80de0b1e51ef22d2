"""What the owner's routes need of the runtime."""

from __future__ import annotations

from typing import Protocol

from agents import contract
from agents.api.metrics import Metrics
from agents.chat import Chat
from agents.events import EventBus
from agents.hooks import Hooks
from agents.house_limits import HouseLimits
from agents.models.loaded import LoadedModels
from agents.models.served import ServedModels
from agents.registry import Registry
from agents.runs.manager import RunManager
from agents.runs.replay import Repeater
from agents.storage import Store


class Services(Protocol):
    """The runtime as its routes see it."""

    store: Store
    bus: EventBus
    registry: Registry
    runs: RunManager
    repeater: Repeater
    hooks: Hooks
    chat: Chat
    models: ServedModels
    loaded: LoadedModels
    limits: HouseLimits
    metrics: Metrics

    async def status(self) -> contract.Status: ...
    async def doctor(self) -> contract.DoctorReport: ...
    async def retry_engine(self) -> contract.EngineInfo: ...
    async def recovery_code(self) -> contract.RecoveryCode: ...
    async def recovery_code_shown(self) -> None: ...
    async def switch_agents(self, stopped: bool) -> contract.AgentsSwitched: ...
    async def report_presence(self, presence: contract.Presence) -> None: ...
    def ask_to_stop(self) -> None: ...
