"""Supervisors around a child with a fake model."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.supervisor import EngineSupervisor
from tests.engine.supervisor.asking import QUICK, Make
from tests.engine.support import FAKE_CHILD, model_file


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Supervisors that are stopped after the test."""
    made: list[EngineSupervisor] = []

    def factory(**changes: Any) -> EngineSupervisor:
        fields: dict[str, Any] = {
            "model": changes.pop("model", None) or model_file(tmp_path),
            "command": FAKE_CHILD,
            "state_file": tmp_path / "engine.json",
            "log_file": tmp_path / "engine.log",
            "policy": QUICK,
        }
        made.append(EngineSupervisor(**{**fields, **changes}))
        return made[-1]

    yield factory
    for engine in made:
        await engine.stop()
