"""What the bodies of every model API have in common: strictness, ranges, and Hearth's own additions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.api.refusals import invalid
from engine.core import (
    MAX_CHOICES,
    MAX_PROMPT_CHARS,
    MAX_STOP_CHARS,
    MAX_STOP_STRINGS,
    MAX_TOP_LOGPROBS,
    Choice,
    Constraint,
    Lark,
    Regex,
)

MAX_MESSAGES = 10_000
MAX_PARTS = 1_000
MAX_SEED = 2**32 - 2  # the next value means "random" to the engine
MAX_TOKENS = 1_000_000
DEFAULT_MAX_TOKENS = 2_048  # where an API leaves the length open: a small model may never end by itself
MAX_N = 16
MAX_IGNORED_CHARS = 512
READS_TEXT_ONLY = "This model reads text only; leave out the {kind} part and send its text instead."


class Body(BaseModel):
    """A request body, or a part of one: unknown fields, wrong types and numbers that are none are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Text = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]
ShortText = Annotated[str, Field(max_length=MAX_IGNORED_CHARS)]
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
CallId = Annotated[str, Field(min_length=1, max_length=200)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
StopTexts = Annotated[list[StopText], Field(max_length=MAX_STOP_STRINGS)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
TokenLimit = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
TopLogprobs = Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)]
Json = dict[str, Any]


class RegexConstraint(Body):
    """The whole answer matches the regular expression."""

    type: Literal["regex"]
    pattern: Annotated[str, Field(min_length=1, max_length=100_000)]


class LarkConstraint(Body):
    """The answer is a sentence of the grammar."""

    type: Literal["lark"]
    grammar: Annotated[str, Field(min_length=1, max_length=200_000)]


class ChoiceConstraint(Body):
    """The answer is one of the options."""

    type: Literal["choice"]
    options: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=10_000)]],
        Field(min_length=1, max_length=MAX_CHOICES),
    ]


class Extensions(Body):
    """Fields that the API itself does not have; the official clients send them with `extra_body`."""

    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Fraction | None = None
    repeat_penalty: Annotated[float, Field(ge=0.1, le=10.0)] | None = None
    constraint: (
        Annotated[RegexConstraint | LarkConstraint | ChoiceConstraint, Field(discriminator="type")] | None
    ) = None

    def own_sampling(self) -> dict[str, float]:
        """The sampling fields that were given, as engine.core.SamplingParams names them."""
        fields = {"top_k": self.top_k, "min_p": self.min_p, "repeat_penalty": self.repeat_penalty}
        return {name: value for name, value in fields.items() if value is not None}

    def own_constraint(self) -> Constraint | None:
        """What `constraint` asks for."""
        match self.constraint:
            case RegexConstraint(pattern=pattern):
                return Regex(pattern=pattern)
            case LarkConstraint(grammar=grammar):
                return Lark(grammar=grammar)
            case ChoiceConstraint(options=options):
                return Choice(options=tuple(options))
        return None


def one_constraint(own: Constraint | None, format_of_api: Constraint | None, field: str) -> Constraint | None:
    """Hearth's `constraint` or the API's own format, whose field is named. Raises Refusal when both are there."""
    if own is not None and format_of_api is not None:
        raise invalid(f"An answer can follow {field} or constraint, not both.", param="constraint")
    return own or format_of_api
