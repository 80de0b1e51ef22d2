"""Every name that a disk can hold becomes text that can be sent and shown."""

import os
from pathlib import Path

import pytest

from agents.printable import printable, printable_name


def test_a_name_of_plain_text_stays_as_it_is() -> None:
    assert printable(Path("/in/größe 📄.txt")) == "/in/größe 📄.txt"
    assert printable_name(Path("/in/größe 📄.txt")) == "größe 📄.txt"
    assert printable_name(Path("/")) == "/"


@pytest.mark.parametrize("name", [os.fsdecode(b"/in/\xff.txt"), "/in/\ud800.txt"])
def test_what_is_no_text_is_marked_and_can_be_sent(name: str) -> None:
    assert printable(Path(name)) == "/in/\N{REPLACEMENT CHARACTER}.txt"
    assert printable_name(Path(name)).encode() == "\N{REPLACEMENT CHARACTER}.txt".encode()
