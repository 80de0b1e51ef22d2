"""POST /v1/embeddings: texts as vectors of unit length; no I/O of its own."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Annotated, Literal

from pydantic import Field

from agents.api.fields import Body, Json, ModelName, ShortText, Text
from agents.api.refusals import invalid
from engine.core import MAX_EMBEDDING_TEXTS, Embeddings


class EmbeddingBody(Body):
    """POST /v1/embeddings. Token numbers as input are not taken: they mean something else to every model."""

    model: ModelName
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_EMBEDDING_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    user: ShortText | None = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


def check_texts(body: EmbeddingBody) -> None:
    """Raises Refusal for a text of which no vector can be made."""
    for index, text in enumerate(body.texts):
        if not text:
            where = "input" if isinstance(body.input, str) else f"input[{index}]"
            raise invalid("The text is empty; send at least one character.", param=where)


def embedding_answer(model: str, body: EmbeddingBody, embeddings: Embeddings) -> Json:
    """The body of the answer. Raises Refusal when another length of the vectors was asked for than the model has."""
    length = len(embeddings.vectors[0])
    if body.dimensions not in (None, length):
        raise invalid(
            f"This model's vectors have {length} dimensions; leave dimensions out.", param="dimensions"
        )
    as_text = body.encoding_format == "base64"
    return {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(each) if as_text else list(each)}
            for index, each in enumerate(embeddings.vectors)
        ],
        "usage": {"prompt_tokens": embeddings.tokens, "total_tokens": embeddings.tokens},
    }


def _base64(vector: array[float]) -> str:
    """float32, little-endian, as the official clients read it."""
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode("ascii")
