"""Keeps the output inside a JSON schema: token masks and forced tokens from llguidance.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.llamacpp import lltokenizer_from_vocab
from numpy.typing import NDArray

from engine.errors import SchemaUnsupported
from engine.llama.vocabulary import Vocabulary

MAX_SCHEMA_CHARS = 200_000


class GrammarFactory:
    """Builds a matcher for each request; the tokenizer behind it takes a third of a second and is built once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokenizer: LLTokenizer | None = None

    def for_schema(self, schema: Mapping[str, Any]) -> JsonGrammar:
        """Raises SchemaUnsupported before any token is spent."""
        text = json.dumps(schema, ensure_ascii=False)
        if len(text) > MAX_SCHEMA_CHARS:
            raise SchemaUnsupported(f"its size ({len(text):,} characters)")
        if self._tokenizer is None:
            self._tokenizer = lltokenizer_from_vocab(
                self._vocabulary.pointer, eos_token=self._vocabulary.end_tokens()
            )
        try:
            # flexible white space lets a small model wander in blanks; lenient would ignore what it can't enforce
            grammar = LLMatcher.grammar_from_json_schema(
                text, overrides={"whitespace_flexible": False, "lenient": False}
            )
        except ValueError as error:
            raise SchemaUnsupported(_keyword(str(error))) from None
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise SchemaUnsupported(_keyword(matcher.get_error()))
        return JsonGrammar(matcher, self._vocabulary.size)


class JsonGrammar:
    """Where one answer stands in its schema."""

    def __init__(self, matcher: LLMatcher, n_vocab: int) -> None:
        self._matcher = matcher
        self._n_vocab = n_vocab
        self._bits = np.zeros((n_vocab + 31) // 32, dtype=np.uint32)

    @property
    def complete(self) -> bool:
        """Nothing may follow any more."""
        return bool(self._matcher.is_stopped())

    def forbid(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all tokens that do not fit to minus infinity, in place."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._n_vocab]
        logits[allowed == 0] = -np.inf

    def accept(self, token: int) -> list[int]:
        """Take the chosen token; returns the tokens that the schema forces behind it."""
        self._consume([token])
        if self._matcher.is_stopped():
            return []
        forced = self._matcher.compute_ff_tokens()
        if forced:
            self._consume(forced)
        return forced

    def start(self) -> list[int]:
        """The tokens that every answer begins with."""
        forced = self._matcher.compute_ff_tokens()
        if forced:
            self._consume(forced)
        return forced

    def _consume(self, tokens: list[int]) -> None:
        if not self._matcher.consume_tokens(tokens) or self._matcher.is_error():
            raise SchemaUnsupported(_keyword(self._matcher.get_error()))


def _keyword(error: str) -> str:
    """The offending keyword of an llguidance message, or its first line."""
    first_line = error.strip().splitlines()[0] if error.strip() else "an unknown reason"
    listed = re.search(r"Unimplemented keys: \[(.+?)\]", first_line)
    if listed:
        return ", ".join(part.strip().strip('"') for part in listed[1].split(","))
    return first_line.rstrip(".")[:200]
