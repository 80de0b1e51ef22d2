"""The log holds no private text, rotates and belongs to its owner."""

from __future__ import annotations

import asyncio
import gc
import logging
import stat
import warnings
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


def test_the_errors_behind_an_error_are_logged_too(tmp_path: Path) -> None:
    def fails() -> None:
        raise KeyError(CANARY)

    path = tmp_path / "runtime.log"
    handler = open_log(path)
    try:
        try:
            try:
                fails()
            except KeyError as error:
                raise ExceptionGroup(CANARY, [ValueError(CANARY), error]) from error
        except ExceptionGroup:
            logging.getLogger("agents.test").exception("something failed")
    finally:
        close_log(handler)
    text = path.read_text()
    assert "ExceptionGroup at test_logs.py" in text
    assert "; from KeyError at test_logs.py" in text
    assert "; holds ValueError at " in text
    assert text.count(" fails < ") == 2
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


@pytest.fixture
def bare_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging as it is in a program: nobody listens but logging's last resort, which writes to stderr."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.mark.usefixtures("bare_root")
def test_a_librarys_record_is_written_without_what_it_may_quote_and_never_to_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runtime.log"
    library = logging.getLogger("library.part")
    handler = open_log(path)
    try:
        library.info("not worth a line")
        library.warning("job %s was missed", CANARY)
        library.warning(f"{CANARY} was missed")
        library.warning(ValueError(CANARY))
        try:
            raise ValueError(CANARY)
        except ValueError:
            library.exception(f"Exception in callback look_at('{CANARY}')")
    finally:
        close_log(handler)
    text = path.read_text()
    assert CANARY not in text
    assert "not worth a line" not in text
    assert "WARNING library.part: job %s was missed (test_logs.py:" in text
    assert "ERROR library.part: Exception in callback (test_logs.py:" in text
    assert "ValueError at test_logs.py" in text
    assert text.count("WARNING library.part: (test_logs.py:") == 2
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("bare_root")
def test_a_task_that_fails_unseen_is_logged_without_its_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fails() -> None:
        raise ValueError(CANARY)

    async def forgets() -> None:
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        del task
        gc.collect()

    path = tmp_path / "runtime.log"
    handler = open_log(path)
    try:
        asyncio.run(forgets())
    finally:
        close_log(handler)
    text = path.read_text()
    assert "ERROR asyncio: Task exception was never retrieved" in text
    assert "ValueError at test_logs.py" in text
    assert CANARY not in text + capfd.readouterr().err


def test_what_another_handler_left_in_a_record_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "runtime.log"
    logger = logging.getLogger("agents.test")
    careless = logging.StreamHandler((tmp_path / "elsewhere").open("w"))
    handler = open_log(path)
    logger.addHandler(careless)
    try:
        try:
            raise ValueError(CANARY)
        except ValueError:
            logger.exception("something failed")
    finally:
        logger.removeHandler(careless)
        careless.stream.close()
        close_log(handler)
    assert CANARY in (tmp_path / "elsewhere").read_text()
    assert CANARY not in path.read_text()


@pytest.mark.usefixtures("bare_root")
def test_a_record_that_can_not_be_written_is_lost_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = open_log(tmp_path / "runtime.log")

    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(handler.stream, "write", full)
            logging.getLogger("agents.test").error("%s", CANARY)
        logging.getLogger("agents.test").error("there is space again")
    finally:
        close_log(handler)
    assert capfd.readouterr().err == ""
    assert "there is space again" in (tmp_path / "runtime.log").read_text()


def test_closing_the_log_makes_logging_as_it_was(tmp_path: Path) -> None:
    def state() -> list[object]:
        loggers = [logging.getLogger(name) for name in ("", "agents", "engine")]
        return [logging.lastResort, *((logger.level, tuple(logger.handlers)) for logger in loggers)]

    before = state()
    handler = open_log(tmp_path / "runtime.log")
    assert logging.lastResort is None
    close_log(handler)
    assert state() == before


def test_warnings_of_libraries_go_into_the_log_without_what_they_quote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "runtime.log"
    handler = open_log(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"a library met {CANARY}", RuntimeWarning, stacklevel=1)
    finally:
        close_log(handler)
    assert CANARY not in path.read_text() + capsys.readouterr().err
