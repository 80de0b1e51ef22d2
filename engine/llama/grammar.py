"""Keeps an answer inside its constraint: token masks and forced tokens from llguidance.

Runs in: engine child, engine thread only; the tables that all constraints share are built on a thread of their own.
"""

from __future__ import annotations

import ctypes
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, assert_never

import llama_cpp
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from engine.core import Choice, Constraint, JsonSchema, Lark, Regex, Request
from engine.errors import EngineError, RequestInvalid, SchemaUnsupported
from engine.llama.vocabulary import Vocabulary
from engine.text.sampling import Logits
from engine.text.tool_calls import CallStyle, call_grammar, may_call

MAX_GRAMMAR_CHARS = 131_072
MAX_SHOWN_CHARS = 120  # of what the caller wrote
MAX_KEPT = 64  # compiled grammars; agents send the same few again and again
_NOT_TEXT = b"\xff"  # no byte of UTF-8: what begins with it can't be matched as text
# Bounds on what a grammar of a stranger may cost: a third of a second for the worst that was found, with little
# memory; ordinary schemas stay a hundred times below. max_items_in_row admits objects of thousands of properties.
_LIMITS = LLParserLimits(
    max_items_in_row=10_000,
    initial_lexer_fuel=500_000,
    step_lexer_fuel=50_000,
    max_lexer_states=20_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)
# Flexible white space lets a small model wander in blanks; lenient would ignore what can't be enforced, and
# coerce_one_of would let through what fits two branches. A schema can't ask for them itself.
_JSON_OPTIONS: dict[str, Any] = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": False,
    "whitespace_pattern": None,
    "coerce_one_of": False,
    "lenient": False,
}
# One row of eight summands for each byte of a mask: applying a mask is one lookup and one addition.
_SUMMANDS = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") == 1, 0.0, -np.inf
).astype(np.float32)


class GrammarFactory:
    """Compiles constraints and keeps what it compiled. close() waits for its thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._control = vocabulary.control_tokens()
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()
        self._mask = np.zeros((vocabulary.size + 31) // 32, dtype=np.uint32)
        self._masked = np.empty((len(self._mask) * 4, 8), dtype=np.float32)
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="grammar-tables")
        self._tokenizer: Future[LLTokenizer] = self._builder.submit(_build_tokenizer, vocabulary)

    def for_request(self, request: Request, style: CallStyle) -> Grammar | None:
        """What holds the answer; None when it is free. Raises RequestError before any token is spent."""
        if request.constraint is not None:
            return self.for_constraint(request.constraint)
        if may_call(request):
            return self._grammar(LLMatcher.grammar_from_lark(self._calls(request, style)), _refuse_tools)
        return None

    def for_constraint(self, constraint: Constraint) -> Grammar:
        """Raises SchemaUnsupported for schemas and RequestInvalid for the others, with the place."""
        match constraint:
            case JsonSchema():
                return self.for_schema(constraint.schema)
            case Regex():
                return self._grammar(LLMatcher.grammar_from_regex(constraint.pattern), _refuse_regex)
            case Lark():
                return self._grammar(LLMatcher.grammar_from_lark(constraint.grammar), _refuse_lark)
            case Choice():
                options = " | ".join(json.dumps(option) for option in constraint.options)
                return self._grammar(LLMatcher.grammar_from_lark(f"start: {options}"), _refuse_lark)
            case _:
                assert_never(constraint)

    def for_schema(self, schema: Mapping[str, Any]) -> Grammar:
        """Raises SchemaUnsupported."""
        try:
            text = LLMatcher.grammar_from_json_schema(
                json.dumps(dict(schema), ensure_ascii=False),
                overrides=_JSON_OPTIONS,  # type: ignore[arg-type]  # None is allowed where the stub forgets it
            )
        except ValueError as error:
            raise _refuse_schema(str(error)) from None
        return self._grammar(text, _refuse_schema)

    def close(self) -> None:
        """The vocabulary may go afterwards."""
        self._builder.shutdown(wait=True)
        self._kept.clear()

    def _calls(self, request: Request, style: CallStyle) -> str:
        marks = (style.format.begin, style.format.between)
        control = {mark: self._control[mark] for mark in marks if mark in self._control}
        return call_grammar(request, style, control)

    def _grammar(self, text: str, refuse: Any) -> Grammar:
        """A fresh matcher. Compiling takes milliseconds, a copy of a compiled one takes microseconds."""
        if len(text) > MAX_GRAMMAR_CHARS:
            raise refuse(f"its size of {len(text):,} characters")
        matcher = self._kept.get(text)
        if matcher is None:
            matcher = LLMatcher(self._tokenizer.result(), text, log_level=0, limits=_LIMITS)
            if not matcher.is_error() and not matcher.is_stopped():
                matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)  # finds dead ends
            if matcher.is_error():
                raise refuse(matcher.get_error())
            self._kept[text] = matcher
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(text)
        return Grammar(matcher.deep_copy(), mask=self._mask, masked=self._masked)


class Grammar:
    """Where one answer stands in its constraint. The two buffers are shared by all: they live for one call."""

    def __init__(self, matcher: LLMatcher, *, mask: np.ndarray[Any, Any], masked: Logits) -> None:
        self._matcher = matcher
        self._mask = mask
        self._masked = masked

    @property
    def complete(self) -> bool:
        """Nothing may follow any more."""
        return bool(self._matcher.is_stopped())

    def allows(self, token: int) -> bool:
        """Whether the token may come next: a tenth of the cost of a mask, and most choices pass."""
        return self._matcher.validate_tokens([token]) == 1

    def masked(self, logits: Logits) -> Logits:
        """The logits with minus infinity for all that may not come next; valid until the next call."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        np.take(_SUMMANDS, self._mask.view(np.uint8), axis=0, out=self._masked, mode="clip")
        result = self._masked.reshape(-1)[: len(logits)]
        result += logits
        return result

    def forced(self) -> list[int]:
        """Take the tokens that must come next; none when there is a choice, or when nothing may follow."""
        if self._matcher.is_stopped():
            return []
        forced = self._matcher.compute_ff_tokens()
        if forced:
            self._consume(forced)
        return forced

    def accept(self, token: int) -> None:
        """Take the chosen token."""
        self._consume([token])

    def _consume(self, tokens: list[int]) -> None:
        self._matcher.consume_tokens(tokens)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = _first_line(self._matcher.get_error())
            raise EngineError(f"The answer's constraint became too complex ({reason}); make it simpler.")


def _build_tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    """llguidance's view of the vocabulary. Only control tokens are no text: a model's <think> may stand in free text."""
    pieces = [
        _NOT_TEXT + piece if vocabulary.is_control(token) else piece
        for token, piece in enumerate(vocabulary.raw_pieces())
    ]
    tokenize = ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
    return LLTokenizer.from_llamacpp(  # type: ignore[attr-defined, no-any-return]  # missing in the stub
        tokens=pieces,
        vocab_ptr=vocabulary.pointer,
        tokenize_fptr=tokenize,
        eos_token=vocabulary.end_tokens(),
    )


def _refuse_schema(error: str) -> SchemaUnsupported:
    return SchemaUnsupported(_keyword(error))


def _refuse_tools(error: str) -> RequestInvalid:
    return RequestInvalid(
        f"The parameters of a tool can't be enforced ({_keyword(error)}); leave that part out."
    )


def _refuse_regex(error: str) -> RequestInvalid:
    place, reason = _fault_of_pattern(error)
    text = reason or _first_line(error)
    return RequestInvalid(f"The regular expression can't be used{place} ({text.rstrip('.')}); change it.")


def _fault_of_pattern(error: str) -> tuple[str, str | None]:
    """Where a regular expression is wrong, and how; None when the message is of something else."""
    reason = re.search(r"^\s*error: (.+)$", error, re.MULTILINE)
    mark = re.search(r"^ {4}( *)\^", error, re.MULTILINE)  # llguidance quotes the pattern, indented by four
    return f" at character {len(mark[1]) + 1}" if mark else "", reason[1].rstrip(".") if reason else None


def _refuse_lark(error: str) -> RequestInvalid:
    place = re.match(r"(?:at )?(\d+)\((\d+)\): ", error)
    if place is None:
        return RequestInvalid(f"The grammar can't be used ({_first_line(error)}); change it.")
    where = f"at line {place[1]}, column {place[2]}"
    return RequestInvalid(
        f"The grammar can't be used {where} ({_first_line(error[place.end() :])}); change it."
    )


def _keyword(error: str) -> str:
    """The offending keyword of an llguidance message, or its first line."""
    listed = re.search(r"Unimplemented keys: \[(.+?)\]", error)
    if listed:
        return ", ".join(part.strip().strip('"') for part in listed[1].split(","))
    place, reason = _fault_of_pattern(error)
    if reason is not None:
        return f"a pattern is wrong{place}: {reason}"
    outside = re.match(r"Resource '(?:json-schema:///)?(.*)' is not present in a registry", error)
    if outside:
        return f"{outside[1][:MAX_SHOWN_CHARS]} lies outside of the schema, and nothing is fetched"
    nowhere = re.match(r"(?:Pointer|Anchor) '(.*)' does not exist", error)
    return f"the reference #{nowhere[1][:MAX_SHOWN_CHARS]} leads nowhere" if nowhere else _first_line(error)


def _first_line(error: str) -> str:
    lines = error.strip().splitlines()
    return (
        re.sub(r"^NoExtensionBias$", "it can never end", lines[0].rstrip("."))[:200]
        if lines
        else "an unknown reason"
    )
