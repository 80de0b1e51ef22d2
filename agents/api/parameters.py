"""Parameters that several routes take."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(
    9000, 1, 1, tzinfo=UTC
)  # beyond it, adding a time zone or a span leaves what a date can say


def _in_range(moment: datetime) -> datetime:
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"a time must lie between the years {EARLIEST.year} and {LATEST.year}")
    return moment


Limit = Annotated[int, Query(ge=1, le=500)]
Moment = Annotated[Annotated[AwareDatetime, AfterValidator(_in_range)] | None, Query()]
