"""Parameters that several routes take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

Limit = Annotated[int, Query(ge=1, le=500)]
Moment = Annotated[AwareDatetime | None, Query()]
