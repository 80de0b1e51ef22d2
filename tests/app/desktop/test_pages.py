"""The pages on a real line to a stand-in runtime: what they show and what they ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QPlainTextEdit, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from agents.contract import (
    AgentAdd,
    ChatDelta,
    ChatDone,
    ChatProgress,
    ChatRequest,
    ChatStarted,
    EngineInfo,
    FoldersChange,
    RunChanged,
    RunNow,
    StepChanged,
)
from app.desktop.dialogs.folders import FoldersDialog
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.pages.agents import AgentsPage
from app.desktop.pages.chat import ChatPage
from app.desktop.pages.home import HomePage
from app.desktop.pages.run import RunPage
from app.desktop.theme.theme import Theme
from tests.app.desktop.desk import ScriptedAsker, connect, pump, texts_of
from tests.app.desktop.fake_runtime import FakeRuntime, a_conversation, a_result, a_run, a_step, an_agent


def shown(qtbot: QtBot, page: QWidget, width: int = 900) -> Any:
    qtbot.addWidget(page)
    page.resize(width, 700)
    page.show()
    pump()
    return page


def press(qtbot: QtBot, widget: QWidget, name: str) -> None:
    """Clicks the visible button with this text or accessible name."""
    buttons = [b for b in widget.findChildren(QPushButton) if name in (b.text(), b.accessibleName())]
    visible = [b for b in buttons if b.isVisible() and b.isEnabled()]
    assert visible, f"no button {name!r} among {[b.text() for b in widget.findChildren(QPushButton)]}"
    qtbot.mouseClick(visible[0], Qt.MouseButton.LeftButton)


def wait_for_text(qtbot: QtBot, widget: QWidget, text: str) -> None:
    qtbot.waitUntil(lambda: any(text in each for each in texts_of(widget)), timeout=5000)


# --- home


def test_home_follows_a_file_from_arrival_to_result(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink, theme: Theme
) -> None:
    page = shown(qtbot, HomePage(theme, link))
    runtime.emit(RunChanged(run=a_run(1, status="pending")))
    wait_for_text(qtbot, page, "note-1.md")
    runtime.emit(
        RunChanged(run=a_run(1, status="running")),
        StepChanged(run_id=1, step=a_step(1, title="Summarise part 1 of 3", status="running")),
    )
    wait_for_text(qtbot, page, "Summarise part 1 of 3")
    runtime.emit(RunChanged(run=a_run(1, status="failed", reason="It is empty.")))
    wait_for_text(qtbot, page, "It is empty.")
    assert "Nothing is running at the moment." in texts_of(page)


def test_a_click_on_a_result_opens_its_run(
    qtbot: QtBot, runtime: FakeRuntime, make_link: Callable[..., RuntimeLink], theme: Theme
) -> None:
    runtime.results = [a_result(4, run_id=40)]
    link = make_link()
    connect(qtbot, link)
    page = shown(qtbot, HomePage(theme, link))
    row = next(b for b in page.findChildren(QPushButton) if b.accessibleName().startswith("Result 4"))
    with qtbot.waitSignal(page.open_run) as opened:
        row.setFocus()
        qtbot.keyClick(row, Qt.Key.Key_Space)
    assert opened.args == [40]


def test_an_empty_home_says_what_to_do(
    qtbot: QtBot, runtime: FakeRuntime, make_link: Callable[..., RuntimeLink], theme: Theme
) -> None:
    runtime.agents = {"Document digest": an_agent(folders=[], paused=True)}
    link = make_link()
    connect(qtbot, link)
    page = shown(qtbot, HomePage(theme, link))
    with qtbot.waitSignal(page.choose_folders):
        press(qtbot, page, "Choose a folder…")


def test_a_model_that_was_set_aside_can_be_tried_again(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink, theme: Theme
) -> None:
    page = shown(qtbot, HomePage(theme, link))
    broken = EngineInfo(
        state="set_aside", model="m.gguf", reason="The model died three times in five minutes."
    )
    runtime.status = runtime.status.model_copy(update={"engine": broken})
    link.refresh_status()
    wait_for_text(qtbot, page, "The model died three times")
    press(qtbot, page, "Try the model again")
    qtbot.waitUntil(lambda: "POST /v1/engine/retry" in runtime.asked)


# --- a run


@pytest.fixture
def run_page(
    qtbot: QtBot, runtime: FakeRuntime, link: RuntimeLink, theme: Theme, asker: ScriptedAsker
) -> RunPage:
    runtime.runs = {1: a_run(1), 2: a_run(2, status="running", finished_at=None)}
    runtime.steps = {1: [a_step(1, title="Read the file", kind="read"), a_step(2)]}
    runtime.results = [a_result(1)]
    made: RunPage = shown(qtbot, RunPage(theme, link, asker))
    return made


def test_a_run_shows_its_steps_and_its_result(qtbot: QtBot, run_page: RunPage) -> None:
    run_page.show_run(1)
    wait_for_text(qtbot, run_page, "Result 1")
    texts = texts_of(run_page)
    for expected in ("note-1.md", "Done", "Read the file", "Ask Lena for a second quote", "5.0 s"):
        assert expected in texts
    assert "Cancel this run" not in texts


def test_a_live_run_grows_and_can_be_cancelled(qtbot: QtBot, runtime: FakeRuntime, run_page: RunPage) -> None:
    run_page.show_run(2)
    wait_for_text(qtbot, run_page, "Working")
    runtime.emit(StepChanged(run_id=2, step=a_step(1, title="Combine the parts", status="running")))
    wait_for_text(qtbot, run_page, "Combine the parts")
    press(qtbot, run_page, "Cancel this run")
    wait_for_text(qtbot, run_page, "Cancelled")
    assert "Run again" in texts_of(run_page)


def test_the_file_of_a_run_is_opened_and_digested_again(
    qtbot: QtBot, runtime: FakeRuntime, run_page: RunPage, asker: ScriptedAsker
) -> None:
    run_page.show_run(1)
    wait_for_text(qtbot, run_page, "Done")
    press(qtbot, run_page, "Open file")
    assert asker.opened == ["/home/me/Inbox/note-1.md"]
    press(qtbot, run_page, "Run again")
    wait_for_text(qtbot, run_page, "Nothing new")
    assert runtime.bodies == [RunNow(file="/home/me/Inbox/note-1.md")]


def test_a_run_that_does_not_exist_is_a_sentence(qtbot: QtBot, run_page: RunPage) -> None:
    run_page.show_run(99)
    wait_for_text(qtbot, run_page, "There is no run 99.")


# --- agents


@pytest.fixture
def agents_page(
    qtbot: QtBot,
    runtime: FakeRuntime,
    make_link: Callable[..., RuntimeLink],
    theme: Theme,
    asker: ScriptedAsker,
) -> AgentsPage:
    runtime.agents = {"Document digest": an_agent(succeeded=3, last_run=a_run(9, title="Roof repaired"))}
    link = make_link()
    connect(qtbot, link)
    made: AgentsPage = shown(qtbot, AgentsPage(theme, link, asker))
    return made


def test_an_agent_is_paused_and_goes_on(qtbot: QtBot, runtime: FakeRuntime, agents_page: AgentsPage) -> None:
    press(qtbot, agents_page, "Pause")
    wait_for_text(qtbot, agents_page, "Paused")
    assert runtime.agents["Document digest"].paused
    run_now = next(b for b in agents_page.findChildren(QPushButton) if b.text() == "Run now")
    assert run_now.isVisible()
    assert not run_now.isEnabled()
    assert run_now.toolTip() == "It is paused; resume it first."
    press(qtbot, agents_page, "Resume")
    wait_for_text(qtbot, agents_page, "Watching")
    assert run_now.isEnabled()
    assert run_now.toolTip() == ""


def test_run_now_says_what_came_of_it(qtbot: QtBot, agents_page: AgentsPage) -> None:
    press(qtbot, agents_page, "Run now")
    wait_for_text(qtbot, agents_page, "Nothing new in /home/me/Inbox.")


def test_choosing_folders_asks_the_runtime_and_closes(
    qtbot: QtBot, runtime: FakeRuntime, agents_page: AgentsPage, asker: ScriptedAsker
) -> None:
    press(qtbot, agents_page, "Choose folders…")
    dialog = agents_page.findChild(FoldersDialog)
    assert dialog is not None
    asker.path = "/home/me/Letters"
    press(qtbot, dialog, "Add a folder…")
    with qtbot.waitSignal(dialog.accepted):
        press(qtbot, dialog, "Watch these folders")
    assert runtime.bodies == [FoldersChange(folders=["/home/me/Inbox", "/home/me/Letters"])]
    wait_for_text(qtbot, agents_page, "/home/me/Letters")


def test_a_folder_that_cannot_be_watched_is_said_in_the_dialog(
    qtbot: QtBot, runtime: FakeRuntime, agents_page: AgentsPage
) -> None:
    runtime.refusals["PUT /v1/agents/Document digest/folders"] = (400, "usage", "The folder /x is a file.")
    press(qtbot, agents_page, "Choose folders…")
    dialog = agents_page.findChild(FoldersDialog)
    assert dialog is not None
    press(qtbot, dialog, "Watch these folders")
    wait_for_text(qtbot, dialog, "The folder /x is a file.")
    dialog.reject()
    pump()


def test_an_agents_file_is_added_after_a_yes_to_what_it_asks(
    qtbot: QtBot, runtime: FakeRuntime, agents_page: AgentsPage, asker: ScriptedAsker, tmp_path: Path
) -> None:
    path = tmp_path / "contracts.md"
    path.write_text("---\nname: Contracts\n---\n")
    asker.path = str(path)
    press(qtbot, agents_page, "Add from a file…")
    wait_for_text(qtbot, agents_page, "Contracts was added.")
    assert asker.asked == ["This agent asks to: •  read files in /home/me/Contracts"]
    assert [body.accept for body in runtime.bodies if isinstance(body, AgentAdd)] == [False, True]


def test_without_a_yes_nothing_is_added(
    qtbot: QtBot, runtime: FakeRuntime, agents_page: AgentsPage, asker: ScriptedAsker, tmp_path: Path
) -> None:
    path = tmp_path / "contracts.md"
    path.write_text("---\nname: Contracts\n---\n")
    asker.path, asker.yes = str(path), False
    press(qtbot, agents_page, "Add from a file…")
    wait_for_text(qtbot, agents_page, "The agent was not added.")
    assert "Contracts" not in runtime.agents


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"x" * 300_000])
def test_a_file_that_is_no_agent_is_one_sentence(
    qtbot: QtBot,
    runtime: FakeRuntime,
    agents_page: AgentsPage,
    asker: ScriptedAsker,
    tmp_path: Path,
    content: bytes,
) -> None:
    path = tmp_path / "x.md"
    path.write_bytes(content)
    asker.path = str(path)
    press(qtbot, agents_page, "Add from a file…")
    wait_for_text(qtbot, agents_page, "This file can't be read as an agent")
    assert runtime.bodies == []


# --- chat


@pytest.fixture
def chat(
    qtbot: QtBot,
    runtime: FakeRuntime,
    make_link: Callable[..., RuntimeLink],
    theme: Theme,
    asker: ScriptedAsker,
) -> ChatPage:
    runtime.conversations = {
        1: a_conversation(1, "Old question?", "Old answer."),
        2: a_conversation(2, "Hi", "Hello"),
    }
    link = make_link()
    made: ChatPage = shown(qtbot, ChatPage(theme, link, asker))
    connect(qtbot, link)
    qtbot.waitUntil(lambda: len(made.conversations.titles) == 2)
    return made


def field_of(chat: ChatPage) -> QPlainTextEdit:
    found = chat.composer.findChild(QPlainTextEdit)
    assert found is not None
    return found


def words_of(chat: ChatPage) -> str:
    from app.desktop.widgets.markdown import TextView

    return "\n".join(
        view.toPlainText() for view in chat.thread_view.findChildren(TextView) if view.isVisible()
    )


def a_good_answer(runtime: FakeRuntime, *middle: Any) -> None:
    done = ChatDone(
        text="The roof.", finish_reason="stop", prompt_tokens=5, completion_tokens=2, tokens_per_s=90
    )
    runtime.chat_script = [ChatStarted(conversation_id=3, title="Roof"), *middle, done]


def test_enter_sends_and_the_answer_streams(qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage) -> None:
    a_good_answer(runtime, ChatDelta(text="The "), ChatDelta(text="roof."))
    qtbot.keyClicks(field_of(chat), "What leaks?")
    qtbot.keyClick(field_of(chat), Qt.Key.Key_Return)
    wait_for_text(qtbot, chat, "90 tokens/s")
    assert words_of(chat) == "What leaks?\nThe roof."
    assert field_of(chat).toPlainText() == ""
    assert runtime.bodies == [ChatRequest(text="What leaks?")]
    assert chat.open_id == 3


def test_shift_enter_begins_a_new_line(qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage) -> None:
    qtbot.keyClicks(field_of(chat), "one")
    qtbot.keyClick(field_of(chat), Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(field_of(chat), "two")
    assert field_of(chat).toPlainText() == "one\ntwo"
    assert runtime.bodies == []


def test_blanks_are_not_sent(qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage) -> None:
    qtbot.keyClicks(field_of(chat), "   ")
    qtbot.keyClick(field_of(chat), Qt.Key.Key_Return)
    assert runtime.bodies == []


def test_the_next_question_belongs_to_the_open_conversation(
    qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage
) -> None:
    a_good_answer(runtime)
    chat.open_conversation(1)
    qtbot.waitUntil(lambda: "Old answer." in words_of(chat))
    chat._send("And now?")
    wait_for_text(qtbot, chat, "90 tokens/s")
    assert runtime.bodies[-1].conversation_id == 1


def test_while_it_waits_and_reads_it_says_so(qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage) -> None:
    a_good_answer(runtime, 0.2, ChatProgress(done_tokens=40, total_tokens=100), 0.2)
    chat._send("What leaks?")
    wait_for_text(qtbot, chat, "Waiting for its turn…")
    wait_for_text(qtbot, chat, "Reading… 40%")
    wait_for_text(qtbot, chat, "90 tokens/s")


def test_stop_ends_the_generation_and_keeps_the_text(
    qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage
) -> None:
    runtime.chat_script = [ChatStarted(conversation_id=3), ChatDelta(text="The ro"), 30.0]
    chat._send("What leaks?")
    qtbot.waitUntil(lambda: "The ro" in words_of(chat))
    press(qtbot, chat, "Stop")
    wait_for_text(qtbot, chat, "Stopped.")
    assert "The ro" in words_of(chat)
    qtbot.waitUntil(lambda: runtime.chats_cut == 1)


def test_a_broken_line_is_said_under_the_answer(qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage) -> None:
    runtime.chat_script = [ChatStarted(conversation_id=3), ChatDelta(text="The ro")]
    chat._send("What leaks?")
    wait_for_text(qtbot, chat, "The connection broke")


def test_an_answer_goes_on_while_another_conversation_is_read(
    qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage
) -> None:
    runtime.conversations[3] = a_conversation(3, "What leaks?")
    a_good_answer(runtime, ChatDelta(text="The "), 0.6, ChatDelta(text="roof."))
    chat._send("What leaks?")
    qtbot.waitUntil(lambda: chat.open_id == 3)
    chat.open_conversation(1)
    qtbot.waitUntil(lambda: "Old answer." in words_of(chat))
    assert "The " not in words_of(chat)
    chat.open_conversation(3)
    qtbot.waitUntil(lambda: "What leaks?\nThe" in words_of(chat))
    wait_for_text(qtbot, chat, "90 tokens/s")
    assert words_of(chat) == "What leaks?\nThe roof."


def test_a_conversation_is_deleted_after_a_yes(
    qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage, asker: ScriptedAsker
) -> None:
    chat.open_conversation(2)
    chat.conversations.select(2)
    asker.yes = False
    press(qtbot, chat, "Delete this conversation")
    assert 2 in runtime.conversations
    asker.yes = True
    press(qtbot, chat, "Delete this conversation")
    qtbot.waitUntil(lambda: chat.conversations.titles == ["Conversation 1"])
    assert chat.open_id is None


def test_a_link_in_an_answer_is_asked_about(
    qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage, asker: ScriptedAsker
) -> None:
    runtime.conversations[1] = a_conversation(1, "Where?", "[here](https://example.org/x)")
    chat.open_conversation(1)
    qtbot.waitUntil(lambda: "here" in words_of(chat))
    from app.desktop.widgets.markdown import TextView

    link = next(v for v in chat.thread_view.findChildren(TextView) if v.toPlainText() == "here")
    from PySide6.QtCore import QUrl

    link.anchorClicked.emit(QUrl("https://example.org/x"))
    assert asker.opened == ["https://example.org/x"]


def test_an_old_conversation_begins_with_its_last_messages(
    qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage
) -> None:
    runtime.conversations[1] = a_conversation(1, *(f"text {n}" for n in range(100)))
    chat.open_conversation(1)
    qtbot.waitUntil(lambda: "text 99" in words_of(chat))
    assert "text 59" not in words_of(chat)
    press(qtbot, chat, "Show earlier messages")
    qtbot.waitUntil(lambda: "text 59" in words_of(chat))
    assert "text 19" not in words_of(chat)


def test_the_thread_follows_only_while_the_user_is_at_its_end(
    qtbot: QtBot, runtime: FakeRuntime, chat: ChatPage
) -> None:
    runtime.conversations[1] = a_conversation(1, *("long text " * 60 for _ in range(20)))
    chat.open_conversation(1)
    bar = chat.thread_view.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 500 and bar.value() == bar.maximum())
    bar.setValue(100)
    a_good_answer(runtime, ChatDelta(text="word " * 500), 0.2)
    chat.thread_view.add_answer()
    QApplication.processEvents()
    assert bar.value() == 100
    press(qtbot, chat, "Jump to latest")
    assert bar.value() == bar.maximum()
