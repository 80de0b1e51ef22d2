"""What runs may use up: amounts, limits, and the refusal that ends a run before it goes over one. Pure.

An amount is reserved before the work at the most it can take, and settled after it at what it took. A limit compares what its scope has
reserved and used with its ceiling, so that work side by side can't go over it together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agents.policies import Budget


class Measure(StrEnum):
    """What is counted; the values are the fields of Amount."""

    TOKENS = "tokens"
    SECONDS = "seconds"  # of the model, reading and writing
    WH = "wh"  # that the meters tell; never guessed
    USD = "usd"
    TOOL_CALLS = "tool_calls"  # what changes something outside of Hearth


class Scope(StrEnum):
    """Whose use is added up."""

    RUN = "run"  # one run, over all of its days and attempts
    AGENT_DAY = "agent_day"  # one agent, on one calendar day of the user
    HOUSE_DAY = "house_day"  # all agents together, on that day


@dataclass(frozen=True, kw_only=True)
class Amount:
    """So much of each measure."""

    tokens: int = 0
    seconds: float = 0.0
    wh: float = 0.0
    usd: float = 0.0
    tool_calls: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            tokens=self.tokens + other.tokens,
            seconds=self.seconds + other.seconds,
            wh=self.wh + other.wh,
            usd=self.usd + other.usd,
            tool_calls=self.tool_calls + other.tool_calls,
        )

    def of(self, measure: Measure) -> float:
        """How much of one measure."""
        match measure:
            case Measure.TOKENS:
                return self.tokens
            case Measure.SECONDS:
                return self.seconds
            case Measure.WH:
                return self.wh
            case Measure.USD:
                return self.usd
            case Measure.TOOL_CALLS:
                return self.tool_calls


@dataclass(frozen=True, kw_only=True)
class Limit:
    """No more than `ceiling` of `measure` within `scope`; `field` is its name in a Budget."""

    scope: Scope
    measure: Measure
    ceiling: float
    field: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The limit that `asked` would have gone over, and what was used and reserved under it before."""

    limit: Limit
    used: float
    asked: float

    def __str__(self) -> str:
        limit = self.limit
        most, used = _in_words(limit.measure, limit.ceiling), _number(limit.measure, self.used)
        match limit.scope:
            case Scope.RUN:
                return (
                    f"The next step would take this run over its limit of {most} ({used} used); "
                    f"raise '{limit.field}' in the agent's file."
                )
            case Scope.AGENT_DAY:
                return (
                    f"The agent's limit of {most} a day is used up ({used} used or reserved); "
                    f"it goes on tomorrow, or raise '{limit.field}' in its file."
                )
            case Scope.HOUSE_DAY:
                return (
                    f"The limit of {most} a day for all agents together is used up ({used} used or reserved); "
                    f"they go on tomorrow, or raise '{limit.field}' in the settings."
                )


_LIMITS = (
    ("tokens_per_run", Scope.RUN, Measure.TOKENS),
    ("seconds_per_run", Scope.RUN, Measure.SECONDS),
    ("tool_calls_per_run", Scope.RUN, Measure.TOOL_CALLS),
    ("tokens_per_day", Scope.AGENT_DAY, Measure.TOKENS),
    ("seconds_per_day", Scope.AGENT_DAY, Measure.SECONDS),
    ("wh_per_day", Scope.AGENT_DAY, Measure.WH),
    ("money_per_day", Scope.AGENT_DAY, Measure.USD),
)


def limits_of(budget: Budget, *, house: Budget | None = None) -> tuple[Limit, ...]:
    """What a step of an agent's run must keep to. Runs an hour and a day are counted where due times become runs.

    `house` is the budget of all agents together: of it, limits per run hold for every run, those per day for the sum.
    """
    limits = _limits(budget, Scope.AGENT_DAY)
    return limits if house is None else limits + _limits(house, Scope.HOUSE_DAY)


def _limits(budget: Budget, day: Scope) -> tuple[Limit, ...]:
    return tuple(
        Limit(scope=day if scope is Scope.AGENT_DAY else scope, measure=measure, ceiling=ceiling, field=field)
        for field, scope, measure in _LIMITS
        if (ceiling := getattr(budget, field)) is not None
    )


def refusal(limits: Sequence[Limit], used: Mapping[Scope, Amount], asked: Amount) -> Refused | None:
    """The first limit that does not allow `asked` on top of `used`; a limit that is used up allows nothing more."""
    for limit in limits:
        before = used[limit.scope].of(limit.measure)
        more = asked.of(limit.measure)
        # Nobody knows beforehand how much energy a step takes: it may begin while there is some left.
        unknown = more == 0 and limit.measure in (Measure.SECONDS, Measure.WH) and asked.tokens > 0
        if before + more > limit.ceiling or (unknown and before >= limit.ceiling):
            return Refused(limit=limit, used=before, asked=more)
    return None


class Paces:
    """How fast each model last was, to guess how long the next question takes at most."""

    def __init__(self) -> None:
        self._prompt_s: dict[str, float] = {}  # seconds a token
        self._answer_s: dict[str, float] = {}

    def saw(
        self, model: str, *, prompt_tokens: int, prefill_s: float, completion_tokens: int, decode_s: float
    ) -> None:
        """An answer was written; tokens that were kept from an earlier prompt make reading look fast, so the slower one counts."""
        if prompt_tokens and prefill_s > 0:
            self._prompt_s[model] = max(self._prompt_s.get(model, 0.0) / 2, prefill_s / prompt_tokens)
        if completion_tokens and decode_s > 0:
            self._answer_s[model] = decode_s / completion_tokens

    def most(self, model: str, *, prompt_tokens: int, max_tokens: int) -> Amount:
        """What one question can take; 0 seconds while the model was never seen at work."""
        seconds = prompt_tokens * self._prompt_s.get(model, 0.0) + max_tokens * self._answer_s.get(model, 0.0)
        return Amount(tokens=prompt_tokens + max_tokens, seconds=seconds)


def _number(measure: Measure, amount: float) -> str:
    if measure in (Measure.TOKENS, Measure.TOOL_CALLS):
        return f"{amount:,.0f}"
    return f"{amount:,.2f}" if measure is Measure.USD else f"{amount:,.1f}"


def _in_words(measure: Measure, amount: float) -> str:
    number = _number(measure, amount)
    match measure:
        case Measure.TOKENS:
            return f"{number} tokens"
        case Measure.SECONDS:
            return f"{number} seconds of the model"
        case Measure.WH:
            return f"{number} Wh"
        case Measure.USD:
            return f"{number} USD"
        case Measure.TOOL_CALLS:
            return f"{number} changes outside of Hearth"
