"""The demo's places: made, used, and gone again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pypdf
import pytest

from app.cli.common import WrongInput
from app.cli.demo.stage import demo_documents, ended_by_signals, kill_engine, open_stage


def test_the_throw_away_home_is_private_short_and_goes_away() -> None:
    with open_stage(None, keep=False) as stage:
        root = stage.home.parent
        assert root.stat().st_mode & 0o777 == 0o700
        assert len(str(stage.home)) < 80
        assert not stage.inbox.is_relative_to(stage.home)
        (stage.home / "deep").mkdir()
        (stage.home / "deep" / "file").touch()
    assert not root.exists()


def test_it_goes_away_also_when_the_demo_is_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt), open_stage(None, keep=False) as stage:  # noqa: PT012
        stage.drop(stage.documents[0])
        raise KeyboardInterrupt
    assert not stage.home.parent.exists()


def test_a_temporary_folder_with_a_long_path_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with open_stage(None, keep=False) as stage:
        assert not stage.home.is_relative_to(long)
    assert list(long.iterdir()) == []


def test_a_named_home_is_kept_when_asked_for(tmp_path: Path) -> None:
    with open_stage(tmp_path / "h", keep=True) as stage:
        assert stage.home == tmp_path / "h"
        stage.drop(stage.documents[0])
    assert (tmp_path / "h").is_dir()
    assert (tmp_path / "h-inbox" / "meeting-notes.md").is_file()


def test_a_named_home_is_left_as_it_was_found(tmp_path: Path) -> None:
    home = tmp_path / "h"
    home.mkdir()
    with open_stage(home, keep=False) as stage:
        (stage.home / "hearth.db").touch()
        stage.drop(stage.documents[0])
    assert list(home.iterdir()) == []
    assert not (tmp_path / "h-inbox").exists()


@pytest.mark.parametrize("used", ["h", "h-inbox"])
def test_a_home_that_is_in_use_is_refused_and_untouched(tmp_path: Path, used: str) -> None:
    (tmp_path / used).mkdir()
    (tmp_path / used / "mine").write_text("precious")
    with pytest.raises(WrongInput, match="is not empty"), open_stage(tmp_path / "h", keep=False):
        pass
    assert (tmp_path / used / "mine").read_text() == "precious"


def test_a_place_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(WrongInput, match="Not a directory"),
        open_stage(tmp_path / "file" / "h", keep=False),
    ):
        pass


def test_a_document_arrives_complete_under_its_own_name() -> None:
    with open_stage(None, keep=False) as stage:
        for document in stage.documents:
            arrived = stage.drop(document)
            assert arrived.read_bytes() == document.read_bytes()
        assert sorted(path.name for path in stage.inbox.iterdir()) == sorted(
            document.name for document in stage.documents
        )


def test_the_documents_are_three_and_the_last_is_a_long_report() -> None:
    notes, letter, report = demo_documents()
    assert (notes.suffix, letter.suffix, report.suffix) == (".md", ".txt", ".pdf")
    with report.open("rb") as file:
        pages = [page.extract_text() for page in pypdf.PdfReader(file).pages]
    assert len(pages) >= 3
    assert len(" ".join(pages).split()) >= 2_500


def test_a_signal_to_end_unwinds_the_demo_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ended_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_a_child_of_the_runtime_is_ever_killed() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        assert not kill_engine(stranger.pid, os.getpid())
        assert not kill_engine(stranger.pid, stranger.pid)
        assert stranger.poll() is None
        assert kill_engine(os.getpid(), stranger.pid)
        assert stranger.wait() == -signal.SIGKILL
