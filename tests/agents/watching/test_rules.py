"""Which files an agent means, by their names."""

from pathlib import Path

import pytest

from agents.core import AgentDefinition, AgentKind
from agents.triggers import FileTrigger
from agents.watching.rules import FolderRule, rules_of

INBOX = Path("/home/me/Inbox")


def rule(*patterns: str, recursive: bool = True) -> FolderRule:
    return FolderRule(
        folder=INBOX,
        root=INBOX,
        patterns=patterns,
        recursive=recursive,
        settle_s=1.0,
        trigger_key="file_changed:1",
        storm_files=200,
    )


@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "sub/a.txt", "~a.txt", "a b.txt"])
def test_wanted(name: str) -> None:
    assert rule("*.txt").wants(INBOX / name)


@pytest.mark.parametrize(
    "name",
    [
        "a.pdf",
        ".a.txt",
        "~$a.txt",
        ".~lock.a.txt",
        "#a.txt#",
        ".git/a.txt",
        "sub/.cache/a.txt",
        ".",
        "../a.txt",
    ],
)
def test_not_wanted(name: str) -> None:
    assert not rule("*.txt").wants(INBOX / name)


@pytest.mark.parametrize("name", ["a.part", "a.crdownload", "a.tmp", "a.swp", "a.txt~", "a.Download"])
def test_temporary_files_are_not_wanted_whatever_the_pattern(name: str) -> None:
    assert not rule("*").wants(INBOX / name)


def test_without_recursion_only_the_folder_itself_counts() -> None:
    flat = rule("*.txt", recursive=False)
    assert flat.wants(INBOX / "a.txt")
    assert not flat.wants(INBOX / "sub" / "a.txt")


def test_each_folder_of_each_trigger_has_a_rule_rooted_in_the_nearest_grant() -> None:
    triggers = (
        FileTrigger(folders=(INBOX / "a", INBOX / "b"), settle_s=1.0),
        FileTrigger(folders=(Path("/scans"),), patterns=("*.pdf",), recursive=False, settle_s=5.0),
        FileTrigger(folders=(Path("/not/granted"),)),
    )
    definition = AgentDefinition(
        name="x",
        description="x",
        kind=AgentKind.DIGEST,
        triggers=triggers,
        read_folders=(Path("/home"), INBOX / "a", Path("/scans")),
    )
    rules = {rule.folder: rule for rule in rules_of(definition)}
    assert {folder: rule.root for folder, rule in rules.items()} == {
        INBOX / "a": INBOX / "a",
        INBOX / "b": Path("/home"),
        Path("/scans"): Path("/scans"),
    }
    assert (rules[Path("/scans")].settle_s, rules[Path("/scans")].recursive) == (5.0, False)
