"""The built-in model in a real child. The self-test runs once in a session; each test starts from what it found."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.builtin import built_in_model
from engine.host.restarts import RestartPolicy
from engine.supervisor import EngineSupervisor
from tests.engine.support import ROOT

Make = Callable[..., EngineSupervisor]
COMMAND = (sys.executable, "-m", "engine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a real test."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def state_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine") / "engine.json"


@pytest.fixture
async def make(state_file: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """Supervisors on the built-in model that are stopped after the test."""
    made: list[EngineSupervisor] = []

    def factory(**changes: Any) -> EngineSupervisor:
        fields: dict[str, Any] = {
            "model": built_in_model(),
            "command": COMMAND,
            "state_file": state_file,
            "log_file": tmp_path / "engine.log",
            "policy": RestartPolicy(backoff_s=(0.01,)),
        }
        environment = {"PYTHONPATH": str(ROOT), **changes.pop("env", {})}
        made.append(EngineSupervisor(**{**fields, **changes}, env=environment))
        return made[-1]

    yield factory
    for engine in made:
        await engine.stop()
