"""The log holds no private text, rotates and belongs to its owner."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from agents import logs
from agents.logs import close_log, open_log

CANARY = "the user's secret sentence"


def test_an_exception_is_logged_by_its_type_and_place_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "runtime.log"
    handler = open_log(path)
    try:
        try:
            raise ValueError(CANARY)
        except ValueError:
            logging.getLogger("agents.test").exception("something failed")
    finally:
        close_log(handler)
    text = path.read_text()
    assert "something failed" in text
    assert "ValueError at test_logs.py" in text
    assert CANARY not in text


def test_the_log_rotates_and_every_file_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_SIZE_BYTES", 500)
    path = tmp_path / "logs" / "runtime.log"
    handler = open_log(path)
    try:
        for index in range(200):
            logging.getLogger("agents.test").info("line %d", index)
    finally:
        close_log(handler)
    files = sorted(path.parent.iterdir())
    assert len(files) == logs.LOG_FILES
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert all(file.stat().st_size <= 500 for file in files)
