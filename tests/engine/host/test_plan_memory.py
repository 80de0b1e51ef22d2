"""What worked on this computer is remembered in a private file that may be damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.host.descent import Rung
from engine.host.machine import cpu_model, free_memory_bytes, total_memory_bytes
from engine.host.plan_memory import PlanMemory, plan_key
from engine.host.state_file import MAX_REMEMBERED, StateFile
from engine.model import KvType, ModelSpec
from engine.plans import LoadPlan
from engine.safe_settings import SafeMode

FAST = Rung(plan=LoadPlan(), mode=SafeMode.FULL_SPEED)
CAREFUL = Rung(plan=LoadPlan(n_ctx=2048, n_gpu_layers=7, kv_type=KvType.Q8_0), mode=SafeMode.MOST_CAREFUL)


@pytest.fixture
def memory(tmp_path: Path) -> PlanMemory:
    return PlanMemory(StateFile(tmp_path / "deeper" / "engine.json"))


def test_what_worked_is_remembered_by_another_instance(memory: PlanMemory, tmp_path: Path) -> None:
    memory.remember("k", CAREFUL)
    again = PlanMemory(StateFile(tmp_path / "deeper" / "engine.json"))
    assert again.recall("k") == CAREFUL
    assert again.recall("other") is None


def test_the_file_is_private_and_no_draft_stays(memory: PlanMemory, tmp_path: Path) -> None:
    memory.remember("k", FAST)
    path = tmp_path / "deeper" / "engine.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["engine.json"]


def test_forgetting_lets_the_next_start_try_again(memory: PlanMemory) -> None:
    memory.remember("k", CAREFUL)
    memory.remember("l", FAST)
    memory.forget("k")
    assert memory.recall("k") is None
    assert memory.recall("l") == FAST


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"format": 1, "plans": []}',
        '{"format": 1, "plans": {"k": "warp"}}',
        '{"format": 1, "plans": {"k": ["full_speed"]}}',
        '{"format": 1, "plans": {"k": "{\\"plan\\": {}, \\"mode\\": \\"warp\\"}"}}',
        '{"format": 1, "plans": {"k": "{\\"mode\\": \\"full_speed\\"}"}}',
    ],
)
def test_a_damaged_file_only_forgets(tmp_path: Path, content: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(content, encoding="utf-8")
    memory = PlanMemory(StateFile(path))
    assert memory.recall("k") is None
    memory.remember("k", FAST)
    assert memory.recall("k") == FAST


def test_old_entries_make_room(memory: PlanMemory, tmp_path: Path) -> None:
    for number in range(MAX_REMEMBERED + 5):
        memory.remember(f"k{number}", FAST)
    content = json.loads((tmp_path / "deeper" / "engine.json").read_text(encoding="utf-8"))
    assert len(content["plans"]) == MAX_REMEMBERED
    assert memory.recall("k0") is None
    assert memory.recall(f"k{MAX_REMEMBERED + 4}") == FAST


def test_the_key_depends_on_model_build_computer_and_wishes() -> None:
    def key(**changes: Any) -> str:
        wishes = changes.pop("wishes", {})
        fields: dict[str, Any] = {
            "fingerprint": "f",
            "build": "b",
            "cpu": "c",
            "devices": ("g",),
            "memory_bytes": 8,
        }
        model = ModelSpec(path=Path("/m.gguf"), name="m", **wishes)
        return plan_key(**{**fields, **changes}, model=model)

    others = [
        key(fingerprint="x"),
        key(build="x"),
        key(cpu="x"),
        key(devices=()),
        key(memory_bytes=9),
        key(fingerprint="fb", build=""),
        key(wishes={"n_ctx": 512}),
        key(wishes={"kv_type": KvType.Q4_0}),
        key(wishes={"n_gpu_layers": 0}),
    ]
    assert key() == key()
    assert len({key(), *others}) == 1 + len(others)


def test_the_computer_is_described_the_same_at_every_start() -> None:
    assert cpu_model()
    assert cpu_model() == cpu_model()
    assert 0 < free_memory_bytes() < total_memory_bytes()
