"""The ladder gets more careful, and what worked is remembered in a private file that may be damaged."""

import json
from pathlib import Path

import pytest

from engine.safe_settings import (
    LADDER,
    NOTICES,
    LoadSettings,
    SafeMode,
    SettingsMemory,
    cpu_model,
    settings_key,
)
from engine.state_file import MAX_REMEMBERED, StateFile


@pytest.fixture
def memory(tmp_path: Path) -> SettingsMemory:
    return SettingsMemory(StateFile(tmp_path / "deeper" / "engine.json"))


def test_each_rung_switches_off_more_than_the_one_before() -> None:
    def fast_switches(settings: LoadSettings) -> int:
        return sum(
            [
                settings.use_extra_bufts,
                settings.flash_attention,
                settings.use_mmap,
                not settings.one_thread,
            ]
        )

    counts = [fast_switches(settings) for settings in LADDER.values()]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 4
    assert counts[-1] == 0
    assert list(LADDER) == list(SafeMode)


def test_only_full_speed_needs_no_word_to_the_user() -> None:
    assert {mode for mode in SafeMode if NOTICES[mode] is None} == {SafeMode.FULL_SPEED}


def test_what_worked_is_remembered_by_another_instance(memory: SettingsMemory, tmp_path: Path) -> None:
    memory.remember("k", SafeMode.PLAIN_BUFFERS)
    again = SettingsMemory(StateFile(tmp_path / "deeper" / "engine.json"))
    assert again.recall("k") is SafeMode.PLAIN_BUFFERS
    assert again.recall("other") is None


def test_the_file_is_private_and_no_draft_stays(memory: SettingsMemory, tmp_path: Path) -> None:
    memory.remember("k", SafeMode.FULL_SPEED)
    path = tmp_path / "deeper" / "engine.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["engine.json"]


def test_forgetting_lets_the_next_start_test_again(memory: SettingsMemory) -> None:
    memory.remember("k", SafeMode.MOST_CAREFUL)
    memory.remember("l", SafeMode.FULL_SPEED)
    memory.forget("k")
    assert memory.recall("k") is None
    assert memory.recall("l") is SafeMode.FULL_SPEED


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"format": 1, "settings": []}',
        '{"format": 1, "settings": {"k": "warp"}}',
        '{"format": 1, "settings": {"k": ["full_speed"]}}',
    ],
)
def test_a_damaged_file_only_forgets(tmp_path: Path, content: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(content, encoding="utf-8")
    memory = SettingsMemory(StateFile(path))
    assert memory.recall("k") is None
    memory.remember("k", SafeMode.FULL_SPEED)
    assert memory.recall("k") is SafeMode.FULL_SPEED


def test_old_entries_make_room(memory: SettingsMemory, tmp_path: Path) -> None:
    for number in range(MAX_REMEMBERED + 5):
        memory.remember(f"k{number}", SafeMode.FULL_SPEED)
    content = json.loads((tmp_path / "deeper" / "engine.json").read_text(encoding="utf-8"))
    assert len(content["settings"]) == MAX_REMEMBERED
    assert memory.recall("k0") is None
    assert memory.recall(f"k{MAX_REMEMBERED + 4}") is SafeMode.FULL_SPEED


def test_the_key_depends_on_model_build_and_processor() -> None:
    base = settings_key(fingerprint="f", build="b", cpu="c")
    assert base == settings_key(fingerprint="f", build="b", cpu="c")
    others = {
        settings_key(fingerprint="x", build="b", cpu="c"),
        settings_key(fingerprint="f", build="x", cpu="c"),
        settings_key(fingerprint="f", build="b", cpu="x"),
        settings_key(fingerprint="fb", build="", cpu="c"),
    }
    assert base not in others
    assert len(others) == 4


def test_the_processor_has_a_stable_name() -> None:
    assert cpu_model()
    assert cpu_model() == cpu_model()
