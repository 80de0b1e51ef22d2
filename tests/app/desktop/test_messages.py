"""An answer drawn while it is written: what is closed is not drawn again."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from agents.contract import ChatDelta, ChatDone, ChatRestarted
from app.desktop.models.chat import Answer
from app.desktop.theme.theme import Theme, ThemeChoice
from app.desktop.widgets import messages
from app.desktop.widgets.markdown import CodeView, TextView
from app.desktop.widgets.messages import AnswerView
from tests.app.desktop.desk import pump

TEXT = "# Roof\n\nFirst paragraph.\n\nSecond one.\n\n```python\nx = 1\n\ny = 2\n```\n\nAfter the code.\n\n- a\n- b\n"


@pytest.fixture
def view(qtbot: QtBot, theme: Theme) -> AnswerView:
    made = AnswerView(theme)
    qtbot.addWidget(made)
    made.resize(500, 400)
    made.show()
    return made


def pieces(view: AnswerView) -> list[tuple[str, str]]:
    """What is on the screen, top to bottom."""
    pump()
    found: list[tuple[str, str]] = []
    for place in range(view._blocks.count()):
        item = view._blocks.itemAt(place)
        widget = item.widget() if item else None
        if isinstance(widget, CodeView):
            found.append(("code", widget.code))
        elif isinstance(widget, TextView):
            found.append(("text", widget.toPlainText()))
    return found


def stream(view: AnswerView, text: str, size: int) -> Answer:
    answer = Answer()
    for at in range(0, len(text), size):
        answer = answer.after(ChatDelta(text=text[at : at + size]))
        view.show_answer(answer)
    return answer


def finish(view: AnswerView, answer: Answer, text: str) -> None:
    done = ChatDone(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1, tokens_per_s=80)
    view.show_answer(answer.after(done))


@pytest.mark.parametrize("size", [1, 3, 17, 1000])
def test_streamed_in_any_pieces_it_looks_the_same(view: AnswerView, size: int) -> None:
    finish(view, stream(view, TEXT, size), TEXT)
    assert pieces(view) == [
        ("text", "Roof\nFirst paragraph.\nSecond one."),
        ("code", "x = 1\n\ny = 2"),
        ("text", "After the code.\na\nb"),
    ]


def test_only_the_tail_is_drawn_again(view: AnswerView, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = "word " * 400 + "\n\n"
    answer = stream(view, closed + "tail", 2000)
    drawn: list[str] = []
    original = TextView.show_markdown
    monkeypatch.setattr(
        TextView, "show_markdown", lambda self, text: (drawn.append(text), original(self, text))
    )
    for _ in range(20):
        answer = answer.after(ChatDelta(text=" more"))
        view.show_answer(answer)
    assert len(drawn) == 20
    assert max(len(text) for text in drawn) < 200


def test_a_long_answer_is_spread_over_documents(view: AnswerView) -> None:
    text = "\n\n".join("word " * 100 for _ in range(30))
    finish(view, stream(view, text, 500), text)
    shown = pieces(view)
    assert len(shown) > 2
    assert all(len(piece) <= messages.DOCUMENT_CHARS + 600 for _kind, piece in shown)


def test_after_a_restart_the_old_text_is_gone(view: AnswerView) -> None:
    answer = stream(view, "half an ans", 4).after(ChatRestarted(reason="The engine ended."))
    view.show_answer(answer)
    assert pieces(view) == []
    view.show_answer(answer.after(ChatDelta(text="whole")))
    assert pieces(view) == [("text", "whole")]


def test_a_new_theme_keeps_the_text(view: AnswerView, theme: Theme) -> None:
    answer = stream(view, TEXT, 10)
    before = pieces(view)
    theme.choose(ThemeChoice.DARK)
    assert pieces(view) == before
    finish(view, answer, TEXT)
    assert pieces(view)[0][1].startswith("Roof")
