"""The desktop with the real runtime and the built-in model, as a user has them."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agents.contract import FoldersChange
from agents.paths import HomePaths
from app.client import ClientError, RuntimeClient
from app.launch import LaunchOptions, end_runtime, start_runtime
from tests.desktop.conftest import DrivenDesktop
from tests.desktop.fakedesk import FakeDesk, wait_until
from tests.processes import has_ended

LETTER = """Dear members,

the roof of the workshop leaks above the lathe. The board met on 12 November and decided to have it repaired before
the first frost. Lena Okoro will ask two more roofers for an offer by 20 November. Tomas has to send the photos of
the storm to the insurance before the end of the month. Until then nobody may use the lathe when it rains.

Yours, Mara Lind
"""


class House:
    """A home of the test's, at first not made yet."""

    def __init__(self, root: Path) -> None:
        self.paths = HomePaths(root / "home")
        self.inbox = root / "inbox"
        self.inbox.mkdir()
        self._root = root

    def make(self) -> None:
        """Makes a home that watches a folder, so that no keyring is needed and no folder is to be chosen."""
        process = start_runtime(self.paths.root, LaunchOptions(key_file=self._root / "key"))
        try:
            with RuntimeClient(self.paths) as client:
                client.set_folders("Document digest", FoldersChange(folders=[str(self.inbox)]))
        finally:
            end_runtime(process)

    def end(self) -> None:
        """Stops the runtime if one is left."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).wait(20)

    def drop(self, name: str, text: str) -> None:
        beside = self.inbox.parent / f"{name}.part"
        beside.write_text(text)
        beside.rename(self.inbox / name)

    def pid(self) -> int | None:
        """Of the runtime that answers, if one does."""
        with RuntimeClient(self.paths) as client, contextlib.suppress(ClientError):
            return client.status().pid
        return None


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        made = House(Path(folder))
        yield made
        made.end()


@pytest.mark.real
@pytest.mark.timeout(400)
def test_the_desktop_from_a_file_that_arrives_to_quitting(desk: FakeDesk, house: House) -> None:
    house.make()
    desktop = DrivenDesktop(house.paths.root)
    try:
        use_the_desktop(desk, house, desktop)
    finally:
        desktop.kill()


@pytest.mark.real
def test_a_first_start_without_a_keyring_asks_in_the_window(house: House) -> None:
    desktop = DrivenDesktop(house.paths.root, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    try:
        wait_until(lambda: "How shall Hearth keep your data?" in desktop.texts(), "the question")
        desktop.tell("click No encryption")
        desktop.tell("click Continue")
        wait_until(lambda: desktop.state()["line"] == "connected", "the runtime")
        assert any(text.startswith("No folder is watched yet.") for text in desktop.texts())
        desktop.process.send_signal(signal.SIGTERM)
        assert desktop.end() == 0
        assert house.pid() is not None  # the agents' part goes on
    finally:
        desktop.kill()


def use_the_desktop(desk: FakeDesk, house: House, desktop: DrivenDesktop) -> None:
    # it starts the runtime by itself
    desktop.wait_for("window", shown=True)
    wait_until(lambda: "Watching inbox" in desktop.texts(), "Home to say what is watched")
    first = house.pid()
    assert first is not None

    # a file arrives; its result is notified, and the notification opens its run
    house.drop("letter.txt", LETTER)
    note = desk.wait_for_note()
    assert note.body == "Document digest: letter.txt"
    desk.press(note, "Open")
    wait_until(lambda: {"letter.txt", "Done", "RESULT", note.title} <= set(desktop.texts()), "the run's page")
    assert any("tokens/s" in text for text in desktop.texts())

    # the runtime is killed; the desktop starts another and shows the same state
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: house.pid() not in (None, first), "another runtime")
    wait_until(lambda: desktop.state()["line"] == "connected", "the line to stand again")
    desktop.tell("page home")
    wait_until(lambda: note.title in desktop.texts(), "the result after the restart")

    # the model answers a question
    desktop.tell("page chat")
    desktop.tell("write Say hello in one short sentence.")
    desktop.tell("click Send")
    # the model decides how much it says, up to a thousand tokens
    wait_until(
        lambda: any(text.endswith("tokens/s") for text in desktop.texts()), "an answer", patience_s=200
    )

    # quitting stops it all
    second = house.pid()
    assert second is not None
    desk.choose("Quit…")
    desktop.wait_for("question")
    desktop.tell("click Stop the agents too")
    assert desktop.end() == 0, desktop.errors
    wait_until(lambda: has_ended(second), "the runtime to end")
    assert house.pid() is None
