"""`hearth limits`: what all agents together may use up, and how much of their history is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from app.cli.common import Invocation, WrongInput, shared_options
from app.cli.output import emit, pairs, say

if TYPE_CHECKING:
    from agents.contract import Limits, LimitsChange

_MEANINGS = {
    "runs_per_hour": "runs an hour",
    "runs_per_day": "runs a day",
    "tokens_per_day": "tokens a day",
    "seconds_per_day": "seconds of the model a day",
    "wh_per_day": "watt-hours a day",
    "money_per_day": "US dollars a day",
    "keep_days": "days of history",
    "keep_mb": "megabytes of history",
}
_NO_LIMIT = "none"


@click.command(short_help="Limit what all agents together use up and keep.")
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE]...")
@shared_options
def limits(call: Invocation, changes: tuple[str, ...]) -> None:
    """Show the limits that hold for all agents together, or change some: `hearth limits tokens_per_day=200000 keep_days=90`.

    A value of `none` lifts a limit. Each agent's own file may say less.
    """
    wanted = _change(dict(_read(change) for change in changes))
    with call.runtime() as client:
        found = client.limits() if wanted is None else client.change_limits(wanted)
    if call.json:
        emit(found)
    else:
        say(_describe(found))


def _read(change: str) -> tuple[str, Any]:
    name, found, value = change.partition("=")
    if not found or name not in _MEANINGS:
        known = ", ".join(_MEANINGS)
        raise WrongInput(f"{change!r} sets no limit; write NAME=VALUE with one of {known}.")
    if value == _NO_LIMIT:
        return name, None
    try:
        number = float(value)
    except ValueError:
        raise WrongInput(f"{change!r} holds no number; write one, or {name}=none for no limit.") from None
    return name, int(number) if number.is_integer() else number


def _change(named: dict[str, Any]) -> LimitsChange | None:
    from pydantic import ValidationError

    from agents.contract import LimitsChange

    try:
        return LimitsChange.model_validate(named) if named else None
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongInput(f"{first['loc'][0]}: {first['msg'][0].lower()}{first['msg'][1:]}.") from None


def _describe(found: Limits) -> str:
    rows = []
    for name, meaning in _MEANINGS.items():
        value = getattr(found, name)
        rows.append((name, "no limit" if value is None else f"{value:,} {meaning}"))
    return "All agents together\n" + pairs(rows)
