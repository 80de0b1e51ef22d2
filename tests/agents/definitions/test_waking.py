"""Triggers, gates, capabilities and policies of agent files: read strictly, written back unchanged, asked for in words."""

import string
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.core import AgentDefinition, AgentKind
from agents.definitions import (
    asks_of,
    check_folders,
    local_zone,
    new_asks,
    parse_definition,
    render_definition,
    with_folders,
)
from agents.definitions.durations import parse_duration, render_duration
from agents.definitions.zones import render_moment
from agents.durations import duration_in_words
from agents.errors import UsageProblem
from agents.policies import (
    Budget,
    Misfire,
    MisfirePolicy,
    Overlap,
    OverlapPolicy,
    PowerClass,
    Retry,
    RunPolicy,
    TimeLimits,
)
from agents.triggers import (
    ChangedGate,
    CommandGate,
    CronTrigger,
    FileTrigger,
    HoursGate,
    IdleTrigger,
    IntervalTrigger,
    MemoryGate,
    OnceTrigger,
    PowerGate,
    ResultKind,
    ResultTrigger,
    StartTrigger,
    UrlGate,
    WakeTrigger,
    WebhookTrigger,
)

HOME = Path("/home/me/.local/share/hearth")
FULL = """\
---
name: Morning page
description: Writes a page each morning.
kind: write
triggers:
  - on: cron
    schedule: "0 8 * * 1-5"
    zone: Europe/Berlin
  - on: interval
    every: 15 minutes
  - on: once
    at: 2026-12-01 09:00
  - on: file_changed
    folders: [/home/me/Notes]
    storm_files: 50
  - on: start
  - on: wake
  - on: idle
    after: 10 minutes
  - on: webhook
    hook: build-done
  - on: result
    agent: Document digest
    when: any
gates:
  - check: changed
    paths: [/home/me/Notes/todo.md]
  - check: url
    url: https://example.org:8443/news?all=1
  - check: hours
    from: 18:00
    to: 06:30
    days: [sat, mon]
  - check: ac_power
  - check: memory
    query: invoice march
    at_least: 3
  - check: command
    run: [/usr/bin/test, -f, /tmp/x]
    timeout: 3 seconds
capabilities:
  read: [/home/me/Notes]
  write: [/home/me/Pages]
  hosts: [Example.org, "::1"]
  commands:
    - [/usr/bin/test, -f, /tmp/x]
output:
  folder: /home/me/Pages/daily
misfire: {policy: run_all, at_most: 3, within: 2 hours}
overlap: {policy: parallel, at_most: 2}
retry: {attempts: 5, first: 1 minute}
limits: {run: 10 minutes, step: 90}
budget: {tokens_per_day: 20000, seconds_per_run: 5 minutes, runs_per_hour: 4, wh_per_day: 1.5, money_per_day: 2}
power: ac_only
---

Write the page.
"""


def parse(source: str, zone: str = "Asia/Tokyo") -> AgentDefinition:
    return parse_definition(source, home=HOME, zone=zone)


def test_every_trigger_is_read_and_what_names_no_zone_gets_the_computers():
    assert parse(FULL).triggers == (
        CronTrigger(schedule="0 8 * * 1-5", zone="Europe/Berlin"),
        IntervalTrigger(every_s=900.0),
        OnceTrigger(at=datetime(2026, 12, 1, 0, 0, tzinfo=UTC), zone="Asia/Tokyo"),
        FileTrigger(folders=(Path("/home/me/Notes"),), storm_files=50),
        StartTrigger(),
        WakeTrigger(),
        IdleTrigger(after_s=600.0),
        WebhookTrigger(hook="build-done"),
        ResultTrigger(agent="Document digest", when=ResultKind.ANY),
    )


def test_every_gate_is_read():
    assert parse(FULL).gates == (
        ChangedGate(paths=(Path("/home/me/Notes/todo.md"),)),
        UrlGate(url="https://example.org:8443/news?all=1"),
        HoursGate(start=time(18), end=time(6, 30), zone="Asia/Tokyo", days=(0, 5)),
        PowerGate(),
        MemoryGate(query="invoice march", at_least=3),
        CommandGate(argv=("/usr/bin/test", "-f", "/tmp/x"), timeout_s=3.0),
    )


def test_every_policy_and_capability_is_read():
    definition = parse(FULL)
    assert definition.policy == RunPolicy(
        misfire=Misfire(policy=MisfirePolicy.RUN_ALL, at_most=3, within_s=7200.0),
        overlap=Overlap(policy=OverlapPolicy.PARALLEL, at_most=2),
        retry=Retry(attempts=5, first_s=60.0),
        limits=TimeLimits(run_s=600.0, step_s=90.0),
        budget=Budget(
            tokens_per_day=20_000, seconds_per_run=300.0, runs_per_hour=4, wh_per_day=1.5, money_per_day=2.0
        ),
        power=PowerClass.AC_ONLY,
    )
    assert definition.write_folder == Path("/home/me/Pages/daily")
    assert definition.hosts == ("example.org", "::1")
    assert definition.commands == (("/usr/bin/test", "-f", "/tmp/x"),)


def test_a_writing_agent_may_need_nothing_but_a_time():
    source = "---\nname: Clock\ndescription: x\nkind: write\ntriggers:\n  - on: interval\n    every: 900\n---\nSay it.\n"
    definition = parse(source)
    assert (definition.read_folders, definition.gates, definition.policy) == ((), (), RunPolicy())
    assert asks_of(definition) == ()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"0 8 * * 1-5"', '"0 8 * *"', "Line 7: 'schedule': "),
        ('"0 8 * * 1-5"', '"0 8 30 2 *"', "Line 7: 'schedule': "),
        ("Europe/Berlin", "Europe/Bonn", "Line 8: 'zone': "),
        ("    every: 15 minutes", "    every: soon", "Line 10: 'every' must be a time such as '15 minutes'"),
        ("    every: 15 minutes", "    every: 0", "Line 10: 'every' must be between 1 second and 366 days."),
        (
            "    every: 15 minutes",
            "    after: 15 minutes",
            "Line 10: unknown key 'after'; known are on, every.",
        ),
        ("    every: 15 minutes\n", "", "Line 9: the trigger 'interval' has no 'every'; add it."),
        (
            "2026-12-01 09:00",
            "tomorrow",
            "Line 12: 'at' must be a date and a time, such as 2026-12-01 09:00.",
        ),
        ("2026-12-01 09:00", "2026-12-01", "Line 12: 'at' must be a date and a time"),
        (
            "hook: build-done",
            "hook: Build/done",
            "Line 21: 'hook' may be 64 characters long; it holds small letters",
        ),
        ("when: any", "when: maybe", "Line 24: 'when' must be 'succeeded' or 'failed' or 'any'."),
        ("  - on: wake\n", "  - wake\n", "Line 17: each of 'triggers' must consist of 'key: value' lines."),
        ("  - on: wake\n", "  - on: start\n", "Line 17: the same trigger is there twice; keep one of them."),
        ("storm_files: 50", "storm_files: 0.5", "Line 15: 'storm_files' must be between 1 and 100000."),
        ("storm_files: 50", "storm_files: 1.5", "Line 15: 'storm_files' must be a whole number."),
        (
            "[/home/me/Notes/todo.md]",
            "[/etc/passwd]",
            "Line 27: the agent may not read /etc/passwd; add its folder",
        ),
        (
            "https://example.org:8443/news?all=1",
            "https://evil.org/",
            "Line 29: the agent may not ask evil.org; add it",
        ),
        ("https://example.org:8443/news?all=1", "https://me:pw@example.org/", "may hold no user name"),
        ("https://example.org:8443/news?all=1", "file:///etc/passwd", "Line 29: 'url' must be a web address"),
        (
            "https://example.org:8443/news?all=1",
            "https://example.org:port/",
            "Line 29: 'url' must be a web address",
        ),
        ("https://example.org:8443/news?all=1", "https://example.org/#top", "ends at the '#'"),
        ("from: 18:00", "from: 24:00", "Line 31: 'from' must be a time of day from 00:00 to 23:59."),
        ("to: 06:30", "to: 18:00", "Line 32: 'from' and 'to' are the same time"),
        ("[sat, mon]", "[sat, funday]", "Line 33: each of 'days' must be one of mon, tue"),
        (
            "run: [/usr/bin/test, -f, /tmp/x]",
            "run: [/usr/bin/test, -f, /tmp/y]",
            "Line 39: the agent may not run",
        ),
        ("write: [/home/me/Pages]", "write: [/a, /b]", "an agent writes in one folder only"),
        ("output:\n  folder: /home/me/Pages/daily\n", "", "'write' is asked for, but nothing is written"),
        ("folder: /home/me/Pages/daily", "folder: /home/me", "the agent may not write in /home/me; add it"),
        ("hosts: [Example.org", "hosts: ['https://x.org'", "'https://x.org' is no host name"),
        ("    - [/usr/bin/test, -f, /tmp/x]", "    - [test]", "Line 46: 'test' is not a full path"),
        ("    - [/usr/bin/test, -f, /tmp/x]", "    - test", "Line 46: each of 'commands' must be a list"),
        ("policy: run_all", "policy: skip", "'at_most' belongs to the policy 'run_all'."),
        ("{policy: parallel, at_most: 2}", "{policy: parallel}", "'overlap' has no 'at_most'; add it."),
        ("policy: parallel", "policy: queue", "'at_most' belongs to the policy 'parallel'."),
        ("attempts: 5", "attempts: 0", "'attempts' must be between 1 and 100."),
        (
            "tokens_per_day: 20000",
            "tokens_a_day: 1",
            "unknown key 'tokens_a_day'; did you mean 'tokens_per_day'?",
        ),
        (
            "{run: 10 minutes, step: 90}",
            "{run: 1 minute, step: 1 hour}",
            "'step' is longer than the 1 minute of its run; shorten it, or raise 'run'.",
        ),
        ("{run: 10 minutes, step: 90}", "{step: 2 hours}", "'step' is longer than the 1 hour of its run"),
        ("power: ac_only", "power: sun", "'power' must be 'any' or 'ac_only' or 'idle_only'."),
        (
            "\nWrite the page.\n",
            "",
            ": there are no instructions; write what the agent is to do below this line.",
        ),
        (
            "kind: write",
            "kind: digest",
            "Line 6: a 'digest' reads a document, and 'cron' brings none; use 'file_changed'",
        ),
    ],
)
def test_each_problem_is_one_sentence_with_its_line(old: str, new: str, problem: str):
    assert old in FULL
    with pytest.raises(UsageProblem) as caught:
        parse(FULL.replace(old, new, 1))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_may_never_take_longer_than_its_run():
    short = FULL.replace("{run: 10 minutes, step: 90}", "{run: 1 minute}")
    assert parse(short).policy.limits == TimeLimits(run_s=60.0, step_s=60.0)


def test_a_time_that_the_clocks_skip_is_refused():
    source = FULL.replace("2026-12-01 09:00", "2026-03-29 02:30")
    with pytest.raises(UsageProblem, match="the clocks of Europe/Berlin skip 2026-03-29 02:30"):
        parse(source, zone="Europe/Berlin")


def test_a_time_that_the_clocks_show_twice_is_the_first_one_and_the_second_has_an_offset():
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert render_moment(first, "Europe/Berlin") == "2026-10-25 02:30"
    assert render_moment(first + timedelta(hours=1), "Europe/Berlin") == "2026-10-25 02:30+01:00"
    source = FULL.replace("2026-12-01 09:00", "2026-10-25 02:30+01:00")
    (once,) = (each for each in parse(source).triggers if isinstance(each, OnceTrigger))
    assert once.at == first + timedelta(hours=1)


def test_the_zone_of_the_computer_is_one_that_can_be_read_back():
    source = FULL.replace("    zone: Europe/Berlin\n", "")
    definition = parse_definition(source, home=HOME)
    assert definition.timed_triggers[0] == CronTrigger(schedule="0 8 * * 1-5", zone=local_zone())


def test_a_computer_that_names_no_zone_counts_by_utc_and_one_that_travels_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    assert local_zone() == "Pacific/Chatham"
    monkeypatch.setenv("TZ", "Europe/Lisbon")
    assert local_zone() == "Europe/Lisbon"
    monkeypatch.setenv("TZ", "Nowhere/Land")
    assert local_zone() == "UTC"
    monkeypatch.undo()
    local_zone()  # the library remembers the last one it was asked for


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("900", 900),
        ("0.5", 0.5),
        ("15 minutes", 900),
        ("2h", 7200),
        ("1 hour 30 min", 5400),
        ("1.5 Hours", 5400),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "1:30", ".inf", "5 fortnights", "5 5", "1e9", "1_000"])
def test_what_is_no_duration_is_not_guessed_at(text: str):
    assert parse_duration(text) is None


@given(st.floats(0.1, 40_000_000) | st.integers(1, 40_000_000).map(float))
def test_a_duration_survives_being_written_and_read(seconds: float):
    assert parse_duration(str(render_duration(seconds))) == seconds


def test_durations_are_told_in_the_largest_unit_that_fits():
    assert [duration_in_words(each) for each in (1, 90, 5400, 86400, 0.1)] == [
        "1 second",
        "90 seconds",
        "90 minutes",
        "24 hours",
        "0.1 seconds",
    ]


# --- what is asked for ---------------------------------------------------------------------------


def test_what_a_full_agent_asks_for_is_told_in_words():
    assert asks_of(parse(FULL)) == (
        "read files in /home/me/Notes",
        "write files in /home/me/Pages/daily",
        "ask the host example.org whether something has changed",
        "ask the host ::1 whether something has changed",
        "run the command /usr/bin/test -f /tmp/x",
    )


def test_only_hosts_commands_and_folders_beyond_the_grant_are_new():
    old = parse(FULL)
    assert new_asks(old, old) == ()
    assert new_asks(old, parse(FULL.replace("Pages/daily", "Pages/daily/new"))) == ()
    wider = (
        FULL.replace("Pages/daily", "Pages")
        .replace('"::1"', "example.com")
        .replace("[/usr", "[/bin/true], [/usr")
    )
    wider = wider.replace("    - [/bin/true], [/usr", "    - [/bin/true]\n    - [/usr")
    wider = wider.replace("run: [/bin/true], [/usr", "run: [/usr")
    assert new_asks(old, parse(wider)) == (
        "write files in /home/me/Pages",
        "ask the host example.com whether something has changed",
        "run the command /bin/true",
    )


def test_folders_that_leave_a_gates_path_out_can_not_be_chosen():
    with pytest.raises(UsageProblem, match="A gate of this agent looks at /home/me/Notes/todo.md"):
        with_folders(parse(FULL), [Path("/data")])


def test_a_folder_to_write_in_has_to_be_there(tmp_path: Path):
    (tmp_path / "notes").mkdir()
    source = FULL.replace("/home/me/Notes", str(tmp_path / "notes")).replace(
        "/home/me/Pages", str(tmp_path / "out")
    )
    with pytest.raises(UsageProblem, match="out/daily does not exist"):
        check_folders(parse(source), home=HOME)
    (tmp_path / "out" / "daily").mkdir(parents=True)
    check_folders(parse(source), home=HOME)


# --- the round trip ------------------------------------------------------------------------------

ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]
zones = st.sampled_from(ZONES)
seconds = st.floats(60, 80_000) | st.integers(60, 80_000).map(float)
counts = st.integers(1, 10**9)
names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=10)
words = names.map(lambda name: f"{name}: #'x")
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: Path("/granted", *parts))
hosts = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=8), unique=True, max_size=3).map(tuple)
commands = st.lists(
    st.lists(words, max_size=2).map(lambda args: ("/bin/true", *args)), unique=True, max_size=3
).map(tuple)
schedules = st.sampled_from(["0 8 * * 1-5", "*/5 * * * *", "30 2 1 jan *", "0 0 * * sun", "15,45 9-17 * * *"])
triggers = st.one_of(
    st.builds(CronTrigger, schedule=schedules, zone=zones),
    st.builds(IntervalTrigger, every_s=seconds),
    st.builds(
        OnceTrigger,
        at=st.integers(600_000_000, 3_800_000_000).map(lambda at: datetime.fromtimestamp(at, UTC)),
        zone=zones,
    ),
    st.builds(
        FileTrigger,
        folders=st.lists(paths, min_size=1, max_size=3, unique=True).map(tuple),
        recursive=st.booleans(),
        settle_s=st.floats(0.1, 3600),
        storm_files=st.integers(1, 100_000),
    ),
    st.just(StartTrigger()),
    st.just(WakeTrigger()),
    st.builds(IdleTrigger, after_s=seconds),
    st.builds(WebhookTrigger, hook=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)),
    st.builds(ResultTrigger, agent=names.map(lambda name: f"x{name}"), when=st.sampled_from(ResultKind)),
)
policies = st.builds(
    RunPolicy,
    misfire=st.builds(
        Misfire,
        policy=st.sampled_from([MisfirePolicy.SKIP, MisfirePolicy.RUN_ONCE]),
        within_s=st.none() | seconds,
    )
    | st.builds(Misfire, policy=st.just(MisfirePolicy.RUN_ALL), at_most=st.integers(1, 100)),
    overlap=st.builds(Overlap, policy=st.sampled_from([OverlapPolicy.SKIP, OverlapPolicy.REPLACE]))
    | st.builds(Overlap, policy=st.just(OverlapPolicy.PARALLEL), at_most=st.integers(2, 100)),
    retry=st.builds(Retry, attempts=st.integers(1, 100), first_s=seconds),
    limits=st.tuples(seconds, seconds).map(lambda both: TimeLimits(run_s=max(both), step_s=min(both))),
    budget=st.builds(
        Budget,
        tokens_per_run=st.none() | counts,
        seconds_per_run=st.none() | seconds,
        tool_calls_per_run=st.none() | counts,
        runs_per_hour=st.none() | counts,
        runs_per_day=st.none() | counts,
        tokens_per_day=st.none() | counts,
        seconds_per_day=st.none() | seconds,
        wh_per_day=st.none() | st.floats(0.001, 1e6),
        money_per_day=st.none() | st.floats(0.001, 1e6),
    ),
    power=st.sampled_from(PowerClass),
)


@st.composite
def definitions(draw: st.DrawFn) -> AgentDefinition:
    granted_hosts, granted_commands = draw(hosts), draw(commands)
    gates = [
        st.builds(ChangedGate, paths=st.lists(paths, min_size=1, max_size=3, unique=True).map(tuple)),
        st.builds(
            HoursGate,
            start=st.sampled_from([time(0), time(9, 5)]),
            end=st.sampled_from([time(18), time(23, 59)]),
            zone=zones,
            days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
        ),
        st.just(PowerGate()),
        st.builds(MemoryGate, query=words, at_least=counts),
    ]
    if granted_hosts:
        gates.append(
            st.builds(UrlGate, url=st.sampled_from(granted_hosts).map(lambda host: f"http://{host}/a?b=1"))
        )
    if granted_commands:
        gates.append(
            st.builds(CommandGate, argv=st.sampled_from(granted_commands), timeout_s=st.floats(0.1, 300))
        )
    return AgentDefinition(
        name="Round trip",
        description=draw(words),
        kind=AgentKind.WRITE,
        triggers=tuple(draw(st.lists(triggers, max_size=4, unique=True))),
        gates=tuple(draw(st.lists(st.one_of(gates), max_size=4, unique=True))),
        read_folders=(Path("/granted"),),
        hosts=granted_hosts,
        commands=granted_commands,
        write_folder=draw(st.none() | paths),
        policy=draw(policies),
        instructions="Do it.",
    )


@settings(deadline=None)
@given(definitions(), zones)
def test_a_definition_survives_being_written_and_read_in_whatever_zone(
    definition: AgentDefinition, zone: str
):
    assert parse_definition(render_definition(definition), home=HOME, zone=zone) == definition


def test_what_stands_at_its_default_is_not_written():
    text = render_definition(
        parse("---\nname: A\ndescription: x\nkind: write\ntriggers:\n  - on: start\n---\nGo.\n")
    )
    assert not {"misfire", "overlap", "retry", "limits", "budget", "power", "gates", "output"} & {
        line.partition(":")[0] for line in text.splitlines()
    }
