"""What is wrong with a body, as one sentence in the caller's own words; no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails, from_json

from agents.api.refusals import Refusal, invalid

MAX_SHOWN_CHARS = 120
_TOOL_TYPE = re.compile(r"(tools\[\d+\])\.type")
_WORDS_OF_JSON = {"False": "false", "True": "true", "None": "null"}
_KINDS = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
    "finite_number": "a finite number",
}
_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "union_tag_not_found": lambda _: "is missing",
    "union_tag_invalid": lambda context: f"must be {_one_of(context['expected_tags'])}",
    "literal_error": lambda context: f"must be {_one_of(context['expected'])}",
    "too_short": lambda context: (
        f"must have at least {context['min_length']:,} entries"
        if context["actual_length"]
        else "is an empty list; send at least one entry"
    ),
    "too_long": lambda context: f"has too many entries; send at most {context['max_length']:,}",
    "string_too_short": lambda _: "is empty",
    "string_too_long": lambda context: f"is too long; send at most {context['max_length']:,} characters",
    "string_pattern_mismatch": lambda context: f"must match {context['pattern']}",
    "greater_than_equal": lambda context: f"must be {context['ge']:g} or more",
    "less_than_equal": lambda context: f"must be {context['le']:g} or less",
}


def complaint(details: Sequence[ErrorDetails], raw: bytes) -> Refusal:
    """The refusal of a body that does not fit its model."""
    worst = _worst(details)
    if worst["type"] == "json_invalid":
        return invalid("The body is not valid JSON; send one JSON object.")
    param = _param(worst, raw)
    if worst["type"] == "extra_forbidden":
        return invalid(f"The field {param} is unknown here; leave it out.", param=param, code="unknown_field")
    tool = _TOOL_TYPE.fullmatch(param or "")
    if tool and worst["type"] == "literal_error":
        kind = str(worst["ctx"]["expected"]).strip("'")
        return invalid(f"Only {kind} tools are supported here; leave {tool[1]} out.", param=param)
    alike = [detail for detail in details if _param(detail, raw) == param]
    return invalid(f"{param or 'The body'} {_words(worst, alike)}.", param=param)


def _worst(details: Sequence[ErrorDetails]) -> ErrorDetails:
    """Of a union each branch complains: the one that got deepest is the one that was meant.

    A branch that is of another type altogether was not meant. Of two that got equally far it is the one that liked the
    type at least.
    """
    strangers = {detail["loc"][:-1] for detail in details if _is_other_type(detail)}

    def weight(detail: ErrorDetails) -> tuple[bool, int, bool, bool]:
        is_of_stranger = any(detail["loc"][: len(place)] == place for place in strangers if place)
        is_type = _is_other_type(detail)
        return (
            is_type or not is_of_stranger,
            len(detail["loc"]),
            not detail["type"].endswith("_type"),
            not is_type,
        )

    return max(details, key=weight)


def _is_other_type(detail: ErrorDetails) -> bool:
    return detail["type"] == "literal_error" and detail["loc"][-1] == "type"


def _words(worst: ErrorDetails, alike: Sequence[ErrorDetails]) -> str:
    """What completes a sentence that begins with the field. `alike` are all complaints about it."""
    kind = worst["type"]
    if kind in _KINDS:
        kinds = dict.fromkeys(_KINDS[detail["type"]] for detail in alike if detail["type"] in _KINDS)
        return f"must be {' or '.join(kinds)}"
    if kind == "literal_error":
        wanted = dict.fromkeys(
            _one_of(detail["ctx"]["expected"]) for detail in alike if detail["type"] == kind
        )
        return f"must be {' or '.join(wanted)}"
    if kind in _SENTENCES:
        return _SENTENCES[kind](worst.get("ctx", {}))
    return f"can't be read ({worst['msg'][:1].lower()}{worst['msg'][1:]})"


def _one_of(expected: str) -> str:
    """'a', 'b' or False, as JSON writes it."""
    return re.sub(r"\b(?:False|True|None)\b", lambda word: _WORDS_OF_JSON[word[0]], expected)


def _param(detail: ErrorDetails, raw: bytes) -> str | None:
    """The place in the caller's own words, such as `messages[0].content`: names of our union branches are left out."""
    if detail["type"] == "json_invalid":
        return None
    value: Any = from_json(raw)
    place, last = "", len(detail["loc"]) - 1
    for index, part in enumerate(detail["loc"]):
        if isinstance(part, int):
            place += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict) and (part in value or (index == last and detail["type"] == "missing")):
            place += f".{part}" if place else part
            value = value.get(part)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        place += "." * bool(place) + str(detail["ctx"]["discriminator"]).strip("'")
    return place[:MAX_SHOWN_CHARS] or None
