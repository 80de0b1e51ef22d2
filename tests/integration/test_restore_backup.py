"""A home whose database was damaged comes back from its backup, when its user asks for that."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta

from agents import contract
from app.launch import LaunchOptions, start_runtime
from tests.integration.conftest import DIGEST, House, eventually
from tests.integration.test_serve_trouble import assert_one_sentence, serve


def test_what_the_first_day_brought_is_in_the_backup_that_an_ordered_stop_makes(house: House) -> None:
    house.start()
    eventually(lambda: list(house.paths.backups.glob("*.db")), what="the first backup")
    [first] = house.paths.backups.glob("*.db")
    half_an_hour_ago = datetime.now(UTC) - timedelta(minutes=30)
    first.rename(first.with_name(f"hearth-{half_an_hour_ago:%Y%m%d-%H%M%S}.db"))
    house.watch()
    assert house.stop() == 0
    house.paths.database.unlink()

    house.process = start_runtime(house.paths.root, LaunchOptions(restore_backup=True))
    assert house.client.agent(DIGEST).folders == [str(house.inbox)]


def test_a_home_that_lost_everything_but_its_key_is_told_so_and_may_begin_anew(house: House) -> None:
    house.start()
    house.stop()
    house.paths.database.unlink()
    shutil.rmtree(house.paths.backups)

    code, said = serve(house.paths.root)
    assert code == 1
    assert_one_sentence(said, "missing", str(house.paths.key_info), "begin anew")
    assert not house.paths.database.exists()

    house.paths.key_info.unlink()
    house.start()
    assert house.client.agent(DIGEST).name == DIGEST


def test_a_damaged_home_says_what_brings_it_back_and_is_brought_back_by_it(house: House) -> None:
    house.start()
    house.watch()
    eventually(lambda: list(house.paths.backups.glob("*.db")), what="the first backup")
    [backup] = house.paths.backups.glob("*.db")
    house.stop()
    damaged = bytearray(house.paths.database.read_bytes())
    damaged[: len(damaged) // 2] = os.urandom(len(damaged) // 2)
    house.paths.database.write_bytes(damaged)

    code, said = serve(house.paths.root)
    assert code == 1
    assert_one_sentence(said, "damaged", "hearth serve --restore-backup")
    assert house.paths.database.read_bytes() == damaged

    house.process = start_runtime(house.paths.root, LaunchOptions(restore_backup=True))
    status: contract.Status = house.client.status()
    [kept] = house.paths.root.glob("hearth.db.damaged-*")
    assert any("was restored" in notice and kept.name in notice for notice in status.notices)
    assert kept.read_bytes() == damaged
    assert backup.exists()
    assert house.client.agent(DIGEST).name == DIGEST
