"""`hearth status`, `stop` and `doctor`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from agents.contract import DoctorReport, EngineInfo, SchedulerInfo, Status
from app.cli import doctor as doctor_module
from app.cli.status import describe_engine, describe_status
from tests.app.cli.conftest import Hearth
from tests.app.cli.scripted import ScriptedRuntime
from tests.app.desktop.fake_runtime import a_status


def ended_process() -> int:
    """The pid of a process that has come and gone."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


# --- status


def test_status_as_json_is_the_contract(hearth: Hearth, fake: ScriptedRuntime) -> None:
    assert Status.model_validate_json(hearth("status", "--json").out) == fake.status


def test_status_for_a_person_names_home_engine_and_work(hearth: Hearth, fake: ScriptedRuntime) -> None:
    out = hearth("status").out
    assert str(fake.paths.root) in out
    assert "ready, SmolLM2-135M-Instruct.Q4_1.gguf, 8,192 tokens of context, 92.4 tok/s" in out
    assert "0 running, 0 waiting" in out


def test_status_shows_what_the_user_should_read() -> None:
    out = describe_status(
        a_status(
            encrypted=False,
            recovery_code_pending=True,
            notices=["Safe settings are in use."],
            last_tick=datetime.now(UTC) - timedelta(seconds=10),
            next_tick=datetime.now(UTC) + timedelta(seconds=20.5),
        )
    )
    assert "(not encrypted)" in out
    assert "! Safe settings are in use." in out
    assert "recovery code has not been written down" in out
    assert "10 s ago, next in 20 s" in out


def test_status_says_a_trouble_once_and_what_is_overdue_as_that() -> None:
    full = "The disk is full; make room."
    late = datetime.now(UTC) - timedelta(seconds=14)
    out = describe_status(
        a_status(notices=[full, full], scheduler=SchedulerInfo(next_due=late, trouble=full))
    )
    assert out.count(full) == 1
    assert "one was due 14 s ago" in out


def test_status_tells_what_the_model_got_of_the_machine_and_how_far_it_is_loaded() -> None:
    plan = "All on the processor: 30 layers."
    loading = EngineInfo(state="starting", model="m.gguf", load_progress=0.4, plan=plan)
    out = describe_status(a_status(engine=loading))
    assert "starting, 40% loaded, m.gguf" in out
    assert plan in out


def test_an_engine_that_was_set_aside_tells_its_reason() -> None:
    engine = EngineInfo(
        state="set_aside",
        model="m.gguf",
        deaths=3,
        tokens_per_s=9.0,
        reason="the engine ended 3 times (last: x)",
    )
    assert (
        describe_engine(engine)
        == "set aside, m.gguf. The engine ended 3 times (last: x). `hearth doctor --retry` tries it again."
    )


def test_what_a_notice_says_is_not_said_beside_the_engine_too() -> None:
    aside = EngineInfo(state="set_aside", model="m.gguf", reason="the engine ended 3 times")
    safe = EngineInfo(state="ready", model="m.gguf", notice="Safe settings are in use.")
    for engine, notice in (
        (aside, "m was set aside: the engine ended 3 times. Its runs wait."),
        (safe, "Safe settings are in use."),
    ):
        out = describe_status(a_status(engine=engine, notices=[notice]))
        assert out.count(notice) == 1
        assert out.count("ended 3 times") + out.count("Safe settings") == 1


# --- stop


def test_stop_returns_when_the_runtime_has_gone(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.status = fake.status.model_copy(update={"pid": ended_process()})
    ended = hearth("stop")
    assert (ended.code, ended.out) == (0, f"Hearth has stopped for {fake.paths.root}.\n")
    assert "POST /v1/stop" in fake.asked
    assert hearth("status").code == 3


def test_stop_as_json(hearth: Hearth, fake: ScriptedRuntime) -> None:
    pid = ended_process()
    fake.status = fake.status.model_copy(update={"pid": pid})
    assert json.loads(hearth("stop", "--json").out) == {"stopped": True, "pid": pid}


def test_stop_waits_for_the_process_and_not_only_for_its_socket(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    fake.status = fake.status.model_copy(update={"pid": os.getpid()})
    ended = hearth("stop", "--timeout", "0.5")
    assert ended.code == 1
    assert f"process {os.getpid()}) is still ending after 0.5 s" in ended.sentence()


def test_stop_says_when_the_runtime_goes_on(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.gone_after_stop = False
    ended = hearth("stop", "--timeout", "0.2")
    assert ended.code == 1
    assert "still ending after 0.2 s" in ended.sentence()


def test_stop_ends_a_runtime_of_another_version(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.status = fake.status.model_copy(update={"api_version": 2})
    assert hearth("stop").code == 0


def test_stop_without_a_runtime_says_that_there_is_nothing_to_stop(hearth: Hearth) -> None:
    ended = hearth("stop")
    assert ended.code == 3
    assert ended.sentence().endswith("there is nothing to stop.")


# --- doctor


@pytest.fixture
def quick_imports(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What the doctor's trial imports say, without the seconds that they take."""
    problems: dict[str, str | None] = {"llama_cpp": None, "PySide6.QtWidgets": None}
    monkeypatch.setattr(doctor_module, "_import_problem", problems.__getitem__)
    return problems


def checks(out: str) -> dict[str, tuple[bool, str]]:
    report = DoctorReport.model_validate_json(out)
    assert report.ok == all(check.ok for check in report.checks)
    return {check.name: (check.ok, check.message) for check in report.checks}


@pytest.mark.usefixtures("quick_imports")
def test_doctor_works_without_a_runtime(hearth: Hearth) -> None:
    ended = hearth("doctor", "--json")
    found = checks(ended.out)
    assert found["runtime"] == (True, "Not running; `hearth serve` starts it.")
    assert found["home"][0]
    assert found["starter model"][1].endswith(".gguf is there.")
    assert ended.code == 0


@pytest.mark.usefixtures("quick_imports")
def test_doctor_adds_what_the_runtime_says_and_ends_with_1_when_something_needs_mending(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    fake.overrides["/v1/doctor"] = (
        b'{"ok": false, "checks": [{"name": "folders", "ok": false, "message": "/a is missing."}]}'
    )
    ended = hearth("doctor", "--json")
    assert ended.code == 1
    assert checks(ended.out)["folders"] == (False, "/a is missing.")
    shown = hearth("doctor").out
    assert "MEND  folders" in shown
    assert "need mending." in shown


@pytest.mark.usefixtures("quick_imports")
def test_doctor_reports_a_runtime_that_it_can_not_ask(hearth: Hearth, fake: ScriptedRuntime) -> None:
    fake.status = fake.status.model_copy(update={"api_version": 7})
    ended = hearth("doctor", "--json")
    assert ended.code == 1
    assert "another version" in checks(ended.out)["runtime"][1]


@pytest.mark.usefixtures("quick_imports")
def test_doctor_tries_models_again_that_were_set_aside_only_when_asked(
    hearth: Hearth, fake: ScriptedRuntime
) -> None:
    hearth("doctor")
    assert "POST /v1/engine/retry" not in fake.asked
    hearth("doctor", "--retry")
    assert fake.asked.index("POST /v1/engine/retry") < len(fake.asked) - 1, "the report comes afterwards"


def test_doctor_can_try_nothing_again_without_a_runtime(hearth: Hearth) -> None:
    assert hearth("doctor", "--retry").code == 3


def test_doctor_reports_packages_that_do_not_load(
    hearth: Hearth, quick_imports: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    quick_imports["PySide6.QtWidgets"] = "ImportError: libEGL.so.1: cannot open shared object file"
    quick_imports["llama_cpp"] = "its process ended with -11"
    found = checks(hearth("doctor", "--json").out)
    assert not found["display"][0]
    assert "libEGL.so.1" in found["display"][1]
    assert not found["engine package"][0]
    assert "ended with -11" in found["engine package"][1]


def test_a_trial_import_tells_a_missing_package_from_a_present_one() -> None:
    assert doctor_module._import_problem("json") is None
    assert doctor_module._import_problem("no_such_package_at_all") == (
        "ModuleNotFoundError: No module named 'no_such_package_at_all'"
    )
