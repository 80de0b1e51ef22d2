"""Lines that stay and hints that go."""

from __future__ import annotations

import io

from app.cli.screen import LOG_INTERVAL_S, Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(text: str) -> list[str]:
    """What a terminal shows after these characters, line by line."""
    lines = []
    for written in text.split("\n"):
        line: list[str] = []
        column = 0
        for char in written:
            if char == "\r":
                column = 0
                continue
            line[column : column + 1] = [char]
            column += 1
        lines.append("".join(line).rstrip())
    return lines


def test_a_terminal_writes_hints_over_each_other_and_a_line_over_the_hint() -> None:
    terminal, clock = Terminal(), Clock()
    screen = Screen(terminal, monotonic=clock)
    screen.hint("reading, 10 %")
    clock.now = 1.0
    screen.hint("done")
    assert shown(terminal.getvalue()) == ["done"]
    screen.line("a line")
    screen.hint("more")
    screen.clear()
    assert shown(terminal.getvalue()) == ["a line", ""]


def test_hints_are_not_redrawn_more_often_than_an_eye_can_read() -> None:
    terminal, clock = Terminal(), Clock()
    screen = Screen(terminal, monotonic=clock)
    for number in range(100):
        screen.hint(str(number))
    assert shown(terminal.getvalue()) == ["0"]


def test_a_log_has_no_cursor_tricks_and_a_hint_only_now_and_then() -> None:
    log, clock = io.StringIO(), Clock()
    screen = Screen(log, log_hints=True, monotonic=clock)
    for _ in range(100):
        screen.hint(f"at {clock.now:.0f}")
        clock.now += LOG_INTERVAL_S / 10
    screen.line("end")
    screen.clear()
    assert "\r" not in log.getvalue()
    assert log.getvalue().count("\n") == 10
    assert log.getvalue().endswith("\nend\n")


def test_a_pipe_gets_no_hints_unless_asked_for() -> None:
    pipe, clock = io.StringIO(), Clock()
    screen = Screen(pipe, monotonic=clock)
    clock.now = 100.0
    screen.hint("reading")
    assert pipe.getvalue() == ""


def test_a_hint_never_breaks_the_line() -> None:
    terminal = Terminal()
    Screen(terminal).hint("x" * 500 + "\nmore")
    assert "\n" not in terminal.getvalue()
    assert len(terminal.getvalue()) < 200
