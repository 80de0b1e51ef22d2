"""Texts on their way to vectors and back: split into messages of a sensible size, and put together again; pure."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence

from engine.core import MAX_EMBEDDING_TEXTS, MAX_PROMPT_CHARS, Embeddings
from engine.errors import EngineError, PromptTooLong, RequestInvalid
from engine.messages import Embedded

TEXTS_A_MESSAGE = 64  # more urgent texts go in between, and an answer stays far below the limit of a frame
_BYTES_A_NUMBER = 4


def parts_to_embed(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The texts in their order, so many at a time. Raises RequestInvalid."""
    if not 1 <= len(texts) <= MAX_EMBEDDING_TEXTS:
        raise RequestInvalid(
            f"There are {len(texts):,} texts to embed; send 1 to {MAX_EMBEDDING_TEXTS:,} at a time."
        )
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise RequestInvalid(f"Text {number:,} is empty; leave it out.")
    if sum(map(len, texts)) > MAX_PROMPT_CHARS:
        raise RequestInvalid(
            f"The texts have more than {MAX_PROMPT_CHARS:,} characters; send fewer at a time."
        )
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        raise RequestInvalid(
            "A text holds half of a surrogate pair; send text that is valid Unicode."
        ) from None
    return [tuple(texts[at : at + TEXTS_A_MESSAGE]) for at in range(0, len(texts), TEXTS_A_MESSAGE)]


def behind(error: PromptTooLong, n_texts: int) -> PromptTooLong:
    """The child's complaint about a text of one message, with the text's place among all that were asked for."""
    number = None if error.text_number is None else error.text_number + n_texts
    return PromptTooLong(error.prompt_tokens, error.n_ctx, text_number=number)


def joined(parts: Sequence[tuple[str, ...]], replies: Sequence[Embedded]) -> Embeddings:
    """The vectors of all parts. Raises EngineError when the child's answer can't be one."""
    vectors = [_vector(text) for reply in replies for text in reply.vectors]
    counts_differ = [len(reply.vectors) for reply in replies] != [len(part) for part in parts]
    if counts_differ or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise EngineError("The engine gave vectors that can't be used; try it again.")
    return Embeddings(vectors=tuple(vectors), tokens=sum(reply.tokens for reply in replies))


def _vector(text: str) -> array[float]:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    vector = array("f")
    if len(data) % _BYTES_A_NUMBER == 0:
        vector.frombytes(data)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
