"""Agent files: read strictly with the line of each problem, written back unchanged, and told in words."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.builtin import DOCUMENT_DIGEST, builtin_names, builtin_source
from agents.core import AgentDefinition, AgentKind, NotifyPolicy
from agents.definitions import (
    asks_of,
    check_folders,
    folder_problem,
    new_asks,
    parse_definition,
    render_definition,
    with_folders,
)
from agents.errors import NotFound, UsageProblem
from agents.triggers import FileTrigger

HOME = Path("/home/me/.local/share/hearth")
GOOD = """\
---
name: Inbox digest
description: Reads what arrives.
kind: digest
triggers:
  - on: file_changed
    folders: [/home/me/Inbox, /home/me/Scans/new]
    patterns: ["*.pdf"]
    recursive: no
    settle_s: 1.5
capabilities:
  read:
    - /home/me/Inbox
    - /home/me/Scans
model: /models/tiny.gguf
notify: failed
---

# What matters

Dates and amounts.
"""


def parse(source: str) -> AgentDefinition:
    return parse_definition(source, home=HOME)


def test_every_key_is_read() -> None:
    assert parse(GOOD) == AgentDefinition(
        name="Inbox digest",
        description="Reads what arrives.",
        kind=AgentKind.DIGEST,
        triggers=(
            FileTrigger(
                folders=(Path("/home/me/Inbox"), Path("/home/me/Scans/new")),
                patterns=("*.pdf",),
                recursive=False,
                settle_s=1.5,
            ),
        ),
        read_folders=(Path("/home/me/Inbox"), Path("/home/me/Scans")),
        model="/models/tiny.gguf",
        notify=NotifyPolicy.FAILED,
        instructions="# What matters\n\nDates and amounts.",
    )


def test_what_may_be_left_out_has_defaults() -> None:
    source = GOOD
    for line in (
        '    patterns: ["*.pdf"]\n',
        "    recursive: no\n",
        "    settle_s: 1.5\n",
        "notify: failed\n",
    ):
        source = source.replace(line, "")
    definition = parse(source.replace("model: /models/tiny.gguf\n", ""))
    (trigger,) = definition.triggers
    assert trigger.patterns == ("*.txt", "*.md", "*.markdown", "*.pdf")
    assert (trigger.recursive, trigger.settle_s) == (True, 2.0)
    assert (definition.model, definition.notify) == ("built-in", NotifyPolicy.ALWAYS)


def test_a_windows_file_with_a_mark_is_read_too() -> None:
    assert parse("\ufeff" + GOOD.replace("\n", "\r\n")) == parse(GOOD)


def test_a_tilde_is_the_users_home_and_dots_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse(GOOD.replace("/home/me/Scans/new", "~/Inbox/../Scans/./new")) == parse(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("triggers:", "trigers:", "Line 5: unknown key 'trigers'; did you mean 'triggers'?"),
        ("    settle_s: 1.5", "    settle: 1.5", "Line 10: unknown key 'settle'; did you mean 'settle_s'?"),
        ("  read:\n", "  erase: [/x]\n  read:\n", "Line 12: unknown key 'erase'; known are read, write"),
        ("notify: failed", "colour: red", "Line 16: unknown key 'colour'; known are name, "),
        ("notify: failed", "name: Again", "Line 16: the key 'name' is there twice; keep one of them."),
        ("kind: digest\n", "", "Line 2: the front matter has no 'kind'; add it."),
        (
            "    folders: [/home/me/Inbox, /home/me/Scans/new]\n",
            "",
            "Line 6: the trigger 'file_changed' has no 'folders'",
        ),
        ("name: Inbox digest", "name: 2026", "Line 2: 'name' must be text; put it in quotes."),
        ("name: Inbox digest", "name: [a]", "Line 2: 'name' must be text; put it in quotes."),
        ("name: Inbox digest", "name:", "Line 2: 'name' is empty; fill it in."),
        ("name: Inbox digest", "name: a/b", "Line 2: 'name' may hold letters, digits, "),
        (
            "name: Inbox digest",
            f"name: {'x' * 65}",
            "Line 2: 'name' is longer than 64 characters; shorten it.",
        ),
        ("kind: digest", "kind: poet", "Line 4: 'kind' must be 'digest' or 'write'."),
        (
            "file_changed",
            "full_moon",
            "Line 6: 'on' must be 'cron' or 'interval' or 'once' or 'file_changed' or",
        ),
        ("recursive: no", "recursive: maybe", "Line 9: 'recursive' must be true or false."),
        ("settle_s: 1.5", "settle_s: soon", "Line 10: 'settle_s' must be a number."),
        ("settle_s: 1.5", "settle_s: 1:30", "Line 10: 'settle_s' must be a plain number."),
        ("settle_s: 1.5", "settle_s: .nan", "Line 10: 'settle_s' must be a plain number."),
        ("settle_s: 1.5", "settle_s: 0", "Line 10: 'settle_s' must be between 0.1 and 3600."),
        ('["*.pdf"]', '["in/*.pdf"]', "Line 8: the pattern 'in/*.pdf' has a '/'; "),
        ('["*.pdf"]', "[]", "Line 8: 'patterns' is empty; name at least one"),
        ('["*.pdf"]', '"*.pdf"', "Line 8: 'patterns' must be a list."),
        (
            "[/home/me/Inbox, /home/me/Scans/new]",
            "[]",
            "Line 7: 'folders' is empty; name at least one folder.",
        ),
        ("/home/me/Scans/new", "Scans", "Line 7: 'Scans' is not a full path; begin it with / or ~."),
        (
            "/home/me/Scans/new",
            "~nobody-of-this-name/x",
            "Line 7: nobody's home is known as ~nobody-of-this-name/x",
        ),
        (
            "/home/me/Scans/new",
            "/home/me/Inbox/../x",
            "Line 7: the agent may not read /home/me/x; add it to 'read'",
        ),
        (
            "/home/me/Scans/new",
            f"{HOME}/logs",
            f"Line 7: the folder {HOME}/logs is inside Hearth's own home; choose another one.",
        ),
        (
            "model: /models/tiny.gguf",
            "model: tiny.gguf",
            "Line 15: 'model' must be 'built-in' or the full path",
        ),
        ("notify: failed", "notify: loudly", "Line 16: 'notify' must be 'always' or 'failed' or 'never'."),
        ("notify: failed", "notify: [", "Line 16: this is not valid YAML ("),
        (
            "notify: failed",
            "notify: * * * * *",
            "Line 16: to YAML a '*' that begins a text is a sign of its own; put the text in quotes.",
        ),
        ('["*.pdf"]', "[*.pdf]", "Line 8: to YAML a '*' that begins a text is a sign of its own; put"),
        ("notify: failed", "notify: *all", "Line 16: to YAML a '*' that begins a text"),
        ("notify: failed", "notify: @daily", "Line 16: to YAML a '@' that begins a text"),
        ("notify: failed", "notify: & b", "Line 16: to YAML a '&' that begins a text"),
        ("notify: failed", "notify: 'a\tb", "this is not valid YAML ("),
        ("notify: failed", "notify: \x07", "Line 16: a character is not allowed here; remove it."),
        (
            "notify: failed",
            "notify: " + "[" * 5_000,
            "Line 2: the front matter is nested too deeply; flatten it.",
        ),
        (
            "notify: failed",
            "#" * 70_000,
            "Line 1: the front matter is longer than 65,536 characters; shorten it.",
        ),
        (
            "notify: failed",
            "notify: !!python/object:os.system x",
            "Line 16: 'notify' must be text; put it in quotes.",
        ),
        ("notify: failed", "notify: \ud800", "Line 16: this is not valid Unicode; save the file as UTF-8."),
        ("---\nname", "name", "Line 1: the front matter is missing; begin the file with a line of ---."),
        ("failed\n---\n", "failed\n", "the front matter does not end; close it with a line of ---."),
        (
            "Dates and amounts.",
            "x" * 8_001,
            "Line 17: the instructions below are longer than 8,000 characters; shorten them.",
        ),
    ],
)
def test_each_problem_is_one_sentence_with_its_line(old: str, new: str, problem: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(UsageProblem) as caught:
        parse(GOOD.replace(old, new, 1))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "source", ["", "\n", "---", "---\n---\n", "---\n- a\n---\n", "---\n&a [*a]\n---\n", "--- x"]
)
def test_a_file_that_is_no_agent_at_all_is_one_sentence(source: str) -> None:
    with pytest.raises(UsageProblem, match=r"^Line \d+: "):
        parse(source)


@given(st.text(max_size=200))
def test_no_text_whatever_is_more_than_a_sentence(text: str) -> None:
    for source in (text, f"---\n{text}\n---\n", GOOD.replace("failed", text, 1)):
        with contextlib.suppress(UsageProblem):  # any other error fails the test
            parse(source)


words = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=30,
).filter(lambda text: bool(text.strip()))
folders = st.lists(
    st.lists(
        words.filter(lambda part: "/" not in part and part not in {".", ".."}), min_size=1, max_size=3
    ).map(lambda parts: Path("/", *parts)),
    min_size=1,
    max_size=3,
    unique=True,
).map(tuple)


@st.composite
def definitions(draw: st.DrawFn) -> AgentDefinition:
    readable = draw(folders)
    patterns = draw(st.lists(words.filter(lambda text: "/" not in text), min_size=1, unique=True, max_size=3))
    trigger = FileTrigger(
        folders=draw(st.sampled_from([readable, tuple(folder / "sub" for folder in readable)])),
        patterns=tuple(patterns),
        recursive=draw(st.booleans()),
        settle_s=draw(st.floats(0.1, 3600)),
    )
    return AgentDefinition(
        name=draw(st.from_regex(r"[A-Za-zäß0-9][A-Za-z0-9 ._-]{0,20}[a-z]", fullmatch=True)),
        description=draw(words),
        kind=AgentKind.DIGEST,
        triggers=(trigger,),
        read_folders=readable,
        model=draw(st.sampled_from(["built-in", "/models/a b: #c.gguf"])),
        notify=draw(st.sampled_from(NotifyPolicy)),
        instructions=draw(st.sampled_from(["", "One.", "# Two\n\n---\nname: trap\n---\n\nThree: 'x'"])),
    )


@given(definitions())
def test_a_definition_survives_being_written_and_read(definition: AgentDefinition) -> None:
    assert parse_definition(render_definition(definition), home=Path("/no/such/home")) == definition


def test_a_written_file_looks_as_people_write_it() -> None:
    text = render_definition(parse(GOOD))
    assert text.startswith("---\nname: Inbox digest\n")
    assert "\n- on: file_changed\n" in text


def test_the_agent_that_ships_waits_for_a_folder() -> None:
    assert builtin_names() == (DOCUMENT_DIGEST,)
    source = builtin_source(DOCUMENT_DIGEST)
    with pytest.raises(UsageProblem, match="'read' is empty; name at least one folder"):
        parse(source)
    template = parse_definition(source, home=HOME, template=True)
    assert (template.read_folders, template.triggers[0].folders) == ((), ())
    chosen = with_folders(template, [Path("/home/me/Inbox")])
    assert parse(render_definition(chosen)) == chosen
    with pytest.raises(NotFound, match="there is document-digest"):
        builtin_source("../../secret")


def test_choosing_folders_sets_triggers_and_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    chosen = with_folders(parse(GOOD), [Path("~/New"), Path("/data/x/../y"), Path("/home/me/New")])
    assert chosen.read_folders == (Path("/home/me/New"), Path("/data/y"))
    assert chosen.triggers[0].folders == chosen.read_folders
    assert chosen.triggers[0].patterns == ("*.pdf",)


@pytest.mark.parametrize(
    ("folders", "problem"),
    [
        ([], "No folder is named"),
        ([Path("here")], "is not a full path"),
        ([Path("/caf\udce9")], "can't be written down"),
        ([Path(f"/{number}") for number in range(51)], "50 folders at most"),
    ],
)
def test_folders_that_can_not_be_chosen(folders: list[Path], problem: str) -> None:
    with pytest.raises(UsageProblem, match=problem):
        with_folders(parse(GOOD), folders)


def test_what_an_agent_asks_for_is_told_in_words() -> None:
    assert asks_of(parse(GOOD)) == (
        "read files in /home/me/Inbox",
        "read files in /home/me/Scans",
        "use the model file /models/tiny.gguf",
    )


def test_only_what_was_not_granted_before_is_new() -> None:
    old = parse(GOOD)
    assert new_asks(None, old) == asks_of(old)
    assert new_asks(old, old) == ()
    assert new_asks(old, with_folders(old, [Path("/home/me/Inbox/2026")])) == ()
    wider = parse(GOOD.replace("- /home/me/Scans", "- /home/me").replace("tiny", "large"))
    assert new_asks(old, wider) == ("read files in /home/me", "use the model file /models/large.gguf")


# --- folders on the disk --------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "me" / "hearth"
    (home / "logs").mkdir(parents=True)
    return home


def test_a_good_folder_is_no_problem(tmp_path: Path, home: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "me" / "hearthstone").mkdir()
    check_folders(with_folders(parse(GOOD), [tmp_path / "inbox", tmp_path / "me" / "hearthstone"]), home=home)


def test_each_bad_folder_is_one_sentence(tmp_path: Path, home: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "alias").symlink_to(home)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        tmp_path
        / "missing": f"The folder {tmp_path}/missing does not exist; create it or choose another one.",
        tmp_path / "file": f"{tmp_path}/file is a file, not a folder; choose a folder.",
        home: f"The folder {home} is inside Hearth's own home {home}; choose another one.",
        home / "logs": f"The folder {home}/logs is inside Hearth's own home {home}; choose another one.",
        tmp_path
        / "alias": f"The folder {tmp_path}/alias is inside Hearth's own home {home}; choose another one.",
        tmp_path / "alias" / "logs": "is inside Hearth's own home",
        tmp_path
        / "me": f"The folder {tmp_path}/me contains Hearth's own home {home}; choose a folder beside it.",
        tmp_path / "loop": "can't be opened (Too many levels of symbolic links)",
        tmp_path / ("x" * 300): "can't be opened (File name too long)",
    }
    for folder, problem in cases.items():
        with pytest.raises(UsageProblem) as caught:
            check_folders(with_folders(parse(GOOD), [folder]), home=home)
        assert problem in str(caught.value)


def test_a_home_that_is_reached_by_a_link_is_recognised(tmp_path: Path, home: Path) -> None:
    (tmp_path / "alias").symlink_to(tmp_path / "me")
    assert "inside Hearth's own home" in str(folder_problem(home / "logs", tmp_path / "alias" / "hearth"))
    assert "contains Hearth's own home" in str(folder_problem(tmp_path / "me", tmp_path / "alias" / "hearth"))


def test_a_home_that_does_not_exist_yet_is_recognised_by_name(tmp_path: Path) -> None:
    assert "contains" in str(folder_problem(tmp_path, tmp_path / "to be made" / "hearth"))


def test_a_link_out_of_the_grant_is_refused(tmp_path: Path, home: Path) -> None:
    granted, outside = tmp_path / "granted", tmp_path / "outside"
    granted.mkdir()
    outside.mkdir()
    (granted / "way out").symlink_to(outside)
    source = GOOD.replace("[/home/me/Inbox, /home/me/Scans/new]", f"['{granted}/way out']")
    definition = parse(source.replace("- /home/me/Inbox\n    - /home/me/Scans", f"- {granted}"))
    with pytest.raises(UsageProblem, match="leads by a symbolic link out of what the agent may read"):
        check_folders(definition, home=home)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may read everything, so it steps down for this test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked_folder(home: Path) -> Iterator[Path]:
    """A folder that nobody but root may read, where others get as far as its parent."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "locked"
        folder.mkdir()
        folder.chmod(0)
        yield folder
        folder.chmod(0o700)


def test_an_unreadable_folder_is_one_sentence(locked_folder: Path, as_nobody: None) -> None:
    assert folder_problem(locked_folder, Path("/nowhere")) == (
        f"Hearth may not read the folder {locked_folder}; change its permissions or choose another one."
    )
