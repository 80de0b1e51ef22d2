"""Crash reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.crash_report import REPORTS_KEPT, describe, write_report


def a_bug() -> BaseException:
    def open_letter(name: str) -> None:
        raise KeyError(name)

    try:
        try:
            open_letter("letter to my doctor.txt")
        except KeyError as error:
            raise RuntimeError("could not open letter to my doctor.txt") from error
    except RuntimeError as error:
        return error


def test_a_report_names_types_and_places_and_no_values() -> None:
    text = describe(a_bug())
    assert "doctor" not in text
    assert "builtins.RuntimeError" in text
    assert "builtins.KeyError" in text
    assert "tests/app/test_crash_report.py:" in text
    assert "in open_letter" in text
    assert str(Path.home()) not in text or Path.home() == Path("/")


def test_a_report_goes_into_the_homes_logs_and_two_do_not_meet(tmp_path: Path) -> None:
    first, second = write_report(describe(a_bug()), tmp_path), write_report(describe(a_bug()), tmp_path)
    assert first is not None
    assert second is not None
    assert first != second
    assert first.parent == tmp_path / "logs"
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


def test_without_a_home_the_report_goes_to_the_temporary_folder_and_makes_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    report = write_report(describe(a_bug()), tmp_path / "no home")
    assert report is not None
    assert report.parent == temporary
    assert not (tmp_path / "no home").exists()


def test_when_nothing_can_be_written_there_is_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    assert write_report(describe(a_bug()), None) is None


def test_old_reports_make_room_for_the_new_one(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(REPORTS_KEPT + 5):
        (logs / f"crash-20200101T0000{number:02}000000Z.txt").write_text("old")
    report = write_report(describe(a_bug()), tmp_path)
    assert report is not None
    assert report.exists()
    assert len(list(logs.iterdir())) == REPORTS_KEPT
