"""What the desktop knows: loaded once, kept true by events."""

from __future__ import annotations

from typing import Any

from agents.contract import (
    AgentChanged,
    EngineChanged,
    EngineInfo,
    Notice,
    NoticeLevel,
    ResultReady,
    RunChanged,
    RunProgress,
    StepChanged,
)
from app.desktop.models.world import EVERYTHING, FINISHED_RUNS_KEPT, RESULTS_KEPT, Part, World
from tests.app.desktop.fake_runtime import a_result, a_run, a_status, a_step, an_agent, an_event


def a_world(**changes: Any) -> World:
    world = World()
    values: dict[str, Any] = {"status": a_status(), "agents": [an_agent()], "runs": [], "results": []}
    world.load(**values | changes)
    return world


def test_loading_changes_everything() -> None:
    world = World()
    parts = world.load(status=a_status(), agents=[an_agent()], runs=[a_run()], results=[a_result()])
    assert parts == EVERYTHING
    assert world.is_loaded
    assert list(world.agents) == ["Document digest"]


def test_a_run_moves_from_waiting_to_running_to_done() -> None:
    world = a_world()
    world.apply(an_event(RunChanged(run=a_run(1, status="pending"))))
    assert [run.id for run in world.waiting] == [1]
    world.apply(an_event(RunChanged(run=a_run(1, status="running"))))
    assert ([run.id for run in world.waiting], [run.id for run in world.running]) == ([], [1])
    assert world.apply(an_event(RunChanged(run=a_run(1)))) == {Part.RUNS}
    assert world.running == []


def test_the_newest_step_of_a_live_run_is_known_until_the_run_ends() -> None:
    world = a_world(runs=[a_run(1, status="running")])
    world.apply(an_event(StepChanged(run_id=1, step=a_step(1))))
    world.apply(an_event(StepChanged(run_id=1, step=a_step(2, title="Combine"))))
    world.apply(an_event(RunProgress(run_id=1, seq=2, completion_tokens=5)))
    step = world.current_step(1)
    assert step is not None
    assert step.title == "Combine"
    world.apply(an_event(RunChanged(run=a_run(1))))
    assert world.current_step(1) is None
    assert world.progress == {}


def test_a_result_that_comes_twice_is_kept_once_and_the_list_is_bounded() -> None:
    world = a_world()
    for number in range(RESULTS_KEPT + 5):
        world.apply(an_event(ResultReady(result=a_result(number), notify=False)))
        world.apply(an_event(ResultReady(result=a_result(number), notify=False)))
    assert [result.id for result in world.results] == list(range(RESULTS_KEPT + 4, 4, -1))


def test_old_finished_runs_are_forgotten_but_no_live_one() -> None:
    world = a_world(runs=[a_run(0, status="pending")])
    for number in range(1, FINISHED_RUNS_KEPT + 50):
        world.apply(an_event(RunChanged(run=a_run(number))))
    assert len(world.runs) == FINISHED_RUNS_KEPT + 1
    assert world.runs[0].status == "pending"


def test_more_waiting_runs_than_were_loaded_are_counted_by_the_status() -> None:
    runs = [a_run(number, status="pending") for number in range(100)]
    world = a_world(runs=runs, status=a_status(runs_pending=2000), more_waiting=True)
    assert world.waiting_count == 2000


def test_a_removed_agent_is_gone() -> None:
    world = a_world()
    assert world.apply(an_event(AgentChanged(name="Document digest"))) == {Part.AGENTS}
    assert world.agents == {}


def test_notices_come_once_each_and_the_engine_replaces_itself() -> None:
    world = a_world()
    for text in ("a", "b", "a"):
        world.apply(an_event(Notice(level=NoticeLevel.INFO, text=text)))
    assert world.notices == ["b", "a"]
    world.apply(an_event(EngineChanged(engine=EngineInfo(state="set_aside", reason="It died three times."))))
    assert world.problem == "It died three times."


def test_a_paused_agent_with_a_missing_folder_is_no_problem() -> None:
    missing = "The folder is missing."
    assert a_world(agents=[an_agent(problem=missing)]).problem == missing
    assert a_world(agents=[an_agent(problem=missing, paused=True)]).problem is None
