"""Whether background work may use the machine now: a pure function of the surroundings, and how long its word stands.

Each cause that holds is kept in the verdict, and ends at another threshold than it began at, so that a value that trembles around
one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from agents.policies import PowerClass
from agents.surroundings.core import Surroundings

MIN_STAND_S = 20.0  # a verdict lasts so long, unless a stricter one comes
AWAY_S = 300.0  # nobody touched the computer for so long: nobody is there
LOW_BATTERY_PERCENT = (20.0, 25.0)  # a cause begins below the first and ends at the second
HALF_BATTERY_PERCENT = (50.0, 55.0)
HOT_C = (97.0, 92.0)  # a cause begins at the first and ends below the second
WARM_C = (90.0, 85.0)
BUSY_LOAD = (0.85, 0.6)


class Action(StrEnum):
    """What background work may do."""

    RUN = "run"
    THROTTLE = "throttle"  # go on with less
    PAUSE = "pause"  # hold what is in work and begin nothing

    @property
    def strictness(self) -> int:
        return (Action.RUN, Action.THROTTLE, Action.PAUSE).index(self)


class Cause(StrEnum):
    """Why work is held back; the first of the strictest is the one that the user reads."""

    HOT = "hot"
    LOW_BATTERY = "low_battery"
    SAVER = "saver"
    UNPLUGGED = "unplugged"
    AT_COMPUTER = "at_computer"
    NOBODY_TELLS = "nobody_tells"
    FULL_SCREEN = "full_screen"
    WARM = "warm"
    HALF_BATTERY = "half_battery"
    SOME_BATTERY = "some_battery"
    BUSY = "busy"
    TALKING = "talking"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What background work may do, and why not more. `max_threads` is for the engine as a whole; None is no limit."""

    action: Action
    reason: str | None = None  # one short sentence for the user; None when nothing holds work back
    max_threads: int | None = None
    causes: frozenset[Cause] = frozenset()


GO = Verdict(action=Action.RUN)

_Holds = Callable[[Surroundings, bool], bool]  # the second: whether the cause held a moment ago


def _battery_below(thresholds: tuple[float, float]) -> _Holds:
    begins, ends = thresholds

    def holds(seen: Surroundings, held: bool) -> bool:
        if seen.on_ac is not False or seen.battery_percent is None:
            return False
        return seen.battery_percent < (ends if held else begins)

    return holds


def _at_least(value_of: Callable[[Surroundings], float | None], thresholds: tuple[float, float]) -> _Holds:
    begins, ends = thresholds

    def holds(seen: Surroundings, held: bool) -> bool:
        value = value_of(seen)
        return value is not None and value >= (ends if held else begins)

    return holds


def _at_computer(seen: Surroundings, held: bool) -> bool:
    """No second threshold is needed: idle time grows by the second and falls to nothing at once."""
    return not seen.locked and seen.idle_s is not None and seen.idle_s < AWAY_S


def _nobody_tells(seen: Surroundings, held: bool) -> bool:
    return not seen.locked and seen.idle_s is None


_ALWAYS: Mapping[Cause, _Holds] = {
    Cause.HOT: _at_least(lambda seen: seen.temperature_c, HOT_C),
    Cause.LOW_BATTERY: _battery_below(LOW_BATTERY_PERCENT),
    Cause.SAVER: lambda seen, held: seen.saver is True,
    Cause.FULL_SCREEN: lambda seen, held: seen.full_screen is True,
    Cause.WARM: _at_least(lambda seen: seen.temperature_c, WARM_C),
    Cause.HALF_BATTERY: _battery_below(HALF_BATTERY_PERCENT),
    Cause.SOME_BATTERY: lambda seen, held: seen.on_ac is False and seen.battery_percent is None,
    Cause.BUSY: _at_least(lambda seen: seen.other_load, BUSY_LOAD),
    Cause.TALKING: lambda seen, held: seen.talking is True,
}
_OF_CLASS: Mapping[PowerClass, Mapping[Cause, _Holds]] = {
    PowerClass.ANY: {},
    PowerClass.AC_ONLY: {Cause.UNPLUGGED: lambda seen, held: seen.on_ac is False},
    PowerClass.IDLE_ONLY: {Cause.AT_COMPUTER: _at_computer, Cause.NOBODY_TELLS: _nobody_tells},
}

_PAUSING: Mapping[Cause, str] = {
    Cause.HOT: "Paused: the processor is too hot.",
    Cause.LOW_BATTERY: f"Paused: on battery below {LOW_BATTERY_PERCENT[0]:.0f} %.",
    Cause.SAVER: "Paused: the battery saver is on.",
    Cause.UNPLUGGED: "Paused: on battery; it works only while plugged in.",
    Cause.AT_COMPUTER: "Paused: you are at the computer; it works only while you are away.",
    Cause.NOBODY_TELLS: "Paused: it works only while you are away, and nothing here tells whether you are.",
    Cause.FULL_SCREEN: "Paused: a program fills the screen.",
}
_SLOWING: Mapping[Cause, str] = {
    Cause.WARM: "Slower: the processor is hot.",
    Cause.SAVER: "Slower: the battery saver is on.",
    Cause.HALF_BATTERY: f"Slower: on battery below {HALF_BATTERY_PERCENT[0]:.0f} %.",
    Cause.SOME_BATTERY: "Slower: on battery.",
    Cause.BUSY: "Slower: other programs need the processor.",
    Cause.TALKING: "Slower: you are talking with the model.",
}
_NOT_BY_HAND = frozenset({Cause.UNPLUGGED, Cause.AT_COMPUTER, Cause.NOBODY_TELLS, Cause.FULL_SCREEN})
_HEAT = frozenset({Cause.HOT, Cause.WARM})
_HALVING = frozenset({Cause.SAVER, Cause.HALF_BATTERY, Cause.SOME_BATTERY, Cause.BUSY})


def decide(
    surroundings: Surroundings,
    power: PowerClass,
    n_cpus: int,
    previous: Verdict | None = None,
    *,
    by_hand: bool = False,
) -> Verdict:
    """What work of this class may do. `previous` is what stood for it until now.

    A run that somebody asked for just now (`by_hand`) is paused only for heat and a low battery.
    """
    held = previous.causes if previous is not None else frozenset()
    candidates = {**_ALWAYS, **_OF_CLASS[power]}
    causes = frozenset(cause for cause, holds in candidates.items() if holds(surroundings, cause in held))
    if by_hand:
        causes -= _NOT_BY_HAND
    pausing = _PAUSING.keys() - {Cause.SAVER} if by_hand else _PAUSING.keys()
    for action, sentences in (
        (Action.PAUSE, {cause: _PAUSING[cause] for cause in pausing}),
        (Action.THROTTLE, _SLOWING),
    ):
        first = next((cause for cause in Cause if cause in causes and cause in sentences), None)
        if first is not None:
            threads = _max_threads(action, causes, n_cpus)
            return Verdict(action=action, reason=sentences[first], max_threads=threads, causes=causes)
    return GO


def _max_threads(action: Action, causes: frozenset[Cause], n_cpus: int) -> int | None:
    """Half the processors. The limit is the engine's, so somebody who waits for an answer has it lifted, unless the heat is the cause."""
    half = max(1, n_cpus // 2)
    if causes & _HEAT:
        return half
    if Cause.TALKING in causes or action is not Action.THROTTLE or not causes & _HALVING:
        return None
    return half


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The verdict that is in force, and since when its action is."""

    verdict: Verdict
    since_s: float  # on a clock that never goes back


def stand(standing: Standing | None, wanted: Verdict, now_s: float) -> Standing:
    """What is in force from now on: a stricter action at once, a milder one once the other has lasted long enough."""
    if standing is None:
        return Standing(verdict=wanted, since_s=now_s)
    if wanted.action is standing.verdict.action:
        return Standing(verdict=wanted, since_s=standing.since_s)
    is_stricter = wanted.action.strictness > standing.verdict.action.strictness
    if is_stricter or now_s - standing.since_s >= MIN_STAND_S:
        return Standing(verdict=wanted, since_s=now_s)
    return standing
