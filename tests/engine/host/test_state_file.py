"""Sections of the engine's memory do not disturb each other."""

import json
from pathlib import Path

import pytest

from engine.host.state_file import StateFile


def test_sections_are_apart_and_one_survives_a_change_of_the_other(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    state = StateFile(path)
    state.remember("one", "k", "1")
    StateFile(path).remember("two", "k", "2")
    state.forget("one", "k")
    assert (state.recall("one", "k"), state.recall("two", "k")) == (None, "2")


def test_what_an_older_program_wrote_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text(json.dumps({"format": 1, "settings": {"k": "full_speed"}}), encoding="utf-8")
    state = StateFile(path)
    state.remember("other", "k", "v")
    assert state.recall("settings", "k") == "full_speed"


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateFile(tmp_path / "engine.json")
    state.remember("one", "k", "1")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.host.state_file.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        state.remember("one", "k", "2")
    assert state.recall("one", "k") == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine.json"]
