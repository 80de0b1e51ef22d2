"""Text that a model wrote is inert: nothing is loaded, nothing is opened, HTML is only text."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument
from pytestqt.qtbot import QtBot
from watchdog.events import FileOpenedEvent, FileSystemEventHandler
from watchdog.observers import Observer

from app.desktop.theme.theme import Theme
from app.desktop.widgets.markdown import CodeView, TextView

HOSTILE = (
    "![a]({url})",
    "![a](<{url}>)",
    '![a]({url} "title")',
    "![a][ref]\n\n[ref]: {url}",
    "![ref]\n\n[ref]: {url}",
    "[![a]({url})](https://example.org)",
    "| a |\n|---|\n| ![a]({url}) |",
    "- ![a]({url})",
    "> ![a]({url})",
    "# ![a]({url})",
    "**![a]({url})**",
    "text ![a]({url}) text ![b]({url})",
    '<img src="{url}">',
    "<img src='{url}' onerror='x'>",
    '<p><img src="{url}"/></p>',
    '<style>body {{ background: url("{url}") }}</style>',
    '<link rel="stylesheet" href="{url}">',
    '<object data="{url}"></object>',
    '<iframe src="{url}"></iframe>',
    '<a href="{url}"><img src="{url}"></a>',
    '<div style="background-image: url({url})">x</div>',
    '<table background="{url}"><tr><td>x</td></tr></table>',
    "&lt;img src=&quot;{url}&quot;&gt;",
    "<{url}>",
    "{url}",
)


@pytest.fixture
def view(qtbot: QtBot) -> TextView:
    made = TextView()
    qtbot.addWidget(made)
    made.resize(500, 300)
    made.show()
    return made


class Opened(FileSystemEventHandler):
    """Notes which files are opened."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_opened(self, event: FileOpenedEvent) -> None:  # type: ignore[override]
        self.names.append(Path(str(event.src_path)).name)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[tuple[Path, Opened]]:
    """An image, and a watcher that sees when somebody opens it."""
    image = tmp_path / "secret.png"
    picture = QImage(40, 400, QImage.Format.Format_RGB32)
    picture.fill(Qt.GlobalColor.red)
    assert picture.save(str(image))
    observer, opened = Observer(), Opened()
    observer.schedule(opened, str(tmp_path))
    observer.start()
    yield image, opened
    observer.stop()
    observer.join()


def show(view: TextView, text: str) -> None:
    view.show_markdown(text)
    view.grab()


def test_no_file_is_read_whatever_the_text_says(view: TextView, trap: tuple[Path, Opened]) -> None:
    image, opened = trap
    for form in HOSTILE:
        for url in (image.as_uri(), str(image)):
            show(view, form.format(url=url))
            assert view.height() < 300, form  # the picture is 400 high
    image.with_name("control.txt").write_text("the watcher sees this")
    image.with_name("control.txt").read_text()
    for _ in range(200):
        if "control.txt" in opened.names:
            break
        threading.Event().wait(0.02)
    assert "control.txt" in opened.names
    assert image.name not in opened.names


def test_no_address_is_contacted_whatever_the_text_says(qtbot: QtBot, view: TextView) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        port = server.getsockname()[1]
        for form in HOSTILE:
            show(view, form.format(url=f"http://127.0.0.1:{port}/x.png"))
        qtbot.wait(50)
        with pytest.raises(TimeoutError):
            server.accept()


def test_images_become_their_names(view: TextView) -> None:
    show(view, "before ![the roof](file:///x.png) after")
    assert view.toPlainText() == "before [the roof] after"


def test_html_is_shown_and_not_obeyed(view: TextView) -> None:
    show(view, "<b>bold</b> <script>alert(1)</script>")
    assert "<b>bold</b>" in view.toPlainText()
    assert "<script>" in view.toPlainText()


def test_markdown_is_drawn(view: TextView) -> None:
    show(view, "# Head\n\nA **bold** word.\n\n- one\n- two")
    assert view.toPlainText() == "Head\nA bold word.\none\ntwo"
    assert "font-weight:700" in view.toHtml()


def test_the_document_loads_nothing_even_if_asked(view: TextView, tmp_path: Path) -> None:
    image = tmp_path / "x.png"
    QImage(40, 40, QImage.Format.Format_RGB32).save(str(image))
    url = QUrl.fromLocalFile(str(image))
    for kind in QTextDocument.ResourceType:
        for loaded in (view.document().resource(kind.value, url), view.loadResource(kind.value, url)):
            assert loaded is None or loaded.size().width() == 1


def test_a_link_only_says_that_it_was_clicked(qtbot: QtBot, view: TextView) -> None:
    show(view, "[the page](https://example.org/x)")
    with qtbot.waitSignal(view.anchorClicked) as clicked:
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(10, 8))
    assert clicked.args == [QUrl("https://example.org/x")]
    assert view.source() == QUrl()


def test_text_is_as_tall_as_its_content(qtbot: QtBot, view: TextView) -> None:
    show(view, "word " * 10)
    low = view.height()
    show(view, "word " * 400)
    assert view.height() > low * 3
    assert view.verticalScrollBar().maximum() == 0


def test_code_grows_and_can_be_copied(qtbot: QtBot, theme: Theme) -> None:
    code = CodeView(theme, "python")
    qtbot.addWidget(code)
    code.show_code("x = 1")
    code.show_code("x = 1\ny = 2")
    assert code.code == "x = 1\ny = 2"
    code.show_code("z")
    assert code.code == "z"
