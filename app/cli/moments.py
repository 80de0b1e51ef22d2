"""Dates and times on the command line, by the user's clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import click

_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_BACK = re.compile(r"([1-9][0-9]{0,3})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A date (its midnight), a date and a time, a day's word, or how long ago (3h, 7d); aware."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        moment = parse_moment(str(value), datetime.now().astimezone())
        if moment is None:
            raise click.UsageError(
                f"{value!r} is no time; write one such as 2026-12-01, '2026-12-01 09:00', today or 3h (hours ago).",
                ctx,
            )
        return moment


MOMENT = Moment()


def parse_moment(text: str, now: datetime) -> datetime | None:
    """`now` is local and aware; so is what is returned. None where the text is no time."""
    if text in _DAYS:
        midnight = now.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        return (midnight + timedelta(days=_DAYS[text])).astimezone()
    back = _BACK.fullmatch(text)
    try:
        if back is not None:
            return now - timedelta(**{_UNITS[back[2]]: int(back[1])})
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None else moment.astimezone()
    except (ValueError, OverflowError):
        return None
