"""What `hearth doctor` says about a home that it sees from outside only."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from agents.contract import DoctorReport
from agents.paths import HomePaths
from app.cli import doctor as doctor_module
from app.cli.home_checks import check_backups, check_database, check_home, check_key
from tests.app.cli.conftest import Hearth


@pytest.fixture
def paths(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> HomePaths:
    """A home that was used: a key in a file, a database and a backup."""
    root = short_dir / "home"
    root.mkdir(mode=0o700)
    monkeypatch.setenv("HEARTH_HOME", str(root))
    paths = HomePaths(root)
    key_file = short_dir / "hearth.key"
    key_file.write_text("a key")
    key_file.chmod(0o600)
    note(paths, kind="keyfile", key_file=str(key_file))
    paths.database.write_bytes(b"\x7f" * 4096)
    paths.backups.mkdir()
    (paths.backups / "hearth-20261120.db").write_bytes(b"\x7f" * 4096)
    return paths


def note(paths: HomePaths, **fields: object) -> None:
    paths.key_info.write_text(json.dumps({"version": 1, "account": "a", **fields}))


def key_file_of(paths: HomePaths) -> Path:
    return paths.root.parent / "hearth.key"


@pytest.mark.usefixtures("paths")
def test_a_whole_home_is_fine_and_its_database_is_left_to_the_next_start(
    hearth: Hearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "_import_problem", lambda _: None)
    ended = hearth("doctor")
    assert ended.code == 0, ended.out
    assert "The database is checked at the next start." in " ".join(ended.out.split())
    assert "Everything is fine." in ended.out


def test_a_home_that_can_not_start_ends_the_doctor_with_1_and_a_remedy(
    hearth: Hearth, paths: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "_import_problem", lambda _: None)
    key_file_of(paths).rename(paths.root.parent / "moved.key")
    paths.database.unlink()
    ended = hearth("doctor", "--json")
    assert ended.code == 1
    bad = {
        check.name: check.message
        for check in DoctorReport.model_validate_json(ended.out).checks
        if not check.ok
    }
    assert set(bad) == {"key", "database"}
    assert "`hearth serve --key-file FILE`" in bad["key"]
    assert "`hearth serve --restore-backup`" in bad["database"]
    assert "Everything is fine" not in hearth("doctor").out


def test_a_key_file_that_others_can_read_needs_mending(paths: HomePaths) -> None:
    assert check_key(paths).ok
    key_file_of(paths).chmod(0o644)
    check = check_key(paths)
    assert not check.ok
    assert f"chmod 600 {key_file_of(paths)}" in check.message


def test_a_key_file_that_is_a_folder_needs_mending(paths: HomePaths) -> None:
    key_file_of(paths).unlink()
    key_file_of(paths).mkdir()
    assert "is not a file" in check_key(paths).message
    assert not check_key(paths).ok


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"kind": "odd"}', '{"kind": "keyfile"}'])
def test_a_used_home_that_does_not_know_its_key_needs_mending(paths: HomePaths, content: str) -> None:
    paths.key_info.write_text(content)
    check = check_key(paths)
    assert not check.ok
    assert "--key-file" in check.message
    paths.key_info.unlink()
    assert not check_key(paths).ok


@pytest.mark.parametrize(
    ("kind", "expected"), [("keyring", "keyring"), ("passphrase", "passphrase"), ("none", "not encrypted")]
)
def test_each_way_to_keep_a_key_is_told(paths: HomePaths, kind: str, expected: str) -> None:
    note(paths, kind=kind, key_file=None)
    check = check_key(paths)
    assert check.ok
    assert expected in check.message


def test_a_missing_database_is_told_also_where_no_backup_is_left(paths: HomePaths) -> None:
    paths.database.unlink()
    for backup in paths.backups.iterdir():
        backup.unlink()
    check = check_database(paths)
    assert not check.ok
    assert "begins with an empty one" in check.message


def test_a_new_home_lacks_nothing(tmp_path: Path) -> None:
    paths = HomePaths(tmp_path / "new")
    assert check_key(paths).ok
    assert check_database(paths).ok
    assert check_backups(paths).ok


def test_the_backups_are_counted_and_a_file_in_their_place_is_told(paths: HomePaths) -> None:
    assert check_backups(paths).message.startswith(f"1 backup in {paths.backups}")
    for backup in paths.backups.iterdir():
        backup.unlink()
    paths.backups.rmdir()
    assert check_backups(paths).ok
    paths.backups.touch()
    assert not check_backups(paths).ok


def test_a_home_that_others_can_read_needs_mending(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    check = check_home(HomePaths(tmp_path))
    assert not check.ok
    assert f"chmod 700 {tmp_path}" in check.message
    tmp_path.chmod(0o700)
    assert check_home(HomePaths(tmp_path)).ok


def test_a_home_below_a_file_needs_mending(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = HomePaths(tmp_path / "file" / "home")
    assert not check_home(paths).ok
    assert check_key(paths).ok


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a keyring")
def test_no_session_bus_gives_a_hint_about_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    assert "--key-file" in check_key(HomePaths(tmp_path)).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks into every folder")
def test_a_home_that_can_not_be_looked_into_is_one_sentence(hearth: Hearth, paths: HomePaths) -> None:
    paths.root.chmod(0)
    try:
        assert not check_home(paths).ok
        assert hearth("doctor").code == 1
    finally:
        paths.root.chmod(0o700)
