"""What the desktop says about due times, gates, energy and the switch, and what it tells of its user."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from PySide6.QtCore import QPoint
from pytestqt.qtbot import QtBot

from agents.contract import (
    AgentsSwitched,
    GateInfo,
    GovernorChanged,
    GovernorInfo,
    OccurrenceDetail,
    RunDetail,
    SchedulerInfo,
    SwitchChanged,
)
from app.desktop.link.states import LinkState
from app.desktop.models import words
from app.desktop.models.agents import agent_view
from app.desktop.models.home import home_view
from app.desktop.models.run import RunModel
from app.desktop.models.tray import TrayShape, tray_view
from app.desktop.models.world import World
from app.desktop.presence import Pointer, PresenceReporter
from tests.app.desktop.fake_runtime import START, FakeRuntime, a_run, a_status, a_step, an_agent, an_event

NOW = START + timedelta(minutes=1)


def a_writer(**changes: Any) -> Any:
    values = {
        "kind": "write",
        "folders": [],
        "patterns": [],
        "triggers": ["every weekday at 08:00"],
        "gates": ["only if /notes has changed"],
        "next_due": NOW + timedelta(minutes=20),
        "woken": 288,
        "free": 281,
    }
    return an_agent("Morning page", **values | changes)


def a_world(*agents: Any, **status: Any) -> World:
    world = World()
    world.load(status=a_status(**status), agents=agents, runs=(), results=())
    return world


# --- agents


def test_an_agent_that_writes_needs_no_folder_and_says_when_it_is_due() -> None:
    view = agent_view(a_writer(), NOW)
    assert (view.state, view.asks_for_folders, view.can_run) == ("On", False, True)
    assert view.wakes == ("every weekday at 08:00", "only if /notes has changed")
    assert view.next_due == f"Next due {words.due_time(NOW + timedelta(minutes=20), NOW)}"
    assert view.wakings == "woke 288×, 281 free"


def test_an_agent_that_hearth_paused_says_why_and_is_not_told_as_due() -> None:
    view = agent_view(a_writer(paused=True, paused_reason="It failed ten times in a row."), NOW)
    assert (view.state, view.problem, view.next_due) == ("Paused", "It failed ten times in a row.", "")


def test_an_agent_for_which_something_waits_says_so_and_is_not_in_trouble() -> None:
    waits = "Waits until the computer is plugged in."
    view = agent_view(a_writer(waits=waits), NOW)
    assert view.next_due.startswith(f"{waits} Next due ")
    assert (view.state, view.problem) == ("On", "")
    assert agent_view(a_writer(waits=waits, next_due=None), NOW).next_due == waits
    assert agent_view(a_writer(waits=waits, paused=True), NOW).next_due == ""


def test_due_times_are_told_by_the_day() -> None:
    noon = NOW.astimezone().replace(hour=12, minute=0)
    assert words.due_time(noon.replace(hour=14, minute=2), noon) == "today 14:02"
    assert words.due_time(noon + timedelta(days=1), noon) == "tomorrow 12:00"
    later = noon + timedelta(days=4)
    assert words.due_time(later, noon) == f"{later:%a} {later.day} {later:%b} 12:00"
    assert words.due_time(noon.replace(year=noon.year + 1), noon).endswith(f"{noon.year + 1} 12:00")


# --- home


def test_home_tells_what_is_due_next_and_what_holds_work_back() -> None:
    world = a_world(
        a_writer(), governor=GovernorInfo(action="throttle", reason="Slower: the computer is in use.")
    )
    view = home_view(world, NOW)
    assert not view.needs_folder
    assert view.looks.startswith("Slower: the computer is in use. · Morning page is due ")


def test_home_says_that_all_agents_are_stopped() -> None:
    world = a_world(a_writer(), agents_stopped="All agents are stopped.")
    assert home_view(world, NOW).watching == "All agents are stopped. Let them run again on the Agents page."
    assert home_view(world, NOW).looks == ""


# --- tray


def test_the_tray_tells_the_last_tick_the_next_due_time_and_why_work_waits() -> None:
    world = a_world(
        a_writer(),
        scheduler=SchedulerInfo(last_tick=NOW, next_due=NOW + timedelta(minutes=20)),
        governor=GovernorInfo(action="pause", reason="Paused: on battery below 20 %."),
    )
    first, second = tray_view(world, LinkState.CONNECTED, NOW).tooltip.splitlines()
    assert first == "Hearth: idle"
    assert second == (
        f"Last tick {words.clock_time(NOW, NOW)}, next due "
        f"{words.due_time(NOW + timedelta(minutes=20), NOW)}, Paused: on battery below 20 %."
    )
    assert "\n" not in tray_view(world, LinkState.STOPPED, NOW).tooltip


def test_events_switch_the_tray_over_and_back() -> None:
    world = a_world(a_writer())
    switched = AgentsSwitched(stopped=True, reason="All agents are stopped.")
    world.apply(an_event(SwitchChanged(switch=switched)))
    view = tray_view(world, LinkState.CONNECTED, NOW)
    assert (view.shape, view.stopped, view.can_switch) == (TrayShape.PAUSED, True, True)
    world.apply(an_event(SwitchChanged(switch=AgentsSwitched(stopped=False))))
    assert not tray_view(world, LinkState.CONNECTED, NOW).stopped


def test_a_change_of_the_governor_is_known_at_once() -> None:
    world = a_world(a_writer())
    world.apply(an_event(GovernorChanged(governor=GovernorInfo(action="pause", reason="Paused: it is hot."))))
    assert "Paused: it is hot." in tray_view(world, LinkState.CONNECTED, NOW).tooltip


# --- a run


def test_a_run_tells_when_it_was_due_and_what_its_gates_said() -> None:
    occurrence = OccurrenceDetail(
        id=1,
        agent="Morning page",
        trigger="cron",
        due_at=START,
        status="succeeded",
        created_at=START,
        claimed_at=START + timedelta(seconds=2),
        gates=[GateInfo(gate="ac_power", open=True, detail="The computer is plugged in.")],
    )
    run = a_run(1, trigger="cron", energy_j=7_200.0, retry_of=9)
    model = RunModel(RunDetail(**run.model_dump(), revision=1, steps=[], occurrence=occurrence))
    assert model.waking(NOW) == [
        "Retry of run 9",
        f"Due {words.clock_time(START, NOW)}, seen to 2.0 s later",
        "Ac power: open, The computer is plugged in.",
    ]
    assert "its time" in model.facts(NOW)
    assert "2.0 Wh" in model.facts(NOW)


@pytest.mark.parametrize("status", ["waiting_for_approval", "unverified"])
def test_every_way_that_a_run_can_stand_has_words(status: str) -> None:
    model = RunModel(RunDetail(**a_run(1, status=status).model_dump(), revision=1, steps=[]))
    assert words.STATUS_WORDS[status]
    assert words.STATUS_ROLES[status]
    assert words.STATUS_ICONS[status]
    assert model.is_alive is (status == "waiting_for_approval")


def test_a_step_tells_its_energy_cost_and_route() -> None:
    numbers = words.step_numbers(a_step(1, energy_j=120.0, cost_usd=0.0042, route="local"))
    assert numbers.endswith("88 tokens/s · 120 J · $0.0042 · local")


# --- presence


class _Link:
    """A line that is up and keeps what it is asked to send."""

    def __init__(self) -> None:
        self.is_connected = True
        self.api = self
        self.sent: list[Any] = []
        self.refreshed = 0

    def refresh_status(self) -> None:
        self.refreshed += 1

    def presence(self, presence: Any, _done: Any, _failed: Any) -> None:
        self.sent.append(presence)


def test_a_pointer_that_moved_means_that_somebody_is_there() -> None:
    places = iter([QPoint(1, 1), QPoint(1, 1), QPoint(5, 1)])
    pointer = Pointer(lambda: next(places))
    assert [pointer.idle_s(now_s) for now_s in (10.0, 40.0, 70.0)] == [None, None, 30.0]


def test_presence_is_reported_only_where_something_is_known(qtbot: QtBot) -> None:
    places = iter([QPoint(1, 1), QPoint(1, 1), QPoint(5, 1)])
    link = _Link()
    reporter = PresenceReporter(link, every_ms=20, position=lambda: next(places, QPoint(5, 1)))  # type: ignore[arg-type]
    try:
        qtbot.waitUntil(lambda: bool(link.sent), timeout=5000)
        assert link.sent[0].idle_s is not None
        assert link.sent[0].idle_s < 5
        assert link.sent[0].full_screen is None
        assert link.refreshed >= 3
    finally:
        reporter.close()


def test_presence_reaches_the_runtime(qtbot: QtBot, runtime: FakeRuntime, link: Any) -> None:
    from agents.contract import Presence

    done: list[None] = []
    link.api.presence(Presence(idle_s=3.0), done.append, lambda trouble: pytest.fail(trouble.message))
    qtbot.waitUntil(lambda: bool(done))
    assert runtime.presences == [Presence(idle_s=3.0)]
