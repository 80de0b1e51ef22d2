"""Texts and vectors on their way: nothing is lost, nothing that can't be a vector gets through."""

import base64
import struct

import pytest

from engine.errors import EngineError, PromptTooLong, RequestInvalid
from engine.host.vectors import TEXTS_A_MESSAGE, behind, joined, parts_to_embed
from engine.messages import Embedded


def embedded(*vectors: tuple[float, ...], tokens: int = 1) -> Embedded:
    texts = tuple(base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors)
    return Embedded(id="1", vectors=texts, tokens=tokens)


def test_texts_are_split_in_order_and_put_together_again() -> None:
    texts = [str(number) for number in range(TEXTS_A_MESSAGE + 2)]
    parts = parts_to_embed(texts)
    assert [len(part) for part in parts] == [TEXTS_A_MESSAGE, 2]
    assert [text for part in parts for text in part] == texts
    replies = [embedded(*((float(text), 0.5) for text in part), tokens=len(part)) for part in parts]
    result = joined(parts, replies)
    assert [list(vector) for vector in result.vectors] == [[float(text), 0.5] for text in texts]
    assert result.tokens == len(texts)


@pytest.mark.parametrize("texts", [[], ["x"] * 2049, ["a\ud800"], ["x" * 4_000_001]])
def test_what_can_not_be_embedded_is_refused_with_a_sentence(texts: list[str]) -> None:
    with pytest.raises(RequestInvalid, match=r"\.$"):
        parts_to_embed(texts)


@pytest.mark.parametrize("empty", ["", "  \n\t"])
def test_a_text_without_a_word_is_refused_by_its_number(empty: str) -> None:
    with pytest.raises(RequestInvalid, match="^Text 2 is empty; leave it out.$"):
        parts_to_embed(["a", empty, "b"])


def test_a_text_that_is_too_long_is_named_by_its_place_among_all() -> None:
    error = behind(PromptTooLong(700, 512, text_number=3), TEXTS_A_MESSAGE)
    assert str(error).startswith(f"Text {TEXTS_A_MESSAGE + 3} has 700 tokens")


@pytest.mark.parametrize(
    "reply",
    [
        embedded((1.0,)),
        embedded((1.0,), (1.0,), (1.0,)),
        embedded((1.0,), (1.0, 2.0)),
        embedded((), ()),
        Embedded(id="1", vectors=("AACAPw==", "not base64!"), tokens=1),
        Embedded(id="1", vectors=("AACAPw==", "AACA"), tokens=1),
    ],
)
def test_an_answer_that_can_not_be_vectors_is_an_error(reply: Embedded) -> None:
    with pytest.raises(EngineError, match="can't be used"):
        joined([("a", "b")], [reply])
