"""The real desktop process on a screen with a tray and a notification service."""

from __future__ import annotations

from agents.contract import ResultReady, RunChanged, RunFailed
from tests.app.desktop.fake_runtime import FakeRuntime, a_result, a_run, an_agent
from tests.desktop.conftest import StartDesktop
from tests.desktop.fakedesk import FakeDesk, wait_until

CLOSED = "Hearth goes on in the background; its icon in the tray opens it again."


def test_the_tray_tells_the_state_by_its_picture_tooltip_and_menu(
    desk: FakeDesk, runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    runtime.agents = {"Document digest": an_agent()}
    start_desktop("--background")
    desk.wait_for_icon()
    runtime.wait_for_listener()
    wait_until(lambda: desk.icon_properties()["tip"] == "Hearth: idle", "the idle tooltip")
    idle = desk.icon_properties()
    assert idle["id"] == "hearth"
    assert list(desk.menu()) == ["Open Hearth", "Idle", "Stop all agents", "Quit…"]
    runtime.emit(RunChanged(run=a_run(1, status="running")))
    wait_until(lambda: desk.icon_properties()["tip"] == "Hearth: working on note-1.md", "the working tooltip")
    working = desk.icon_properties()
    assert working["picture"] != idle["picture"]
    assert desk.menu()["1 run in work"] is False  # a line to read, not to click


def test_the_tray_stops_all_agents_and_lets_them_run_again(
    desk: FakeDesk, runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    runtime.agents = {"Document digest": an_agent()}
    start_desktop("--background")
    desk.wait_for_icon()
    wait_until(lambda: desk.menu().get("Stop all agents") is True, "an entry that can be clicked")
    desk.choose("Stop all agents")
    wait_until(lambda: "Let agents run again" in desk.menu(), "the other entry")
    assert runtime.status.agents_stopped
    desk.choose("Let agents run again")
    wait_until(lambda: runtime.status.agents_stopped is None, "the agents to go on")


def test_closing_hides_in_the_tray_and_the_icon_opens_again(
    desk: FakeDesk, runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    desktop = start_desktop()
    desktop.wait_for("window", shown=True)
    desk.wait_for_icon()
    desktop.tell("close")
    assert desktop.wait_for("question")["text"] == CLOSED
    desktop.tell("click OK")
    desktop.wait_for("window", shown=False)
    desk.click_icon()
    desktop.wait_for("window", shown=True)
    desktop.tell("close")
    desktop.wait_for("window", shown=False)  # told once is enough
    desk.choose("Open Hearth")
    desktop.wait_for("window", shown=True)
    assert desktop.process.poll() is None


def test_quit_from_the_tray_asks_and_stops_the_runtime_if_wanted(
    desk: FakeDesk, runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    runtime.agents = {"Document digest": an_agent()}
    desktop = start_desktop("--background")
    desk.wait_for_icon()
    runtime.wait_for_listener()
    wait_until(lambda: desk.menu().get("Stop all agents") is True, "the line to the runtime")
    desk.choose("Quit…")
    assert desktop.wait_for("question")["text"] == "Quit and stop 1 agent?"
    desktop.tell("click Cancel")
    desktop.wait_for("clicked", found=True)
    desk.choose("Quit…")
    desktop.wait_for("question")
    desktop.tell("click Stop the agents too")
    assert desktop.end() == 0
    assert "POST /v1/stop" in runtime.asked


def test_a_result_is_notified_with_a_button_that_opens_its_run(
    desk: FakeDesk, runtime: FakeRuntime, start_desktop: StartDesktop
) -> None:
    runtime.runs = {3: a_run(3)}
    desktop = start_desktop("--background")
    runtime.wait_for_listener()
    wait_until(lambda: "GET /v1/results" in runtime.asked, "the state to be read")
    runtime.emit(ResultReady(result=a_result(3), notify=True))
    note = desk.wait_for_note()
    assert (note.app, note.title, note.body) == ("Hearth", "Result 3", "Document digest: note-3.md")
    assert "Open" in note.actions.values()
    desk.press(note, "Open")
    desktop.wait_for("window", shown=True)
    assert desktop.state()["page"] == "run"


def test_a_failed_run_is_notified(desk: FakeDesk, runtime: FakeRuntime, start_desktop: StartDesktop) -> None:
    start_desktop("--background")
    runtime.wait_for_listener()
    wait_until(lambda: "GET /v1/results" in runtime.asked, "the state to be read")
    runtime.emit(RunFailed(run=a_run(4, status="failed", reason="The file is empty."), notify=True))
    note = desk.wait_for_note()
    assert (note.title, note.body) == ("Failed: note-4.md", "The file is empty.")
