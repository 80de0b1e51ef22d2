"""Takes a picture of the real window on a home: `python tests/tools/screenshot.py OUT.png --home DIR [--page run]`.

Works under xvfb-run. A runtime that this had to start is stopped again; one that ran already is left alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication

from agents.paths import HomePaths
from app.desktop.link.runtime_link import RuntimeLink
from app.desktop.link.states import LinkState
from app.desktop.main import make_application, make_shell
from app.desktop.shell import Shell
from app.desktop.theme.theme import ThemeChoice

LOAD_WITHIN_MS = 90_000
SETTLE_MS = 700
LOADING = ("starting", "self_test", "restarting")
PAGES = ("home", "chat", "agents", "run")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--page", choices=PAGES, default="home")
    parser.add_argument("--run", type=int, help="which run to show; by default that of the newest result")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--size", default="1120x720", help="of the window, WIDTHxHEIGHT in logical pixels")
    arguments = parser.parse_args()
    application = make_application()
    shell = make_shell(application, arguments.home, theme=ThemeChoice(arguments.theme))
    width, height = (int(part) for part in arguments.size.split("x"))
    shell.window.resize(width, height)
    was_running = HomePaths(arguments.home).socket.exists()
    shell.start()
    shell.show_window()
    try:
        problem = _show(shell, arguments.page, arguments.run)
        if problem is None and not _grab(shell, arguments.out):
            problem = f"{arguments.out} can't be written."
    finally:
        if not was_running:
            _stop_runtime(shell.link)
        shell.finish()
        application.processEvents()
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    print(arguments.out)
    return 0


def _show(shell: Shell, page: str, run_id: int | None) -> str | None:
    """Brings the page on the screen, complete; a sentence when that does not work."""
    link, window = shell.link, shell.window
    if not _wait(lambda: link.is_connected or link.state.waits_for_user) or not link.is_connected:
        return f"The runtime of this home can't be reached: {link.sentence or link.state.value}"
    _wait(lambda: link.world.status is not None and link.world.status.engine.state not in LOADING)
    if page == "run":
        newest = next((result.run_id for result in link.world.results), max(link.world.runs, default=None))
        chosen = run_id if run_id is not None else newest
        if chosen is None:
            return "This home has no run to show."
        window.show_run(chosen)
        _wait(lambda: window.run.shows_run == chosen)
    else:
        window.show_page(page)
    if page == "chat":
        _open_newest_conversation(shell)
    _pause(SETTLE_MS)
    return None


def _open_newest_conversation(shell: Shell) -> None:
    found: list[int] = []
    shell.link.api.conversations(
        lambda all_of_them: found.extend(each.id for each in all_of_them) or found.append(-1),
        lambda _trouble: None,
    )
    if _wait(lambda: bool(found)) and found[0] >= 0:
        shell.window.chat.open_conversation(found[0])
        shell.window.chat.conversations.select(found[0])


def _grab(shell: Shell, out: Path) -> bool:
    out.parent.mkdir(parents=True, exist_ok=True)
    return shell.window.grab().save(str(out))


def _stop_runtime(link: RuntimeLink) -> None:
    if link.is_connected:
        link.api.stop(lambda _none: None, lambda _trouble: None)
        _wait(lambda: link.state is not LinkState.CONNECTED)


def _wait(condition) -> bool:  # type: ignore[no-untyped-def]
    """Runs Qt's loop until the condition holds or the time is over."""
    loop, passed = QEventLoop(), [0]
    timer = QTimer()
    timer.setInterval(50)

    def look() -> None:
        passed[0] += timer.interval()
        if condition() or passed[0] >= LOAD_WITHIN_MS:
            loop.quit()

    timer.timeout.connect(look)
    timer.start()
    loop.exec()
    timer.stop()
    return bool(condition())


def _pause(for_ms: int) -> None:
    loop = QEventLoop()
    QTimer.singleShot(for_ms, loop.quit)
    loop.exec()
    QApplication.processEvents()


if __name__ == "__main__":
    sys.exit(main())
